"""A task queue that was created a moment ago is found: nothing is said to be unknown before somebody has looked again."""

from collections.abc import Sequence

import pytest

from aion_common.clock import SystemClock
from aion_common.kafka.api import Topic
from aion_common.kafka.topics import Topics, wanted
from aion_common.records.events import ActivityFailed, ActivityScheduled, HistoryRecord, WaitKind
from aion_common.testing.memory_cluster import MemoryCluster
from aion_common.testing.memory_log import MemoryLog
from aion_executor.core.inputs import Waits
from aion_executor.shell.queue_check import QueueCheck
from aion_executor.shell.queues import Queues
from aion_executor.shell.residents import TurnEnd
from executor.cluster import Cluster, MemoryDisk
from executor.given import V1, routed, start
from executor.vm_twin import activity
from support import eventually

DEFAULT_QUEUE = Topic(name="t.tasks.default", partitions=1, replication=1)
CALLS = TurnEnd(observed_seq=1, outcome=Waits(wait=WaitKind.RESULT, name="activity 1"), requests=(activity(1),))
WAITS = TurnEnd(observed_seq=2, outcome=Waits(wait=WaitKind.SIGNAL, name="a"))


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
