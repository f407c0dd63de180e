"""Unloading over the in-memory log: what owners report decides, and what nobody should believe is passed over."""

from collections.abc import Mapping, Sequence

import pytest
from msgspec.structs import replace

from aion_catalog.core.decision import Checked, Refused
from aion_common import limits
from aion_common.ids import CommandId
from aion_common.kafka.api import TransactionalProducer, Write
from aion_common.kafka.topics import Topics
from aion_common.records.catalog import CatalogCommand, CommandAnswered, UnloadAbandoned, UnloadBegan, VersionRemoved
from aion_common.records.commands import CatalogMarker, VersionClosing, VersionKept, VersionRouted, VersionUnloaded
from aion_common.records.common import PackageRef
from aion_common.records.replies import PackageAccepted, Rejection, RejectionCode, Reply, UnloadAccepted
from aion_common.testing.memory_cluster import MemoryCluster
from aion_common.testing.memory_log import MemoryLog
from catalog.given import DEFAULT, UPLOADED, V1, V2, checked, load, unload
from catalog.owners import owners, pins_of, report, reported
from catalog.world import REPORT_PARTITION, World, catalog, created_world, surroundings, table_of, verdicts
from support import eventually

PARTITIONS = 4
TOPICS = Topics("test.")
CHECKS = verdicts(one=checked(V1), two=checked(V2))


@pytest.fixture
def cluster() -> MemoryCluster:
    return MemoryCluster()


@pytest.fixture
async def world(cluster: MemoryCluster) -> World:
    """V1 is loaded, and V2 has its routes."""
    world = await created_world(MemoryLog(cluster), TOPICS, table_of(TOPICS, PARTITIONS))
    async with catalog(surroundings(world, CHECKS)):
        await world.submit(wish("one", "c1"), wish("two", "c2"))
        await world.replies(2)
    return world


def wish(upload_id: str, command_id: str) -> CatalogCommand:
    return load(command_id, package=replace(UPLOADED, upload_id=upload_id))


async def markers(world: World, partition: int) -> list[CatalogMarker]:
    return await world.everything(TOPICS.commands, partition)


async def kinds(world: World) -> list[list[type]]:
    """Of the markers behind the two loads, in each partition."""
    return [[type(marker.body) for marker in (await markers(world, number))[2:]] for number in range(PARTITIONS)]


async def first_reply(world: World, command_id: str) -> Reply:
    """The first reply to the command, once it is there."""

    async def found() -> list[Reply]:
        replies: list[Reply] = await world.everything(TOPICS.replies, 5)
        return [reply for reply in replies if reply.command_id == command_id]

    return (await eventually(found))[0]


async def closing(world: World, attempt: int) -> None:
    """Wait until this attempt is under way."""

    async def is_there() -> bool:
        return UnloadBegan(namespace=DEFAULT, version=V1, attempt=attempt) in await world.events()

    await eventually(is_there)


async def test_a_version_that_no_owner_needs_is_unloaded_everywhere(cluster: MemoryCluster, world: World) -> None:
    async with catalog(surroundings(world, CHECKS)), owners(world):
        await world.submit(unload("u", V1))
        reply = await first_reply(world, "u")

    assert reply.answer == UnloadAccepted(version=V1)
    events = await world.events()
    assert [type(event) for event in events[-3:]] == [UnloadBegan, VersionRemoved, CommandAnswered]
    assert await kinds(world) == [[VersionClosing, VersionUnloaded]] * PARTITIONS
    deleted = [record.key for record in cluster.records(TOPICS.packages, 0) if record.value is None]
    assert deleted == [f"manifest/default/{V1}".encode(), b"chunk/one/0", b"chunk/one/1"]


async def test_a_pin_in_one_partition_keeps_the_version_and_its_package(cluster: MemoryCluster, world: World) -> None:
    async with catalog(surroundings(world, CHECKS)), owners(world, {3: pins_of(2)}):
        await world.submit(unload("u", V1))
        reply = await first_reply(world, "u")

    assert isinstance(reply.answer, Rejection)
    assert (reply.answer.code, reply.answer.pins) == (RejectionCode.VERSION_PINNED, pins_of(2))
    assert await kinds(world) == [[VersionClosing, VersionKept]] * PARTITIONS
    assert None not in [record.value for record in cluster.records(TOPICS.packages, 0)]


async def test_a_silent_owner_keeps_the_version_and_a_repeat_with_the_same_key_is_decided_anew(world: World) -> None:
    async with catalog(surroundings(world, CHECKS)), owners(world, silent={2}):
        await world.submit(unload("u", V1))
        await closing(world, 1)
        world.clock.time_ms += limits.PINS_WAIT_MS
        reply = await first_reply(world, "u")
    assert isinstance(reply.answer, Rejection)
    assert reply.answer.code is RejectionCode.UNAVAILABLE
    assert await kinds(world) == [[VersionClosing, VersionKept]] * PARTITIONS

    async with catalog(surroundings(world, CHECKS)), owners(world):
        await world.submit(unload("u", V1), wish("one", "l"))
        loaded = await first_reply(world, "l")
    events = await world.events()
    answers = [event.answer for event in events if isinstance(event, CommandAnswered) and event.command_id == "u"]
    assert answers == [reply.answer, UnloadAccepted(version=V1)]
    assert [event.attempt for event in events if isinstance(event, UnloadBegan)] == [1, 2]
    assert [event.attempt for event in events if isinstance(event, UnloadAbandoned)] == [1]
    assert isinstance(loaded.answer, PackageAccepted)
    assert loaded.answer.freshly_loaded


