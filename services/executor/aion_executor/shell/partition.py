"""One owned partition, alive: drives its loop with Kafka and time, from the end of a take-over to the loss of ownership.

Two asyncio tasks: one gathers, seals and appends, the other sends what acknowledged batches owe. Whatever goes wrong ends
both; the executor then lets go and, if the group still says so, claims again.
"""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import structlog

from aion_common.clock import Clock
from aion_common.errors import Fenced, Unavailable
from aion_common.ids import RunId
from aion_common.kafka.api import FencedAppender, KeyValue, Sender
from aion_common.limits import BATCHES_UNSENT_MAX, SENT_THROUGH_LAG_MS, TURN_WAIT_MS
from aion_common.metrics import APPENDS, BATCH_RECORDS
from aion_executor.core.run import is_open
from aion_executor.processor import SealedBatch
from aion_executor.restore import Restore
from aion_executor.shell.partition_loop import FromLog, Owed, PartitionLoop
from aion_executor.shell.residents import Activation, ConnectVms, Residents, TurnEnd

log = structlog.get_logger(__name__)

RETRY_S = 0.2
IDLE_CHECK_S = 5.0


@dataclass(slots=True, kw_only=True)
class OwnedPartition:
    """A partition and everything its loop needs. `run` is its life; the other methods are called on the event loop."""

    number: int
    appender: FencedAppender
    sender: Sender
    replies_topic: str
    clock: Clock
    loop: PartitionLoop = field(init=False)
    restored: Restore
    connect: ConnectVms
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _owed: asyncio.Queue[Owed] = field(default_factory=asyncio.Queue)
    _closed_waiters: dict[RunId, set[asyncio.Future[None]]] = field(default_factory=lambda: defaultdict(set))
    _failure: Exception | None = None

    def __post_init__(self) -> None:
        self.loop = PartitionLoop(
            store=self.restored.store,
            partition=self.restored.partition,
            residents=Residents(self.connect(self)),
            next_offset=self.restored.next_offset,
            on_written=self._written,
            sent_through=self.restored.partition.sent_through,
        )

    def offer(self, inputs: Sequence[FromLog]) -> int:
        """See `commands.Target`."""
        self.loop.offer(inputs)
        self._wake.set()
        return self.loop.commands_waiting

    def commands_waiting(self) -> int:
        """See `commands.Target`."""
        return self.loop.commands_waiting

    def fail(self, error: Exception) -> None:
        """End `run` with this error."""
        self._failure = error
        self._wake.set()

    def outcome(self, activation: Activation, ended: TurnEnd | None) -> None:
        """A turn ended in a VM; None: a replay has caught up."""
        self.loop.outcome(activation, ended, self.clock.now_ms())
        self._wake.set()

    def gone(self, activations: Sequence[Activation]) -> None:
        """A VM died."""
        self.loop.gone(activations, self.clock.now_ms())
        self._wake.set()

    async def wait_closed(self, run_id: RunId) -> None:
        """Return once the run's terminal event is in the log. Raises Fenced when the ownership ends."""
        run = self.loop.store.run(run_id)
        if run is None or not is_open(run):
            return
        waiter = asyncio.get_running_loop().create_future()
        self._closed_waiters[run_id].add(waiter)
        try:
            await waiter
        finally:
            self._closed_waiters[run_id].discard(waiter)
            if not self._closed_waiters[run_id]:
                del self._closed_waiters[run_id]

    def _written(self, batch: SealedBatch) -> None:
        APPENDS.inc()
        BATCH_RECORDS.observe(len(batch.records))
        if not self._closed_waiters:
            return
        for run in batch.changes.changed_runs:
            if not is_open(run):
                for waiter in self._closed_waiters.get(run.run_id, ()):
                    if not waiter.done():
                        waiter.set_result(None)

    async def run(self) -> None:
        """Own the partition until cancelled, or until an error says that it cannot be owned: Fenced, Unavailable, or a bug."""
        try:
            for offset, replies in self.loop.store.outbox():
                self._owed.put_nowait(Owed(replies=replies, through=offset))
            self.loop.wake_owed()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._send_owed(), name=f"sends of partition {self.number}")
                tasks.create_task(self._evict_idle(), name=f"idle runs of partition {self.number}")
                await self._step_for_ever(tasks)
        finally:
            self.loop.abandon()
            for waiters in self._closed_waiters.values():
                for waiter in waiters:
                    if not waiter.done():
                        waiter.set_exception(Fenced("the ownership of the partition ended"))

    async def _step_for_ever(self, tasks: asyncio.TaskGroup) -> None:
        loop, events = self.loop, asyncio.get_running_loop()
        while True:
            now_ms = self.clock.now_ms()
            if self._failure is not None:
                raise self._failure
            if self._owed.qsize() < BATCHES_UNSENT_MAX:
                loop.gather(now_ms)
                if loop.bring_in(now_ms):
                    self._wake.set()
                    await asyncio.sleep(0)
                if loop.is_due(now_ms):
                    batch = loop.seal(now_ms)
                    tasks.create_task(self._append(batch), name=f"append of partition {self.number}")
                    continue
            timer = events.call_later(TURN_WAIT_MS / 1000, self._wake.set) if loop.waits_for_turns else None
            await self._wake.wait()
            self._wake.clear()
            if timer is not None:
                timer.cancel()

    async def _append(self, batch: SealedBatch) -> None:
        appended = await self.appender.append(batch.records)
        self._owed.put_nowait(self.loop.acknowledged(appended.base_offset))
        self._wake.set()

    async def _send_owed(self) -> None:
        while True:
            waiting = [await self._owed.get()]
            while not self._owed.empty():
                waiting.append(self._owed.get_nowait())
            by_partition: dict[int, list[KeyValue]] = defaultdict(list)
            for reply in (reply for owed in waiting for reply in owed.replies):
                by_partition[reply.partition].append((reply.key, reply.value))
            if len(by_partition) == 1:
                ((partition, records),) = by_partition.items()
                await self._send(partition, records)
            elif by_partition:
                async with asyncio.TaskGroup() as tasks:
                    for partition, records in by_partition.items():
                        tasks.create_task(self._send(partition, records))
            for owed in waiting:
                self.loop.sent(owed, self.clock.now_ms())
            if by_partition:
                asyncio.get_running_loop().call_later(SENT_THROUGH_LAG_MS / 1000, self._wake.set)
            self._wake.set()

    async def _send(self, partition: int, records: Sequence[KeyValue]) -> None:
        while True:
            try:
                await self.sender.send(self.replies_topic, partition, records)
            except Unavailable as error:
                log.warning("replies not sent yet", partition=self.number, reason=str(error))
                await asyncio.sleep(RETRY_S)
            else:
                return

    async def _evict_idle(self) -> None:
        while True:
            await asyncio.sleep(IDLE_CHECK_S)
            self.loop.evict_idle(self.clock.now_ms())
            self._wake.set()
