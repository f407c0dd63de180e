"""Taking partitions over: fencing, void records, stores that are not ours, replies that are owed."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from aion_common.clock import SystemClock
from aion_common.errors import Fenced
from aion_common.ids import RunId, WorkflowId, workflow_key
from aion_common.kafka.partitioner import partition_of
from aion_common.kafka.topics import Topics, wanted
from aion_common.records.events import OwnerEpoch, Progress, RunCompleted, RunStarted
from aion_common.records.replies import StartAccepted
from aion_common.testing.memory_cluster import Fault, MemoryCluster
from aion_common.testing.memory_log import MemoryLog
from aion_common.wire import encode
from aion_executor.processor import PARTITION_KEY, partition_value
from aion_executor.shell.ownership import take_over
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
    zombie = replace(records[0], owner_epoch=-5, run_id=RunId("f" * 32))
    sender = await cluster.log.sender()
    await sender.send(cluster.topics.history, partition, [(b"k", encode(zombie)), (b"k", b"garbage")])
    await sender.close()
    owned = await take_over(cluster.claimant("n", MemoryDisk()), partition)
    assert (owned.restored.void, owned.restored.foreign) == (1, 1)
    assert owned.restored.store.run(zombie.run_id) is None
    assert owned.restored.store.run(records[0].run_id) is not None
    await owned.close()


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
