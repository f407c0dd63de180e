"""What a query shows is in the log: its answer waits for the turns that it may show."""

import asyncio
from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aion_common.clock import SystemClock
from aion_common.ids import run_id_of
from aion_common.kafka.api import Appended, FencedAppender, KeyValue, ProducerIdentity
from aion_common.kafka.topics import Topics, wanted
from aion_common.testing.memory_cluster import MemoryCluster
from aion_common.testing.memory_log import MemoryLog
from aion_executor.shell.group_commit import GroupCommit
from aion_executor.shell.http import create_app
from aion_executor.shell.ownership import take_over
from aion_executor.shell.partition import OwnedPartition
from aion_executor.shell.queues import Queues
from executor.auto_vms import AutoVms
from executor.cluster import Cluster, MemoryDisk
from executor.given import DEFAULT, V1, W1, command_at, marker_at, routed, signal, start, terminate
from support import eventually


@dataclass(slots=True)
class Gate:
    """An appender whose appends wait while the gate is closed."""

    inner: FencedAppender
    is_open: asyncio.Event = field(default_factory=asyncio.Event)
    waiting: int = 0

    @property
    def identity(self) -> ProducerIdentity:
        """See `FencedAppender`."""
        return self.inner.identity

    async def append(self, records: Sequence[KeyValue]) -> Appended:
        """See `FencedAppender`."""
        return await self.append_next(lambda: records)

    async def append_next(self, take: Callable[[], Sequence[KeyValue]]) -> Appended:
        """See `FencedAppender`."""
        records = take()
        self.waiting += 1
        await self.is_open.wait()
        self.waiting -= 1
        return await self.inner.append(records)

    async def close(self) -> None:
        """See `FencedAppender`."""
        await self.inner.close()


STARTED = start("c1", "two_signals")
RUN = run_id_of(DEFAULT, W1, STARTED.command_id)


async def turns_of_the_loop() -> None:
    """Whatever can go on without the log has gone on."""
    for _ in range(50):
        await asyncio.sleep(0)


async def test_answer_waits_for_the_turn_that_it_may_show_and_a_closed_run_for_its_end() -> None:
    log = MemoryLog(MemoryCluster(SystemClock()))
    topics = Topics("t.")
    await log.create_topics(wanted(topics, partitions=1, replication=1, insync_min=1))
    cluster = Cluster(log=log, topics=topics, partitions=1)
    owned = await take_over(cluster.claimant("m", MemoryDisk()), 0)
    gate, sender = Gate(owned.appender), await log.sender()
    gate.is_open.set()
    alive = OwnedPartition(
        number=0,
        appender=gate,
        sender=sender,
        topics=topics,
        clock=SystemClock(),
        restored=owned.restored,
        connect=AutoVms,
        queues=Queues(log, topics),
        commits=GroupCommit(),
    )
    owning = asyncio.create_task(alive.run())
    alive.offer([marker_at(0, routed(V1, 1)), command_at(1, STARTED)])
    await eventually(lambda: alive.loop.turns_written == 1)
    run = alive.store.run(RUN)
    assert run is not None

    gate.is_open.clear()
    alive.offer([command_at(2, signal("s1", "a"))])
    await eventually(lambda: gate.waiting == 1)
    asking = asyncio.create_task(alive.query(run, "state", b"[]"))
    await turns_of_the_loop()
    assert not asking.done()
    gate.is_open.set()
    assert await asking == b"state[]"

    gate.is_open.clear()
    alive.offer([command_at(3, terminate("e1"))])
    await eventually(lambda: gate.waiting == 1)
    assert await alive.query(run, "state", b"[]") is None
    ending = asyncio.create_task(alive.next_batch())
    await turns_of_the_loop()
    assert not ending.done()
    gate.is_open.set()
    await ending
    closed = alive.store.run(RUN)
    assert closed is not None
    assert closed.closed_at is not None
    owning.cancel()
    await asyncio.gather(owning, return_exceptions=True)
    await sender.close()
    await owned.close()


async def test_a_gateway_that_hangs_up_before_its_body_came_is_no_defect() -> None:
    told: list[object] = []

    async def hang_up() -> dict[str, str]:
        return {"type": "http.disconnect"}

    async def tell(message: MutableMapping[str, Any]) -> None:
        told.append(message)

    scope = {"type": "http", "method": "POST", "path": "/partitions/0/query", "query_string": b"", "headers": []}
    await create_app("m", dict)(scope, hang_up, tell)
    assert told, "the request ends, whoever listens"
