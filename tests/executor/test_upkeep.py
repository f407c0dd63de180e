"""What keeps a cluster in shape for years: renewed ownership, trimmed inputs, dead letters, answers that grow old."""

import pytest
import structlog

from aion_common.clock import SystemClock
from aion_common.ids import CommandId
from aion_common.kafka.topics import Topics, wanted
from aion_common.limits import ANSWERS_KEPT_MS, INPUTS_KEPT_MS
from aion_common.records.events import DeadLettered, OwnerEpoch
from aion_common.records.replies import StartAccepted
from aion_common.testing.memory_cluster import MemoryCluster
from aion_common.testing.memory_log import MemoryLog
from aion_executor.shell import partition as owned_partition
from aion_executor.shell.executor import Executor
from aion_executor.store.api import Table
from aion_executor.store.memory import MemoryTables
from aion_executor.store.rows import Store
from executor.cluster import Cluster, MemoryDisk
from executor.given import V1, routed, signal, start
from executor.world import World
from support import committed, eventually


class Calendar:
    """The system's clock, some days later."""

    def __init__(self) -> None:
        self.ahead_ms = 0
        self._clock = SystemClock()

    def now_ms(self) -> int:
        """Milliseconds since the epoch."""
        return self._clock.now_ms() + self.ahead_ms


@pytest.fixture
def calendar() -> Calendar:
    return Calendar()


@pytest.fixture
async def cluster(calendar: Calendar) -> Cluster:
    log = MemoryLog(MemoryCluster(calendar))
    topics = Topics("t.")
    await log.create_topics(wanted(topics, partitions=1, replication=1, insync_min=1))
    return Cluster(log=log, topics=topics, partitions=1, clock=calendar)


async def test_ownership_is_renewed_before_sequence_numbers_end(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owned_partition, "RECORDS_PER_OWNERSHIP_MAX", 4)
    async with cluster.executor("m1", MemoryDisk()) as executor:
        await cluster.owned(executor)
        await cluster.send(routed(V1, 1))
        for number in range(6):
            await cluster.send(start(f"c{number}", "at_once"))
            assert isinstance(await cluster.answer(f"c{number}"), StartAccepted)
    assert len([record for record in await cluster.history(0) if isinstance(record.event, OwnerEpoch)]) > 3


async def test_old_commands_are_deleted_and_young_ones_stay(cluster: Cluster, calendar: Calendar) -> None:
    commands = cluster.topics.commands
    async with cluster.executor("m1", MemoryDisk()) as executor:
        await cluster.owned(executor)
        await cluster.send(routed(V1, 1), start("c1", "at_once"))
        await cluster.answer("c1")
        await executor.trim()
        assert await cluster.log.beginning_offset(commands, 0) == 0
        calendar.ahead_ms = INPUTS_KEPT_MS + 1_000
        await cluster.send(start("c2", "at_once"))
        await cluster.answer("c2")
        await executor.trim()
        assert await cluster.log.beginning_offset(commands, 0) == 2


async def test_old_reports_are_deleted_and_young_ones_stay(cluster: Cluster, calendar: Calendar) -> None:
    results = cluster.topics.results
    sender = await cluster.log.sender()
    async with cluster.executor("m1", MemoryDisk()) as executor:
        await cluster.owned(executor)
        await sender.send(results, 0, [(b"k", b"no report"), (b"k", b"no report")])
        await eventually(lambda: executor.owned()[0].loop.partition.results_next == 2)
        await executor.trim()
        assert await cluster.log.beginning_offset(results, 0) == 0
        calendar.ahead_ms = INPUTS_KEPT_MS + 1_000
        await executor.trim()
        assert await cluster.log.beginning_offset(results, 0) == 2


async def test_old_commands_that_are_not_decided_stay(cluster: Cluster, calendar: Calendar) -> None:
    async with cluster.executor("m1", MemoryDisk()) as executor:
        await cluster.owned(executor)
        await cluster.send(routed(V1, 1))
        alive = executor.owned()[0]
        await eventually(lambda: alive.loop.partition.route_epoch == 1)
        executor.inputs.commands.detach(0)
        await cluster.send(start("c1", "at_once"), start("c2", "at_once"))
        calendar.ahead_ms = INPUTS_KEPT_MS + 1_000
        await executor.trim()
        assert await cluster.log.beginning_offset(cluster.topics.commands, 0) == 1


async def test_partition_whose_undecided_commands_are_gone_is_not_owned(cluster: Cluster) -> None:
    await cluster.send(routed(V1, 1), start("c1", "at_once"))
    await cluster.log.delete_records(cluster.topics.commands, 0, 1)
    with structlog.testing.capture_logs() as logs:
        async with cluster.executor("m1", MemoryDisk()) as executor:
            await eventually(lambda: [entry for entry in logs if "needed from offset 0" in str(entry.get("reasons"))])
            assert not executor.owned()


