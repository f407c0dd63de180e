"""Batches of an executor's partitions leave together, and none of them waits for long."""

import asyncio
from collections import deque

from aion_common.clock import SystemClock
from aion_common.kafka.topics import Topics, wanted
from aion_common.testing.memory_cluster import MemoryCluster
from aion_common.testing.memory_log import MemoryLog
from aion_executor.shell.group_commit import GroupCommit
from aion_executor.shell.ownership import take_over
from aion_executor.shell.partition import OwnedPartition
from aion_executor.shell.queues import Queues
from executor.auto_vms import AutoVms
from executor.cluster import Cluster, MemoryDisk
from executor.given import V1, command_at, marker_at, routed, start
from support import eventually


def test_a_batch_that_is_ready_waits_for_the_turns_of_other_partitions() -> None:
    commits, left = GroupCommit(), deque[int]()
    commits.opened(1, waits=True)
    commits.opened(2, waits=True)
    commits.ready(3, lambda: left.append(3))
    commits.ready(1, lambda: left.append(1))
    assert not left
    commits.ready(2, lambda: left.append(2))
    assert sorted(left) == [1, 2, 3]
    commits.ready(3, lambda: left.append(3))
    assert left.pop() == 3


def test_a_batch_that_leaves_by_itself_or_with_its_ownership_holds_nobody_up() -> None:
    commits, left = GroupCommit(), deque[int]()
    commits.opened(1, waits=True)
    commits.opened(2, waits=True)
    commits.ready(3, lambda: left.append(3))
    commits.opened(1, waits=False)
    assert not left
    commits.opened(2, waits=False)
    assert left.pop() == 3
    commits.opened(1, waits=True)
    commits.ready(3, lambda: left.append(3))
    commits.opened(3, waits=False)
    commits.opened(1, waits=False)
    assert not left


async def test_a_slow_turn_of_one_partition_holds_another_ones_batch_no_longer_than_a_turn_of_its_own() -> None:
    log = MemoryLog(MemoryCluster(SystemClock()))
    topics = Topics("t.")
    await log.create_topics(wanted(topics, partitions=1, replication=1, insync_min=1))
    owned = await take_over(Cluster(log=log, topics=topics, partitions=1).claimant("m", MemoryDisk()), 0)
    commits = GroupCommit()
    alive = OwnedPartition(
        number=0,
        appender=owned.appender,
        sender=await log.sender(),
        topics=topics,
        clock=SystemClock(),
        restored=owned.restored,
        connect=AutoVms,
        queues=Queues(log, topics),
        commits=commits,
    )
    commits.opened(7, waits=True)
    owning = asyncio.create_task(alive.run())
    alive.offer([marker_at(0, routed(V1, 1)), command_at(1, start("c1", "park"))])
    await eventually(lambda: alive.loop.turns_written == 1)
    end = alive.loop.next_offset
    commits.opened(7, waits=False)
    for _ in range(50):
        await asyncio.sleep(0)
    assert alive.loop.next_offset == end
    owning.cancel()
    await asyncio.wait([owning])
