"""Taking partitions over: fencing, void records, stores that are not ours, replies that are owed."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import pytest
import structlog.testing
from msgspec import structs

from aion_common.clock import SystemClock
from aion_common.errors import Fenced, Unavailable
from aion_common.ids import NO_RUN, RunId, WorkflowId, workflow_key
from aion_common.kafka.api import Appended, FencedAppender, KeyValue, ProducerIdentity
from aion_common.kafka.partitioner import partition_of
from aion_common.kafka.topics import Topics, wanted
from aion_common.records.events import (
    Heartbeat,
    HeartbeatsReceived,
    OwnerEpoch,
    Progress,
    RunCompleted,
    RunStarted,
    SignalReceived,
)
from aion_common.records.replies import StartAccepted
from aion_common.testing.memory_cluster import Fault, MemoryCluster, StillClock
from aion_common.testing.memory_log import MemoryLog
from aion_common.wire import encode
from aion_executor.partition_records import PARTITION_KEY, partition_value
from aion_executor.restore import Restore
from aion_executor.shell import ownership
from aion_executor.shell.ownership import Claimant, ClockSkew, Stores, take_over
from aion_executor.store.api import RawBatch
from aion_executor.store.memory import MemoryTables
from aion_executor.store.rocks import delete_rocks, open_rocks
from executor.cluster import Cluster, MemoryDisk
from executor.given import DEFAULT, V1, V2, W1, routed, signal, start
from support import eventually

PARTITIONS = 2


@pytest.fixture
def memory() -> MemoryCluster:
    return MemoryCluster(SystemClock())


@pytest.fixture
async def cluster(memory: MemoryCluster) -> AsyncIterator[Cluster]:
    log, topics = MemoryLog(memory), Topics("t.")
    await log.create_topics(wanted(topics, partitions=PARTITIONS, replication=1, insync_min=1))
    yield Cluster(log=log, topics=topics, partitions=PARTITIONS)
    await log.close()


async def test_owner_epoch_is_the_offset_of_its_record(cluster: Cluster) -> None:
    disk = MemoryDisk()
    for expected in range(3):
        owned = await take_over(cluster.claimant("m", disk), 0)
        assert owned.restored.partition.owner_epoch == expected
        await owned.close()
    events = [record.event for record in await cluster.history(0)]
    assert [type(event) for event in events] == [OwnerEpoch] * 3
    assert len({event.producer_epoch for event in events if isinstance(event, OwnerEpoch)}) == 3


async def test_old_owner_is_refused_from_the_new_epoch_on(cluster: Cluster) -> None:
    old = await take_over(cluster.claimant("old", MemoryDisk()), 0)
    progress = Progress(commands_next=0, sent_through=-1, answers=())
    await old.appender.append([(PARTITION_KEY, partition_value(progress, 1, 0))])
    new = await take_over(cluster.claimant("new", MemoryDisk()), 0)
    with pytest.raises(Fenced):
        await old.appender.append([(PARTITION_KEY, partition_value(progress, 1, 0))])
    for owned in (old, new):
        await owned.close()


async def test_old_owner_is_refused_when_the_broker_forgot_its_producer_id(cluster: Cluster, memory: MemoryCluster) -> None:
    old = await take_over(cluster.claimant("old", MemoryDisk()), 0)
    memory.forget_producer("t.executor.0")
    new = await take_over(cluster.claimant("new", MemoryDisk()), 0)
    assert new.appender.identity.producer_id != old.appender.identity.producer_id
    progress = Progress(commands_next=0, sent_through=-1, answers=())
    with pytest.raises(Fenced):
        await old.appender.append([(PARTITION_KEY, partition_value(progress, 1, 0))])
    memory.forget_producer("t.executor.0")
    newest = await take_over(cluster.claimant("newest", MemoryDisk()), 0)
    for owned in (old, new, newest):
        await owned.close()


async def test_void_record_is_passed_over(cluster: Cluster, memory: MemoryCluster) -> None:
    async with cluster.executor("m", MemoryDisk()) as executor:
        await cluster.owned(executor)
        await cluster.send(routed(V1, 1), start("c1", "park"))
        await cluster.answer("c1")
    records = [record for record in await cluster.histories() if isinstance(record.event, RunStarted)]
    partition = partition_of(workflow_key(DEFAULT, W1), PARTITIONS)
    zombie = structs.replace(records[0], owner_epoch=-5, run_id=RunId("f" * 32))
    sender = await cluster.log.sender()
    await sender.send(cluster.topics.history, partition, [(b"k", encode(zombie)), (b"k", b"garbage")])
    await sender.close()
    owned = await take_over(cluster.claimant("n", MemoryDisk()), partition)
    assert (owned.restored.void, owned.restored.foreign) == (1, 1)
    assert owned.restored.store.run(zombie.run_id) is None
    assert owned.restored.store.run(records[0].run_id) is not None
    await owned.close()


async def test_records_that_no_owner_can_have_written_there_are_passed_over(cluster: Cluster) -> None:
    """Copies of what stands before, records of other runs and partitions, schemas of nobody."""
    disk = MemoryDisk()
    async with cluster.executor("m", disk) as executor:
        await cluster.owned(executor)
        await cluster.send(routed(V1, 1), start("c1", "park"), signal("c2", "s"))
        await cluster.answer("c2")
        await cluster.send(routed(V2, 2), signal("c3", "s"))
        await cluster.answer("c3")
    partition = partition_of(workflow_key(DEFAULT, W1), PARTITIONS)
    records = [record for record in await cluster.history(partition) if not isinstance(record.event, OwnerEpoch)]
    stranger = [
        structs.replace(record, run_id=RunId("f" * 32)) for record in records if isinstance(record.event, SignalReceived)
    ]
    no_run = [structs.replace(records[-1], run_id=RunId("x")), structs.replace(stranger[0], run_id=NO_RUN)]
    beats = [
        structs.replace(
            records[0],
            event=HeartbeatsReceived(heartbeats=(Heartbeat(run_id=RunId(run_id), activity=1, attempt=1, details=None),)),
        )
        for run_id in (stranger[0].run_id, records[-1].run_id, "x")
    ]
    unknown = b"\xc3\x01nobodys!"
    sender = await cluster.log.sender()
    copies = [encode(record) for record in (*records[:-1], *stranger, *no_run, *beats)]
    await sender.send(cluster.topics.history, partition, [(b"k", value) for value in (unknown, *copies, unknown)])
    await sender.close()
    for number, store in enumerate((disk, MemoryDisk())):
        async with cluster.executor("n", store) as executor:
            await cluster.owned(executor)
            loop = executor.owned()[partition].loop
            assert loop.store.run(RunId("f" * 32)) is None
            assert set(loop.partition.routes.values()) == {V2}
            await cluster.send(signal(f"more-{number}", "s"))
            await cluster.answer(f"more-{number}")


async def test_history_with_a_hole_is_not_folded_on(cluster: Cluster) -> None:
    async with cluster.executor("m", MemoryDisk()) as executor:
        await cluster.owned(executor)
        await cluster.send(routed(V1, 1), start("c1", "park"))
        await cluster.answer("c1")
    partition = partition_of(workflow_key(DEFAULT, W1), PARTITIONS)
    newest = (await cluster.history(partition))[-1]
    started = next(record for record in await cluster.history(partition) if isinstance(record.event, RunStarted))
    hole = structs.replace(started, seq=9, owner_epoch=newest.owner_epoch, event=SignalReceived(name="s", payload=None))
    sender = await cluster.log.sender()
    await sender.send(cluster.topics.history, partition, [(b"k", encode(hole))])
    await sender.close()
    with pytest.raises(AssertionError, match="no gap"):
        await take_over(cluster.claimant("n", MemoryDisk()), partition)


async def test_store_of_another_log_is_rebuilt(cluster: Cluster) -> None:
    disk = MemoryDisk()
    async with cluster.executor("m", disk) as executor:
        await cluster.owned(executor)
        await cluster.send(routed(V1, 1), start("c1", "park"))
        await cluster.answer("c1")
    other = MemoryLog(MemoryCluster(SystemClock()))
    await other.create_topics(wanted(cluster.topics, partitions=PARTITIONS, replication=1, insync_min=1))
    fresh = Cluster(log=other, topics=cluster.topics, partitions=PARTITIONS)
    async with fresh.executor("m", disk) as executor:
        await fresh.owned(executor)
        await fresh.send(routed(V2, 1), start("c1", "park"))
        answer = await fresh.answer("c1")
    assert isinstance(answer, StartAccepted)
    assert answer.version == V2
    await other.close()


@pytest.mark.parametrize("wipe", [False, True])
async def test_runs_go_on_with_a_new_owner(cluster: Cluster, *, wipe: bool) -> None:
    disk = MemoryDisk()
    ids = [WorkflowId(f"w{number}") for number in range(8)]
    async with cluster.executor("m1", disk) as executor:
        await cluster.owned(executor)
        await cluster.send(routed(V1, 1), *(start(f"c-{wid}", "park", workflow_id=wid) for wid in ids))
        for wid in ids:
            await cluster.answer(f"c-{wid}")
    await cluster.send(routed(V2, 2), *(signal(f"s-{wid}", "go", workflow_id=wid) for wid in ids))
    async with cluster.executor("m1", MemoryDisk() if wipe else disk) as executor:
        for wid in ids:
            await cluster.answer(f"s-{wid}")

        async def all_done() -> bool:
            events = [record.event for record in await cluster.histories()]
            return sum(isinstance(event, RunCompleted) for event in events) == len(ids)

        await eventually(all_done)
    results = [record.event.result.data for record in await cluster.histories() if isinstance(record.event, RunCompleted)]
    assert results == [b"1"] * len(ids)


async def test_partitions_are_divided_between_two_executors_and_taken_over(cluster: Cluster, memory: MemoryCluster) -> None:
    async with cluster.executor("m1", MemoryDisk()) as first:
        await cluster.owned(first)
        async with cluster.executor("m2", MemoryDisk()) as second:
            await eventually(lambda: len(first.owned()) == 1 and len(second.owned()) == 1)
        memory.vanish("t.executors", cluster.topics.commands, "m2")
        await eventually(lambda: len(first.owned()) == PARTITIONS)
        await cluster.send(routed(V1, 1), start("c1", "at_once"))
        await cluster.answer("c1")


@pytest.mark.parametrize("fault", list(Fault))
async def test_append_of_unknown_outcome_loses_and_doubles_nothing(
    cluster: Cluster, memory: MemoryCluster, fault: Fault
) -> None:
    async with cluster.executor("m1", MemoryDisk()) as executor:
        await cluster.owned(executor)
        await cluster.send(routed(V1, 1), start("before", "park", workflow_id=WorkflowId("before")))
        await cluster.answer("before")
        for partition in range(PARTITIONS):
            memory.fail_next_append(cluster.topics.history, partition, fault)
        await cluster.send(start("c1", "at_once"))
        await cluster.answer("c1")
    started = [
        record for record in await cluster.histories() if isinstance(record.event, RunStarted) and record.workflow_id == W1
    ]
    assert len(started) == 1
    answers = (await cluster.answers())["c1"]
    assert all(answer == answers[0] for answer in answers)


async def test_reply_that_was_owed_is_sent_by_the_next_owner(cluster: Cluster, memory: MemoryCluster) -> None:
    async with cluster.executor("m1", MemoryDisk()) as executor:
        await cluster.owned(executor)
        await cluster.send(routed(V1, 1))
        memory.fail_next_append(cluster.topics.replies, 3, Fault.NOT_APPLIED)
        await cluster.send(start("c1", "park"))

        async def started() -> bool:
            return any(isinstance(record.event, RunStarted) for record in await cluster.histories())

        await eventually(started)
    async with cluster.executor("m2", MemoryDisk()):
        assert isinstance(await cluster.answer("c1"), StartAccepted)


async def test_fencing_a_forgotten_producer_id_says_nothing_about_the_partition(
    cluster: Cluster, memory: MemoryCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = await take_over(cluster.claimant("old", MemoryDisk()), 0)
    memory.forget_producer("t.executor.0")
    claim = cluster.log.claim

    async def claim_while_the_old_owner_goes_on(transactional_id: str) -> ProducerIdentity:
        progress = Progress(commands_next=5, sent_through=-1, answers=())
        await old.appender.append([(PARTITION_KEY, partition_value(progress, SystemClock().now_ms(), 0))])
        return await claim(transactional_id)

    monkeypatch.setattr(cluster.log, "claim", claim_while_the_old_owner_goes_on)
    new = await take_over(cluster.claimant("new", MemoryDisk()), 0)
    assert new.restored.partition.commands_next == 5
    for owned in (old, new):
        await owned.close()


def on_disk(cluster: Cluster, member: str, folder: Path) -> Claimant:
    """A claimant with RocksDB."""
    stores = Stores(open=open_rocks, delete=delete_rocks)
    return dataclasses.replace(cluster.claimant(member, MemoryDisk()), stores=stores, folder=folder)


async def test_store_on_disk_of_another_log_is_rebuilt(cluster: Cluster, tmp_path: Path) -> None:
    for _ in range(2):
        await (await take_over(on_disk(cluster, "m", tmp_path), 0)).close()
    other = MemoryLog(MemoryCluster(SystemClock()))
    await other.create_topics(wanted(cluster.topics, partitions=PARTITIONS, replication=1, insync_min=1))
    fresh = Cluster(log=other, topics=cluster.topics, partitions=PARTITIONS)
    owned = await take_over(on_disk(fresh, "m", tmp_path), 0)
    assert owned.restored.partition.owner_epoch == 0
    await owned.close()


async def test_store_is_kept_when_the_log_cannot_be_asked(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        await (await take_over(on_disk(cluster, "m", tmp_path), 0)).close()

    async def silence(*_: object) -> int:
        raise Unavailable("no broker")

    with monkeypatch.context() as patched:
        patched.setattr(cluster.log, "end_offset", silence)
        with pytest.raises(Unavailable) as still_referred_to:
            await take_over(on_disk(cluster, "m", tmp_path), 0)
    with structlog.testing.capture_logs() as logs:
        await (await take_over(on_disk(cluster, "m", tmp_path), 0)).close()
    assert not [entry for entry in logs if "deleted" in entry["event"]]
    assert still_referred_to.traceback, "which keeps alive what it refers to"


async def test_claimant_whose_epoch_is_not_the_newest_gives_up(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    disk, begin = MemoryDisk(), ownership._begin_epoch

    async def overtaken(claimant: Claimant, partition: int, restored: Restore) -> tuple[FencedAppender, int]:
        began = await begin(claimant, partition, restored)
        if claimant.member == "slow":
            await (await take_over(cluster.claimant("quick", disk), partition)).close()
        return began

    monkeypatch.setattr(ownership, "_begin_epoch", overtaken)
    with pytest.raises(Fenced):
        await take_over(cluster.claimant("slow", MemoryDisk()), 0)


async def test_owner_with_a_wrong_clock_refuses_to_own(cluster: Cluster) -> None:
    claimant = dataclasses.replace(cluster.claimant("m", MemoryDisk()), clock=StillClock(now_ms=1))
    with pytest.raises(ClockSkew):
        await take_over(claimant, 0)


async def test_partition_that_is_taken_away_while_its_append_fails_is_let_go(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with cluster.executor("m", MemoryDisk()) as executor:
        await cluster.owned(executor)
        alive, may_fail = executor.owned()[0], asyncio.Event()

        async def fails(take: Callable[[], Sequence[KeyValue]]) -> Appended:
            take()
            await may_fail.wait()
            raise Unavailable("time-out")

        monkeypatch.setattr(alive.appender, "append_next", fails)
        await cluster.send(routed(V1, 1))
        await eventually(lambda: alive.loop.is_appending)
        executor._on_assigned(frozenset({1}))
        may_fail.set()
        await eventually(lambda: set(executor._lives) == {1})


async def test_fenced_partition_stops_no_other_one(cluster: Cluster) -> None:
    async with cluster.executor("m", MemoryDisk()) as executor:
        await cluster.owned(executor)
        thief = await take_over(cluster.claimant("thief", MemoryDisk()), 0)
        await cluster.send(routed(V1, 1))

        async def taken_back() -> bool:
            return len([record for record in await cluster.history(0) if isinstance(record.event, OwnerEpoch)]) == 3

        await eventually(taken_back)
        await cluster.owned(executor)
        await thief.close()
    epochs = [record for record in await cluster.history(1) if isinstance(record.event, OwnerEpoch)]
    assert len(epochs) == 1


async def test_fenced_partition_is_not_claimed_unless_the_group_assigns_it(cluster: Cluster, memory: MemoryCluster) -> None:
    async with cluster.executor("m1", MemoryDisk()) as first:
        await cluster.owned(first)
        group = memory.group("t.executors", cluster.topics.commands)
        group.remove("m1")
        async with cluster.executor("m2", MemoryDisk()) as second:
            await cluster.owned(second)
            await cluster.send(routed(V1, 1))
            await eventually(lambda: len(first.owned()) == 1 and len(second.owned()) == 1)
            owned = {*first.owned(), *second.owned()}
            assert owned == {0, 1}
    for partition in range(PARTITIONS):
        epochs = [record for record in await cluster.history(partition) if isinstance(record.event, OwnerEpoch)]
        assert len(epochs) <= 3


async def test_whoever_waits_for_a_result_hears_of_lost_ownership(cluster: Cluster) -> None:
    async with cluster.executor("m", MemoryDisk()) as executor:
        await cluster.owned(executor)
        await cluster.send(routed(V1, 1), start("c1", "park"))
        answer = await cluster.answer("c1")
        assert isinstance(answer, StartAccepted)
        number = partition_of(workflow_key(DEFAULT, W1), PARTITIONS)
        waiting = asyncio.create_task(executor.owned()[number].wait_closed(answer.run_id))
        await asyncio.sleep(0)
        executor._on_assigned(frozenset())
        with pytest.raises(Fenced):
            await waiting


async def test_result_is_waited_for(cluster: Cluster) -> None:
    async with cluster.executor("m", MemoryDisk()) as executor:
        await cluster.owned(executor)
        await cluster.send(routed(V1, 1), start("c1", "park"))
        answer = await cluster.answer("c1")
        assert isinstance(answer, StartAccepted)
        partition = executor.owned()[partition_of(workflow_key(DEFAULT, W1), PARTITIONS)]
        waiting = asyncio.create_task(partition.wait_closed(answer.run_id))
        await cluster.send(signal("c2", "go"))
        await waiting
        run = partition.loop.store.run(answer.run_id)
        assert run is not None
        assert run.status == "completed"


class Full(MemoryTables):
    """Of a disk that may be full."""

    is_full = False

    def write(self, batch: RawBatch) -> None:
        """See `Tables`."""
        if self.is_full:
            raise OSError("no space left on device")
        super().write(batch)


async def test_who_was_fenced_leaves_also_when_its_rows_cannot_be_written(cluster: Cluster) -> None:
    below = Full()
    disk = MemoryDisk(make=lambda: below, waits=True)
    with structlog.testing.capture_logs() as logs:
        async with cluster.executor("m1", disk) as executor:
            await cluster.owned(executor)
            await cluster.send(routed(V1, 1), start("c1", "park"))
            await cluster.answer("c1")
            below.is_full = True
            place = partition_of(workflow_key(DEFAULT, W1), PARTITIONS)
            successor = await take_over(cluster.claimant("m2", MemoryDisk()), place)
            await cluster.send(start("c2", "park"))
            ends = {"partition fenced: another owner took it over", "partition crashed", "partition lost"}
            await eventually(lambda: any(line["event"] in ends for line in logs))
            assert [line["event"] for line in logs if line["event"] in ends] == ["partition fenced: another owner took it over"]
            below.is_full = False
            await successor.close()
