"""A task queue that was created a moment ago is found: nothing is said to be unknown before somebody has looked again."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from aion_common.clock import SystemClock
from aion_common.errors import Fenced, VmDied
from aion_common.ids import run_id_of, workflow_key
from aion_common.kafka.api import Headers, KeyValue, Sender, Topic
from aion_common.kafka.partitioner import partition_of
from aion_common.kafka.topics import Topics, wanted
from aion_common.records.events import ActivityFailed, ActivityScheduled, HistoryRecord, WaitKind
from aion_common.testing.memory_cluster import MemoryCluster
from aion_common.testing.memory_log import MemoryLog
from aion_executor.core.inputs import Waits
from aion_executor.core.run import Run
from aion_executor.shell.group_commit import GroupCommit
from aion_executor.shell.ownership import take_over
from aion_executor.shell.partition import OwnedPartition
from aion_executor.shell.queue_check import QueueCheck
from aion_executor.shell.queues import Queues
from aion_executor.shell.residents import TurnEnd
from executor.auto_vms import AutoVms
from executor.cluster import Cluster, MemoryDisk
from executor.given import DEFAULT, V1, W1, command_at, marker_at, routed, start
from executor.vm_twin import activity
from support import committed, eventually

DEFAULT_QUEUE = Topic(name="t.tasks.default", partitions=1, replication=1)
CALLS = TurnEnd(observed_seq=1, outcome=Waits(wait=WaitKind.RESULT, name="activity 1"), requests=(activity(1),))
WAITS = TurnEnd(observed_seq=2, outcome=Waits(wait=WaitKind.SIGNAL, name="a"))
STARTED = start("c1", "calls")
TASKS = 8
"""Partitions of the topic of tasks, where the task of `STARTED` does not belong into the first."""


@pytest.fixture
async def cluster() -> Cluster:
    log, topics = MemoryLog(MemoryCluster(SystemClock())), Topics("t.")
    await log.create_topics(wanted(topics, partitions=1, replication=1, insync_min=1))
    return Cluster(log=log, topics=topics, partitions=1)


async def events_once(cluster: Cluster, last: type) -> list[type]:
    """The events of the partition once there is one of the type."""

    async def found() -> Sequence[HistoryRecord]:
        history = await cluster.history(0)
        return history if any(isinstance(record.event, last) for record in history) else ()

    return [type(record.event) for record in await eventually(found)]


async def test_an_activity_finds_the_queue_that_was_created_just_before(cluster: Cluster) -> None:
    async with cluster.executor("m1", MemoryDisk()) as executor:
        await cluster.owned(executor)
        await cluster.log.create_topics([DEFAULT_QUEUE])
        await cluster.send(routed(V1, 1), start("c1", "calls"))
        assert ActivityFailed not in await events_once(cluster, ActivityScheduled)


async def test_an_activity_on_a_queue_that_nobody_created_fails(cluster: Cluster) -> None:
    async with cluster.executor("m1", MemoryDisk()) as executor:
        await cluster.owned(executor)
        await cluster.send(routed(V1, 1), start("c1", "calls"))
        assert ActivityFailed in await events_once(cluster, ActivityScheduled)


class Taken:
    """A partition that notes what it is told."""

    def __init__(self) -> None:
        self.told: list[object] = []

    def outcome(self, activation: int, ended: TurnEnd | None) -> None:
        """See `TurnTaker`."""
        self.told.append((activation, ended))

    def gone(self, activations: Sequence[int]) -> None:
        """See `TurnTaker`."""
        self.told.append(list(activations))


async def test_what_follows_a_turn_that_is_looked_for_stays_behind_it_and_others_pass(cluster: Cluster) -> None:
    taken, queues = Taken(), Queues(cluster.log, cluster.topics)
    check = QueueCheck(taken, queues)
    check.outcome(7, CALLS)
    check.outcome(7, WAITS)
    check.outcome(7, CALLS)
    check.outcome(8, None)
    assert taken.told == [(8, None)]
    await queues.look()
    assert taken.told == [(8, None), (7, CALLS), (7, WAITS)]
    await queues.look()
    assert taken.told[3:] == [(7, CALLS)]


async def test_a_turn_that_is_looked_for_ends_with_its_vm(cluster: Cluster) -> None:
    taken, queues = Taken(), Queues(cluster.log, cluster.topics)
    check = QueueCheck(taken, queues)
    check.outcome(7, CALLS)
    check.gone([7])
    await queues.look()
    assert taken.told == [[7]]


class Mute:
    """A sender of whom nothing leaves."""

    async def send(self, topic: str, partition: int, records: Sequence[KeyValue], headers: Headers = ()) -> int:
        """See `Sender`."""
        del topic, partition, records, headers
        await asyncio.Event().wait()
        return 0

    async def close(self) -> None:
        """See `Sender`."""


@asynccontextmanager
async def owning(cluster: Cluster, queues: Queues, sender: Sender) -> AsyncIterator[OwnedPartition]:
    """The partition, owned by somebody new until the block is left; then nobody waits any more."""
    owned = await take_over(cluster.claimant("m", MemoryDisk()), 0)
    alive = OwnedPartition(
        number=0,
        appender=owned.appender,
        sender=sender,
        topics=cluster.topics,
        clock=SystemClock(),
        restored=owned.restored,
        connect=AutoVms,
        queues=queues,
        commits=GroupCommit(),
    )
    running = asyncio.create_task(alive.run())
    try:
        yield alive
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await owned.close()


async def started(alive: OwnedPartition) -> Run:
    """The run, whose first turn names a queue."""
    alive.offer([marker_at(0, routed(V1, 1)), command_at(1, STARTED)])

    def found() -> Run | None:
        return alive.store.run(run_id_of(DEFAULT, W1, STARTED.command_id))

    run = await eventually(found)
    assert run is not None
    return run


async def asking_in_a_held_turn(alive: OwnedPartition) -> asyncio.Task[object]:
    """A query of a run whose turn is held; its answer is there, and is held too."""
    run = await started(alive)
    await eventually(lambda: alive._turns._held)
    asking: asyncio.Task[object] = asyncio.create_task(alive.query(run, "state", b"[]"))
    await eventually(lambda: alive._turns._waiting or asking.done())
    assert not asking.done(), "it may show what the turn has done"
    return asking


async def test_an_answer_that_may_show_a_turn_that_is_held_waits_for_it(cluster: Cluster) -> None:
    queues = Queues(cluster.log, cluster.topics)
    async with owning(cluster, queues, Mute()) as alive:
        asking = await asking_in_a_held_turn(alive)
        assert ActivityScheduled not in [type(record.event) for record in await cluster.history(0)]
        await queues.look()
        async with asyncio.timeout(10):
            assert await asking == b"state[]"
        assert ActivityScheduled in [type(record.event) for record in await cluster.history(0)]


async def test_an_answer_that_may_show_a_turn_that_is_held_goes_with_its_vm(cluster: Cluster) -> None:
    async with owning(cluster, Queues(cluster.log, cluster.topics), Mute()) as alive:
        asking = await asking_in_a_held_turn(alive)
        assert isinstance(alive.vms, AutoVms)
        alive.vms.taker.gone(alive.vms.twin.die())
        async with asyncio.timeout(10):
            with pytest.raises(VmDied):
                await asking


async def test_an_answer_that_may_show_a_turn_that_is_held_ends_with_the_ownership(cluster: Cluster) -> None:
    async with owning(cluster, Queues(cluster.log, cluster.topics), Mute()) as alive:
        asking = await asking_in_a_held_turn(alive)
    async with asyncio.timeout(10):
        with pytest.raises(Fenced):
            await asking


async def test_a_new_owner_puts_a_task_that_it_owes_where_its_key_belongs(cluster: Cluster) -> None:
    await cluster.log.create_topics([Topic(name="t.tasks.default", partitions=TASKS, replication=1)])
    queues = Queues(cluster.log, cluster.topics)
    await queues.look()
    async with owning(cluster, queues, Mute()) as alive:
        await started(alive)
        await events_once(cluster, ActivityScheduled)

    async def tasks() -> list[int]:
        """Where there are any."""
        return [each for each in range(TASKS) if await committed(cluster.log, "t.tasks.default", each)]

    assert not await tasks()
    sender, unseen = await cluster.log.sender(), Queues(cluster.log, cluster.topics)
    looking = asyncio.create_task(unseen.run())
    async with owning(cluster, unseen, sender):
        assert await eventually(tasks) == [partition_of(workflow_key(DEFAULT, W1), TASKS)] != [0]
    looking.cancel()
    await sender.close()
