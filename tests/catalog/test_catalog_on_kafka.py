"""The whole catalog process on a real broker, checking packages in real Erlang VMs."""

import asyncio
import subprocess
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from aion_catalog.app import serve
from aion_common.ids import WorkflowType
from aion_common.kafka.api import Log
from aion_common.kafka.topics import Topics
from aion_common.package.archive import build_archive, write_archive
from aion_common.package.manifest import Json
from aion_common.records.catalog import CommandAnswered, TypesRouted, VersionLoaded
from aion_common.records.commands import CatalogMarker
from aion_common.records.replies import PackageAccepted, Rejection, RejectionCode, Reply, RouteAccepted
from aion_common.settings import Settings
from catalog.given import UPLOADED, V1, V2, checked, load, route
from catalog.world import World, catalog, created_world, surroundings, table_of, verdicts
from conftest import TEST_PARTITIONS

SESSION_MS = 1_500
RELOAD = WorkflowType("reload_e2e")


@pytest.fixture
async def world(kafka_log: Log, topic_prefix: str) -> World:
    topics = Topics(topic_prefix)
    return await created_world(kafka_log, topics, table_of(topics, TEST_PARTITIONS))


@pytest.fixture
def settings(broker_bootstrap: str, topic_prefix: str) -> Settings:
    return Settings(bootstrap=broker_bootstrap, topic_prefix=topic_prefix, session_timeout_ms=SESSION_MS)


@asynccontextmanager
async def process(settings: Settings) -> AsyncIterator[None]:
    """A catalog like that of a process of its own."""
    stop = asyncio.Event()
    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        tasks.create_task(serve(settings, stop))
        try:
            yield
        finally:
            stop.set()


MANIFEST: dict[str, Json] = {
    "entry_module": "reload_e2e",
    "entry_function": "run",
    "input_schema": {},
    "output_schema": {},
    "activities": [],
    "format_version": 1,
}


def archive(folder: Path, *, answer: int, park: str = "receive _Any -> answer() end", more: str = "") -> bytes:
    """A package of the type `reload_e2e`."""
    source = folder / "reload_e2e.erl"
    source.write_text(
        f"-module(reload_e2e).\n-export([run/1, park/1]).\n{more}"
        f"run(_) -> answer().\npark(_) -> {park}.\nanswer() -> {answer}.\n"
    )
    subprocess.run(["erlc", "+deterministic", source.name], cwd=folder, check=True)
    return write_archive(build_archive(MANIFEST, [("reload_e2e", (folder / "reload_e2e.beam").read_bytes())]))


async def test_packages_are_loaded_and_routed_through_real_topics_and_survive_a_restart(
    world: World, settings: Settings, tmp_path: Path
) -> None:
    first = await world.upload(archive(tmp_path, answer=1), "one", chunk_bytes=300)
    wakes_itself = "receive _Any -> answer() after 5 -> answer() end"
    second = await world.upload(archive(tmp_path, answer=2, park=wakes_itself), "two")
    async with process(settings):
        await world.submit(load("c1", package=first), load("c2", package=second))
        accepted = [package_accepted(reply) for reply in await world.replies(2)]
    assert [answer.freshly_loaded for answer in accepted] == [True, True]
    one, two = [answer.records[0].version for answer in accepted]

    async with process(settings):
        await world.submit(route("c3", RELOAD, one), load("c1", package=second))
        replies = await world.replies(5)
    assert replies[3].answer == RouteAccepted(
        workflow_type=RELOAD, version=one, previous_version=two, route_epoch=3, route_changed=True
    )
    assert replies[4].answer == accepted[0]

    fresh = [VersionLoaded, TypesRouted, CommandAnswered]
    events = await world.events()
    assert [type(event) for event in events] == [*fresh, *fresh, TypesRouted, CommandAnswered, CommandAnswered]
    assert [event.package.wakes_itself for event in events if isinstance(event, VersionLoaded)] == [False, True]
    for partition in range(TEST_PARTITIONS):
        markers: list[CatalogMarker] = await world.everything(world.topics.commands, partition)
        assert [marker.body.version for marker in markers] == [one, two, one]


async def test_a_package_that_only_a_vm_can_see_through_is_refused(world: World, settings: Settings, tmp_path: Path) -> None:
    native = archive(tmp_path, answer=1, more="-on_load(init/0).\ninit() -> ok.\n")
    ref = await world.upload(native, "native")
    async with process(settings):
        await world.submit(load("c1", package=ref))
        (reply,) = await world.replies(1)

    assert isinstance(reply.answer, Rejection)
    assert reply.answer.code is RejectionCode.INVALID_PACKAGE
    assert "on_load" in reply.answer.reason


async def test_a_stand_by_takes_over_when_the_elected_one_is_gone(world: World) -> None:
    checks = verdicts(one=checked(V1), two=checked(V2))
    async with catalog(surroundings(world, checks), "first", session_ms=SESSION_MS):
        await world.submit(load("c1", package=replace(UPLOADED, upload_id="one")))
        await world.replies(1)
        async with AsyncExitStack() as stand_by:
            await stand_by.enter_async_context(catalog(surroundings(world, checks), "second", session_ms=SESSION_MS))
            take_over = stand_by.pop_all()
    async with take_over:
        await world.submit(load("c2", package=replace(UPLOADED, upload_id="two")))
        replies = await world.replies(3)

    assert [reply.command_id for reply in replies] == ["c1", "c1", "c2"]


def package_accepted(reply: Reply) -> PackageAccepted:
    """The answer of a load that was accepted."""
    assert isinstance(reply.answer, PackageAccepted), reply
    return reply.answer
