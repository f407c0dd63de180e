"""Who still asks a partition that is not owned any more is told so, and does not wait for its deadline."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from aion_common.clock import SystemClock
from aion_common.errors import Fenced
from aion_common.ids import run_id_of
from aion_common.kafka.topics import Topics, wanted
from aion_common.testing.memory_cluster import MemoryCluster
from aion_common.testing.memory_log import MemoryLog
from aion_executor.core.run import Run
from aion_executor.shell.partition import OwnedPartition
from executor.cluster import Cluster, MemoryDisk
from executor.given import DEFAULT, V1, W1, routed, start
from support import eventually


async def ask(alive: OwnedPartition, run: Run) -> object:
    return await alive.query(run, "state", b"[]")


async def wait(alive: OwnedPartition, run: Run) -> None:
    await alive.wait_closed(run.run_id)


@pytest.mark.parametrize("late", [ask, wait])
async def test_who_asks_when_the_ownership_has_ended_is_told_so(
    late: Callable[[OwnedPartition, Run], Awaitable[object]],
) -> None:
    log = MemoryLog(MemoryCluster(SystemClock()))
    topics = Topics("t.")
    await log.create_topics(wanted(topics, partitions=1, replication=1, insync_min=1))
    cluster = Cluster(log=log, topics=topics, partitions=1)
    started = start("s1", "park")
    async with cluster.executor("m", MemoryDisk()) as executor, asyncio.timeout(10):
        await cluster.owned(executor)
        alive = executor.owned()[0]
        await cluster.send(routed(V1, 1), started)
        await cluster.answer("s1")
        run = alive.loop.store.run(run_id_of(DEFAULT, W1, started.command_id))
        assert run is not None
        executor._on_assigned(frozenset())
        await eventually(lambda: not executor.owned())
        with pytest.raises(Fenced):
            await late(alive, run)
