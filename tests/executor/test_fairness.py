"""A partition with much to do leaves the event loop to others in between: heartbeats and other partitions share it."""

import asyncio
from itertools import pairwise

from aion_common.clock import SystemClock
from aion_common.kafka.topics import Topics, wanted
from aion_common.limits import INPUTS_AT_ONCE_MAX
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

COMMANDS = 9 * INPUTS_AT_ONCE_MAX


async def test_a_partition_with_much_to_do_lets_others_have_their_turn() -> None:
    log = MemoryLog(MemoryCluster(SystemClock()))
    topics = Topics("t.")
    await log.create_topics(wanted(topics, partitions=1, replication=1, insync_min=1))
    owned = await take_over(Cluster(log=log, topics=topics, partitions=1).claimant("m", MemoryDisk()), 0)
    alive = OwnedPartition(
        number=0,
        appender=owned.appender,
        sender=await log.sender(),
        topics=topics,
        clock=SystemClock(),
        restored=owned.restored,
        connect=AutoVms,
        queues=Queues(log, topics),
        commits=GroupCommit(),
    )
    alive.loop.backlog_offered()
    alive.loop.results_backlog_offered()
    waiting: list[int] = []

    async def look() -> None:
        while not waiting or waiting[-1] > 0:
            waiting.append(alive.loop.commands_waiting)
            await asyncio.sleep(0)

    starts = (command_at(offset, start(f"c{offset}", "park")) for offset in range(1, COMMANDS))
    alive.offer([marker_at(0, routed(V1, 1)), *starts])
    looking, owning = asyncio.create_task(look()), asyncio.create_task(alive.run())
    await eventually(looking.done)
    steps = [before - after for before, after in pairwise(waiting)]
    assert max(steps) <= INPUTS_AT_ONCE_MAX, steps
    owning.cancel()
    await asyncio.wait([owning])
