"""Two catalogs, and the one that works dies: at every call to Kafka of two loads and two unloads, before it, in the middle of
a transaction, and behind it; or it is only held up, and goes on when the other one has taken over.

The other one finishes or refuses each command; an answer that was given stays what it was; nothing is doubled or torn.
"""

from collections import Counter
from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from aion_catalog.core.state import loaded_versions
from aion_catalog.shell.loop import read_back
from aion_common.ids import CommandId
from aion_common.kafka.topics import Topics
from aion_common.records.catalog import (
    CatalogEvent,
    CommandAnswered,
    TypesRouted,
    UnloadAbandoned,
    UnloadBegan,
    VersionLoaded,
    VersionRemoved,
)
from aion_common.records.commands import CatalogMarker, VersionClosing, VersionKept, VersionRouted, VersionUnloaded
from aion_common.records.replies import PackageAccepted, Pin, Rejection, Reply, RouteAccepted, UnloadAccepted
from aion_common.testing.memory_cluster import MemoryCluster
from aion_common.testing.memory_log import MemoryLog
from catalog.dying import DyingLog, Fate, Moment
from catalog.given import DEFAULT, ORDER, UPLOADED, V1, V2, checked, load, route, unload
from catalog.owners import owners, pins_of
from catalog.world import World, catalog, created_world, surroundings, table_of, verdicts
from support import committed, eventually

PARTITIONS = 3
TOPICS = Topics("test.")
GROUP = "test.catalog"
CHECKS = verdicts(one=checked(V1), two=checked(V2))
LAST = "last"
CALLS_MAX = 200
"""Far more than the catalog makes; so the test ends if the counting is wrong."""


async def replies_to(world: World, command_id: str) -> list[Reply]:
    replies: list[Reply] = await world.everything(TOPICS.replies, 5)
    return [reply for reply in replies if reply.command_id == command_id]


async def cluster_with_commands() -> tuple[MemoryCluster, World]:
    """Two loads, the unload of the older version, and a command that is answered by what became of it."""
    cluster = MemoryCluster()
    world = await created_world(MemoryLog(cluster), TOPICS, table_of(TOPICS, PARTITIONS))
    one, two = (replace(UPLOADED, upload_id=upload_id) for upload_id in ("one", "two"))
    await world.submit(load("c1", package=one), load("c2", package=two), unload("u", V1), route(LAST, ORDER, V1))
    return cluster, world


async def survive(fate: Fate, pins: Sequence[Pin]) -> tuple[World, bool]:
    """Both catalogs at work until the last command is answered; whether the first one met its fate before."""
    cluster, world = await cluster_with_commands()
    log = DyingLog(cluster, fate)

    async def is_over() -> bool:
        if fate.met.is_set():
            cluster.vanish(GROUP, TOPICS.catalog_commands, "old")
        return bool(await replies_to(world, LAST))

    async with owners(world, {1: pins}), catalog(surroundings(world, CHECKS, log), "old"):
        await eventually(lambda: log.joined.is_set() or fate.met.is_set())
        async with catalog(surroundings(world, CHECKS), "new"):
            await eventually(is_over)
            has_met = fate.met.is_set()
            if has_met and fate.moment is Moment.LATE:
                fate.go_on.set()
                await fate.came_late.wait()
    return world, has_met


async def assert_whole(world: World, unloaded: bool) -> None:
    """Every promise about what is in the topics afterwards."""
    events: list[CatalogEvent] = await world.events()
    answers = {event.command_id: event.answer for event in events if isinstance(event, CommandAnswered)}
    assert [event.command_id for event in events if isinstance(event, CommandAnswered)] == ["c1", "c2", "u", LAST]
    replies: list[Reply] = await world.everything(TOPICS.replies, 5)
    assert {(reply.command_id, reply.answer) for reply in replies} == set(answers.items())
    assert all(isinstance(answers[CommandId(first)], PackageAccepted) for first in ("c1", "c2"))
    refusal = answers[CommandId("u")]
    assert refusal == UnloadAccepted(version=V1) if unloaded else isinstance(refusal, Rejection)
    assert isinstance(answers[CommandId(LAST)], Rejection if unloaded else RouteAccepted)

    attempts = [event.attempt for event in events if isinstance(event, UnloadBegan)]
    assert attempts in ([1], [1, 2])
    kinds = Counter(type(event) for event in events)
    verdict = VersionRemoved if unloaded else UnloadAbandoned
    assert (kinds[VersionLoaded], kinds[TypesRouted], kinds[VersionRemoved] + kinds[UnloadAbandoned]) == (
        2,
        2 + (not unloaded),
        1,
    )
    assert kinds[verdict] == 1
    await assert_markers(world, events)
    state = await read_back(world.log, TOPICS)
    assert (state.commands_next, state.closing, loaded_versions(state, DEFAULT)) == (4, None, (V2,) if unloaded else (V1, V2))
    packages = [record.key for record in await committed(world.log, TOPICS.packages, 0) if record.value is None]
    assert packages == ([f"manifest/default/{V1}".encode(), b"chunk/one/0", b"chunk/one/1"] if unloaded else [])


async def assert_markers(world: World, events: list[CatalogEvent]) -> None:
    """Every partition heard of every event, once and in the same order."""
    expected = [(type_, epoch) for event in events for type_, epoch in heard(event)]
    for partition in range(PARTITIONS):
        markers: list[CatalogMarker] = await world.everything(TOPICS.commands, partition)
        bodies = [marker.body for marker in markers]
        assert [
            (type(body), body.route_epoch if isinstance(body, VersionRouted) else body.attempt) for body in bodies
        ] == expected


def heard(event: CatalogEvent) -> list[tuple[type, int]]:
    """What partitions hear of an event."""
    match event:
        case TypesRouted(route_epoch=route_epoch):
            return [(VersionRouted, route_epoch)]
        case UnloadBegan(attempt=attempt):
            return [(VersionClosing, attempt)]
        case UnloadAbandoned(attempt=attempt):
            return [(VersionKept, attempt)]
        case VersionRemoved(attempt=attempt):
            return [(VersionUnloaded, attempt)]
        case _:
            return []


@pytest.mark.parametrize("moment", Moment, ids=lambda moment: moment.name.lower())
@pytest.mark.parametrize("pins", [(), pins_of(2)], ids=["unneeded", "pinned"])
async def test_the_stand_by_goes_on_wherever_the_other_one_died(moment: Moment, pins: Sequence[Pin]) -> None:
    died_at: list[str] = []
    for call in range(1, CALLS_MAX):
        fate = Fate(call, moment)
        world, has_met = await survive(fate, pins)
        try:
            await assert_whole(world, unloaded=not pins)
        except AssertionError as error:
            raise AssertionError(f"died {moment.name} call {call}, after {fate.calls}") from error
        if not has_met:
            break
        died_at.append(fate.calls[call - 1])
    assert not has_met, "the catalog makes fewer calls"
    assert Counter(died_at)["commit"] == 5
