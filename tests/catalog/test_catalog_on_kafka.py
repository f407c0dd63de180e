"""The whole catalog process on a real broker, checking packages in real Erlang VMs."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx
import pytest
from msgspec.structs import replace

from aion_catalog.app import serve
from aion_common.ids import WorkflowType
from aion_common.kafka.api import Log
from aion_common.kafka.topics import Topics
from aion_common.package.archive import build_archive, write_archive
from aion_common.package.manifest import Json
from aion_common.records.catalog import CommandAnswered, TypesRouted, UnloadBegan, VersionLoaded
from aion_common.records.commands import CatalogMarker, VersionClosing, VersionUnloaded
from aion_common.records.replies import PackageAccepted, Rejection, RejectionCode, Reply, RouteAccepted, UnloadAccepted
from aion_common.settings import Settings
from aion_server.broker import free_port
from catalog.doomed import doomed
from catalog.given import UPLOADED, V1, V2, checked, load, route, routed_by, unload
from catalog.owners import owners
from catalog.world import World, catalog, created_world, surroundings, table_of, verdicts
from conftest import TEST_PARTITIONS
from support import eventually

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


@asynccontextmanager
async def program(settings: Settings, catalog_id: str) -> AsyncIterator[None]:
    """`aion-server catalog`, which is there when the block begins, and is killed at the end."""
    port = free_port()
    flags = {
        "--bootstrap": settings.bootstrap,
        "--topic-prefix": settings.topic_prefix,
        "--catalog-id": catalog_id,
        "--session-timeout-ms": str(SESSION_MS),
        "--http-port": str(port),
    }
    arguments = [word for flag in flags.items() for word in flag]
    running = await asyncio.create_subprocess_exec(sys.executable, "-m", "aion_server", "catalog", *arguments)

    async def is_there() -> bool:
        try:
            return (await client.get(f"http://127.0.0.1:{port}/healthz")).is_success
        except httpx.TransportError:
            return False

    try:
        async with httpx.AsyncClient() as client:
            await eventually(is_there)
        yield
    finally:
        running.kill()
        await running.wait()


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
        assert [routed_by(marker).version for marker in markers] == [one, two, one]


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


async def test_a_catalog_killed_in_the_middle_of_a_load_leaves_nothing_of_it_and_the_stand_by_loads(
    world: World, broker_bootstrap: str, topic_prefix: str, settings: Settings, tmp_path: Path
) -> None:
    refs = [await world.upload(archive(tmp_path, answer=answer), f"upload-{answer}") for answer in (1, 2)]
    async with doomed(broker_bootstrap, topic_prefix, "first", SESSION_MS, fatal=2) as first:
        await world.submit(load("c1", package=refs[0]))
        await world.replies(1)
        async with program(settings, "second"):
            await world.submit(load("c2", package=refs[1]))
            assert await first.wait() == -signal.SIGKILL
            replies = await world.replies(3)

    assert [reply.command_id for reply in replies] == ["c1", "c1", "c2"]
    assert package_accepted(replies[2]).freshly_loaded
    assert [type(event) for event in await world.events()] == [VersionLoaded, TypesRouted, CommandAnswered] * 2
    for partition in range(TEST_PARTITIONS):
        assert len(await world.everything(world.topics.commands, partition)) == 2


@pytest.mark.parametrize("fatal", [4, None], ids=["in the transaction of the verdict", "while pins are awaited"])
async def test_a_catalog_killed_in_the_middle_of_an_unload_is_followed_by_another_attempt(
    world: World, broker_bootstrap: str, topic_prefix: str, settings: Settings, tmp_path: Path, fatal: int | None
) -> None:
    refs = [await world.upload(archive(tmp_path, answer=answer), f"upload-{answer}") for answer in (1, 2)]
    async with doomed(broker_bootstrap, topic_prefix, "first", SESSION_MS, fatal=fatal or 0) as first:
        await world.submit(load("c1", package=refs[0]), load("c2", package=refs[1]))
        old, _ = [package_accepted(reply).records[0].version for reply in await world.replies(2)]
        async with program(settings, "second"), owners(world, silent=() if fatal else {0}):
            await world.submit(unload("u", old))
            if fatal is None:
                await world.read(world.topics.commands, 0, 3)
                first.kill()
            await first.wait()
            async with owners(world):
                replies = await world.replies(4)

    assert [reply.command_id for reply in replies] == ["c1", "c2", "c2", "u"]
    assert replies[3].answer == UnloadAccepted(version=old)
    attempts = [event.attempt for event in await world.events() if isinstance(event, UnloadBegan)]
    assert attempts == [1, 2]
    for partition in range(TEST_PARTITIONS):
        markers: list[CatalogMarker] = await world.everything(world.topics.commands, partition)
        assert [type(marker.body) for marker in markers[2:]] == [VersionClosing, VersionClosing, VersionUnloaded]


async def test_a_catalog_tells_its_health_and_whether_it_is_the_one_that_works(
    world: World, settings: Settings, tmp_path: Path
) -> None:
    settings = settings.model_copy(update={"catalog_http_port": free_port()})
    ref = await world.upload(archive(tmp_path, answer=1), "one")
    base = f"http://{settings.catalog_http_host}:{settings.catalog_http_port}"
    async with process(settings), httpx.AsyncClient(base_url=base) as client:
        await world.submit(load("c1", package=ref))
        await world.replies(1)
        health = await client.get("/healthz")
        metrics = await client.get("/metrics")

    assert (health.status_code, health.json()) == (200, {"alive": True})
    assert metrics.headers["content-type"].startswith("text/plain")
    assert "\naion_catalog_is_active 1.0\n" in metrics.text


def package_accepted(reply: Reply) -> PackageAccepted:
    """The answer of a load that was accepted."""
    assert isinstance(reply.answer, PackageAccepted), reply
    return reply.answer