async def test_record_that_is_no_command_goes_to_the_dead_letters(cluster: Cluster) -> None:
    sender = await cluster.log.sender()
    await sender.send(cluster.topics.commands, 0, [(b"shop/w", b"garbage"), (None, None), (None, b"\xc3\x01" + bytes(8))])
    await sender.close()

    async def letters() -> list[dict[str, bytes]]:
        found = [await committed(cluster.log, cluster.topics.deadletter, partition) for partition in range(4)]
        written = [dict(record.headers) for records in found for record in records]
        return written if len(written) == 3 else []

    async with cluster.executor("m1", MemoryDisk()) as executor:
        await cluster.owned(executor)
        await cluster.send(routed(V1, 1), start("c1", "at_once"))
        await cluster.answer("c1")
        written = await eventually(letters)
    assert sorted(int(headers["aion-offset"]) for headers in written) == [0, 1, 2]
    assert {headers["aion-topic"] for headers in written} == {b"commands"}
    assert any(b"unknown schema" in headers["aion-reason"] for headers in written)


def test_dead_letter_that_was_owed_is_sent_by_the_next_owner() -> None:
    world = World()
    world.send(None)
    world.loop.gather(world.now_ms)
    world.append()
    for keep_store in (True, False):
        world.crash(keep_store=keep_store)
        world.flush()
    assert [(letter.topic, letter.value) for letter in world.letters] == [("deadletter", b"garbage")] * 2
    assert [type(record.event) for record in world.records()].count(DeadLettered) == 1


def test_answers_are_forgotten_when_they_are_old_and_not_before() -> None:
    world = World().after(routed(V1, 1), start("c1", "park"), signal("s1", "x"))
    store = world.loop.store
    assert store.forget_answers(world.now_ms, 100) == 0
    assert store.answer(CommandId("s1")) is not None
    world.now_ms += ANSWERS_KEPT_MS
    assert store.forget_answers(world.now_ms, 100) == 1
    assert store.answer(CommandId("s1")) is None
    world.after(start("c1", "park"))
    assert isinstance(world.answer("c1"), StartAccepted), "an accepted start is known by its run"


async def test_owner_forgets_old_answers(cluster: Cluster, calendar: Calendar, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owned_partition, "IDLE_CHECK_S", 0.01)
    async with cluster.executor("m1", MemoryDisk()) as executor:
        await cluster.owned(executor)
        await cluster.send(signal("s1", "x"))
        await cluster.answer("s1")
        store = executor.owned()[0].store
        assert store.answer(CommandId("s1")) is not None
        calendar.ahead_ms = ANSWERS_KEPT_MS + 60_000
        await eventually(lambda: store.answer(CommandId("s1")) is None)


def test_old_answers_are_forgotten_some_at_a_time() -> None:
    world = World().after(*(signal(f"s{number}", "x") for number in range(5)))
    assert world.loop.store.forget_answers(world.now_ms + 1, 3) == 3
    assert world.loop.store.forget_answers(world.now_ms + 1, 3) == 2


class Closing(MemoryTables):
    """As RocksDB, nothing may be asked of it once it is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.is_closed = False

    def get(self, table: Table, key: bytes) -> bytes | None:
        """See `Tables`."""
        assert not self.is_closed, "the store is closed"
        return super().get(table, key)

    def close(self) -> None:
        """See `Tables`."""
        self.is_closed = True


async def test_trimming_passes_over_a_partition_that_ends_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    log, topics = MemoryLog(MemoryCluster(SystemClock())), Topics("t.")
    await log.create_topics(wanted(topics, partitions=2, replication=1, insync_min=1))
    cluster = Cluster(log=log, topics=topics, partitions=2)
    disk = MemoryDisk(make=Closing)
    trimmed: list[int] = []
    async with cluster.executor("m1", disk) as executor:
        await cluster.owned(executor)
        await cluster.send(routed(V1, 1))
        first, second = executor.owned()

        async def trim(_executor: Executor, _topic: str, partition: int, _decided: int) -> None:
            trimmed.append(partition)
            executor._lives[second].cancel()
            await eventually(lambda: second not in executor.owned())

        monkeypatch.setattr(Executor, "_trim", trim)
        await eventually(lambda: executor.owned()[first].loop.store.meta() is not None)
        await executor.trim()
        assert trimmed == [first, first]
        monkeypatch.undo()
    await log.close()


async def test_rows_are_written_after_a_while_also_when_nothing_follows(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owned_partition, "IDLE_CHECK_S", 0.01)
    below = MemoryTables()
    disk = MemoryDisk(make=lambda: below, waits=True)
    async with cluster.executor("m1", disk) as executor:
        await cluster.owned(executor)
        await cluster.send(routed(V1, 1), start("c1", "at_once"))
        assert isinstance(await cluster.answer("c1"), StartAccepted)
        await eventually(lambda: Store(below).meta() == executor.owned()[0].loop.store.meta())