async def test_the_verdict_waits_for_every_partition(world: World) -> None:
    async with catalog(surroundings(world, CHECKS)):
        await world.submit(unload("u", V1))
        await closing(world, 1)
        await report(world, REPORT_PARTITION, *(reported(number, 1) for number in range(PARTITIONS - 1)))
        await report(world, REPORT_PARTITION, reported(PARTITIONS - 1, 1, pins_of(1)))
        reply = await first_reply(world, "u")

    assert isinstance(reply.answer, Rejection)
    assert reply.answer.code is RejectionCode.VERSION_PINNED


async def test_reports_of_other_attempts_repeats_and_strangers_count_for_nothing(world: World) -> None:
    everyone = range(PARTITIONS)
    await report(world, REPORT_PARTITION, *(reported(number, 1) for number in everyone))
    sender = await world.log.sender()
    async with catalog(surroundings(world, CHECKS)):
        await world.submit(unload("u", V1))
        await closing(world, 1)
        await report(world, REPORT_PARTITION, *(reported(number, 2) for number in everyone))
        await sender.send(TOPICS.replies, REPORT_PARTITION, [(b"x", b"garbage"), (b"x", None)])
        foreign = Reply(command_id=CommandId("unload/1/0"), answer=UnloadAccepted(version=V2))
        strangers = [reported(-1, 1), reported(PARTITIONS, 1, pins_of(1)), foreign]
        repeats = [reported(0, 1)] * PARTITIONS
        await report(world, REPORT_PARTITION, *strangers, *repeats, reported(1, 1), reported(2, 1))
        await report(world, REPORT_PARTITION, reported(3, 1, pins_of(1)))
        reply = await first_reply(world, "u")

    assert isinstance(reply.answer, Rejection)
    assert (reply.answer.code, reply.answer.pins_total) == (RejectionCode.VERSION_PINNED, 1)


class PromptLog(MemoryLog):
    """A log on which every owner has reported by the time that the catalog hears of its own commit."""

    def __init__(self, cluster: MemoryCluster, world: World) -> None:
        super().__init__(cluster)
        self.world = world

    async def transactional_producer(self, transactional_id: str) -> TransactionalProducer:
        return Prompt(await super().transactional_producer(transactional_id), self.world)


class Prompt:
    """See `PromptLog`."""

    def __init__(self, inner: TransactionalProducer, world: World) -> None:
        self._inner = inner
        self._world = world
        self.identity = inner.identity

    async def commit(self, writes: Sequence[Write]) -> Mapping[tuple[str, int], int]:
        bases = await self._inner.commit(writes)
        await report(self._world, REPORT_PARTITION, *(reported(number, 1) for number in range(PARTITIONS)))
        return bases

    async def close(self) -> None:
        await self._inner.close()


async def test_a_report_that_is_there_before_the_commit_returns_is_not_missed(cluster: MemoryCluster, world: World) -> None:
    async with catalog(surroundings(world, CHECKS, PromptLog(cluster, world))):
        await world.submit(unload("u", V1))
        reply = await first_reply(world, "u")

    assert reply.answer == UnloadAccepted(version=V1)


async def test_commands_behind_an_unload_wait_for_its_verdict(world: World) -> None:
    checks: list[str] = []

    async def check(ref: PackageRef) -> Checked | Refused:
        checks.append(ref.upload_id)
        return checked(V1)

    async with catalog(surroundings(world, check)):
        await world.submit(unload("u", V1), wish("one", "l"))
        await closing(world, 1)
        assert checks == []
        async with owners(world):
            reply = await first_reply(world, "l")

    assert isinstance(reply.answer, PackageAccepted)
    assert reply.answer.freshly_loaded
    last = await markers(world, 0)
    assert [type(marker.body) for marker in last[2:]] == [VersionClosing, VersionUnloaded, VersionRouted]


async def test_stopping_while_pins_are_awaited_leaves_the_attempt_to_the_next_term(world: World) -> None:
    async with catalog(surroundings(world, CHECKS)):
        await world.submit(unload("u", V1))
        await closing(world, 1)
    async with catalog(surroundings(world, CHECKS)):
        await closing(world, 2)
        await report(world, REPORT_PARTITION, *(reported(number, 1, pins_of(1)) for number in range(PARTITIONS)))
        await report(world, REPORT_PARTITION, *(reported(number, 2) for number in range(PARTITIONS)))
        reply = await first_reply(world, "u")

    assert reply.answer == UnloadAccepted(version=V1)
    assert await kinds(world) == [[VersionClosing, VersionClosing, VersionUnloaded]] * PARTITIONS


async def test_time_in_the_history_does_not_go_back_with_the_clock(world: World) -> None:
    world.clock.time_ms -= 60_000
    async with catalog(surroundings(world, CHECKS)):
        await world.submit(unload("u", V2))
        await first_reply(world, "u")

    times = [record.recorded_at for record in await world.everything(TOPICS.catalog, 0)]
    assert times == sorted(times)
    assert len(set(times)) == 1
