"""One owned partition, alive: drives its loop with Kafka and time, from the end of a take-over to the loss of ownership.

Three asyncio tasks: one gathers, one appends, one sends what acknowledged batches owe. Whatever goes wrong ends them all; the
executor then lets go and, if the group still says so, claims again.
"""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import structlog

from aion_beam.frames import QueryAnswer
from aion_common.clock import Clock
from aion_common.errors import AionError, Fenced, Unavailable, VmDied
from aion_common.ids import RunId
from aion_common.kafka.api import FencedAppender, Headers, KeyValue, Sender
from aion_common.kafka.topics import Topics
from aion_common.limits import (
    ANSWERS_FORGOTTEN_MAX,
    ANSWERS_KEPT_MS,
    BATCHES_UNSENT_MAX,
    INPUTS_AT_ONCE_MAX,
    RECORDS_PER_OWNERSHIP_MAX,
    TURN_WAIT_MS,
)
from aion_common.metrics import APPENDS, BATCH_RECORDS
from aion_executor.core.run import Run, is_open
from aion_executor.processor import SealedBatch
from aion_executor.restore import Restore
from aion_executor.shell.alarm import Alarm
from aion_executor.shell.group_commit import GroupCommit
from aion_executor.shell.partition_loop import FromLog, Owed, PartitionLoop
from aion_executor.shell.queue_check import QueueCheck
from aion_executor.shell.queues import Queues
from aion_executor.shell.residents import Activation, ConnectVms, Residents, TurnEnd, Vms
from aion_executor.store.rows import OwedSend, Store

log = structlog.get_logger(__name__)

Place = tuple[str, int, Headers]
"""Where sends go: topic without the cluster's prefix, partition, headers."""

ENDED = "the ownership of the partition ended"

ENDED_UNTOLD = "the VM died in a turn whose end was not told"

RETRY_S = 0.2
IDLE_CHECK_S = 5.0


class RenewalDue(AionError):
    """So much was appended with this producer epoch that its sequence numbers will end: the ownership begins anew."""

    def __init__(self) -> None:
        super().__init__(f"{RECORDS_PER_OWNERSHIP_MAX} records were appended in this ownership")


@dataclass(slots=True, kw_only=True)
class OwnedPartition:
    """A partition and everything its loop needs. `run` is its life; the other methods are called on the event loop."""

    number: int
    appender: FencedAppender
    sender: Sender
    topics: Topics
    clock: Clock
    loop: PartitionLoop = field(init=False)
    vms: Vms = field(init=False)
    _turns: QueueCheck = field(init=False)
    restored: Restore
    connect: ConnectVms
    queues: Queues
    commits: GroupCommit
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _alarm: Alarm = field(init=False)
    _due: asyncio.Event = field(default_factory=asyncio.Event)
    """A batch waits to be sealed and appended, or is on its way."""
    _owed: asyncio.Queue[Owed] = field(default_factory=asyncio.Queue)
    _closed_waiters: dict[RunId, set[asyncio.Future[None]]] = field(default_factory=lambda: defaultdict(set))
    _appended_records: int = 0
    _turn_waiters: list[tuple[int, asyncio.Future[None]]] = field(default_factory=list)
    _failure: Exception | None = None
    _has_ended: bool = False

    def __post_init__(self) -> None:
        self._alarm = Alarm(self._wake.set)
        self._turns = QueueCheck(self, self.queues)
        self.vms = self.connect(self._turns)
        self.loop = PartitionLoop(
            number=self.number,
            store=self.restored.store,
            partition=self.restored.partition,
            residents=Residents(self.vms),
            next_offset=self.restored.next_offset,
            on_written=self._written,
            sent_through=self.restored.partition.sent_through,
            dues_from=None,
            results_from=None,
            queues=self.queues,
        )

    def offer(self, inputs: Sequence[FromLog]) -> int:
        """See `reading.Target`."""
        self.loop.offer(inputs)
        self._wake.set()
        return self.loop.commands_waiting

    def waiting(self) -> int:
        """See `reading.Target`."""
        return self.loop.commands_waiting

    def backlog_offered(self) -> None:
        """See `reading.Target`."""
        self.loop.backlog_offered()
        self._wake.set()

    def offer_results(self, inputs: Sequence[FromLog]) -> int:
        """See `Results`."""
        self.loop.offer_results(inputs)
        self._wake.set()
        return self.loop.results_waiting

    def results_backlog_offered(self) -> None:
        """See `Results`."""
        self.loop.results_backlog_offered()
        self._wake.set()

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

    @property
    def results(self) -> "Results":
        """Where the partition's reports go."""
        return Results(self)

    async def wait_closed(self, run_id: RunId) -> None:
        """Return once the run's terminal event is in the log. Raises Fenced when the ownership ends or has ended."""
        self._check_owned()
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

    async def query(self, run: Run, name: str, arguments: bytes) -> QueryAnswer | None:
        """What the run's code answers, from what it last published; None: the run is not there any more. Held until all that
        it may show is in the log. Raises VmDied, and Fenced when the ownership ends or has ended."""
        self._check_owned()
        residing: asyncio.Future[Activation | None] = asyncio.get_running_loop().create_future()

        def tell(activation: Activation | None) -> None:
            if not residing.done():
                residing.set_result(activation)

        self.loop.when_resident(run, tell)
        self._wake.set()
        activation = await residing
        self._check_owned()
        if activation is None:
            return None
        try:
            answer = await self.vms.query(activation, name, arguments)
        except VmDied:
            self._check_owned()
            raise
        is_told = await self._turns.passed(activation)
        self._check_owned()
        if not is_told:
            raise VmDied(ENDED_UNTOLD)
        await self._until_written(self.loop.turns_proposed)
        return answer

    @property
    def store(self) -> Store:
        """What the log has acknowledged, for readers that let others have their turn between two looks: ask for it anew after
        each. Raises Fenced when the ownership has ended, and the store with it."""
        self._check_owned()
        return self.loop.store

    async def next_batch(self) -> None:
        """Return once another batch is in the log. Raises Fenced when the ownership ends or has ended."""
        self._check_owned()
        await self._written_with(0)

    def _check_owned(self) -> None:
        """Raises Fenced: who keeps on asking gets no answer here."""
        if self._has_ended:
            raise Fenced(ENDED)

    async def _until_written(self, turns: int) -> None:
        """Return once so many turns are in the log."""
        if self.loop.turns_written < turns:
            await self._written_with(turns)

    async def _written_with(self, turns: int) -> None:
        """Return at the next batch with which so many turns are in the log."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = (turns, waiter)
        self._turn_waiters.append(waiting)
        try:
            await waiter
        finally:
            self._turn_waiters.remove(waiting)

    def _written(self, batch: SealedBatch) -> None:
        for turns, waiter in self._turn_waiters:
            if self.loop.turns_written >= turns and not waiter.done():
                waiter.set_result(None)
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
            for offset, sends in self.loop.store.outbox():
                self._owed.put_nowait(Owed(sends=sends, through=offset))
            self.loop.wake_owed()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._append_what_is_due(), name=f"appends of partition {self.number}")
                tasks.create_task(self._send_owed(), name=f"sends of partition {self.number}")
                tasks.create_task(self._evict_idle(), name=f"idle runs of partition {self.number}")
                await self._step_for_ever()
        finally:
            self._has_ended = True
            self.commits.opened(self.number, waits=False)
            self._alarm.cancel()
            self.loop.abandon()
            self._turns.give_up()
            closed = (waiter for waiters in self._closed_waiters.values() for waiter in waiters)
            for waiter in (*closed, *(waiter for _, waiter in self._turn_waiters)):
                if not waiter.done():
                    waiter.set_exception(Fenced(ENDED))

    async def _step_for_ever(self) -> None:
        loop = self.loop
        while True:
            now_ms = self.clock.now_ms()
            if self._failure is not None:
                raise self._failure
            if self._owed.qsize() < BATCHES_UNSENT_MAX:
                while loop.gather(now_ms, INPUTS_AT_ONCE_MAX):  # noqa: ASYNC110 - nothing is waited for
                    # Heartbeats of the group, and other partitions.
                    await asyncio.sleep(0)
                if loop.bring_in(now_ms):
                    self._wake.set()
                    await asyncio.sleep(0)
                self._perhaps_append(now_ms)
            else:
                self.commits.opened(self.number, waits=False)
            self._alarm.set(self._pause_s(now_ms))
            await self._wake.wait()
            self._wake.clear()

    def _perhaps_append(self, now_ms: int) -> None:
        """See `GroupCommit`."""
        if not self._due.is_set() and self.loop.is_due(now_ms):
            if self.loop.may_wait(now_ms):
                self.commits.ready(self.number, self._due.set)
                return
            self._due.set()
        self.commits.opened(self.number, waits=not self._due.is_set() and self.loop.waits_for_turns)

    def _pause_s(self, now_ms: int) -> float:
        """How long nothing needs to be done if nothing happens."""
        if self.loop.waits_for_turns or self.commits.holds(self.number):
            return TURN_WAIT_MS / 1000
        due_ms = self.loop.next_due_ms()
        # What is due and was not gathered waits for an append or for sends, whose ends wake the loop.
        return IDLE_CHECK_S if due_ms is None or due_ms <= now_ms else min(IDLE_CHECK_S, (due_ms - now_ms) / 1000)

    async def _append_what_is_due(self) -> None:
        while True:
            await self._due.wait()
            appended = await self.appender.append_next(self._sealed)
            self._due.clear()
            self._owed.put_nowait(self.loop.acknowledged(appended.base_offset))
            self._wake.set()
            if self._appended_records >= RECORDS_PER_OWNERSHIP_MAX:
                raise RenewalDue

    def _sealed(self) -> Sequence[KeyValue]:
        """What was decided until now."""
        records = self.loop.seal(self.clock.now_ms()).records
        self._appended_records += len(records)
        return records

    async def _send_owed(self) -> None:
        while True:
            waiting = [await self._owed.get()]
            while not self._owed.empty():
                waiting.append(self._owed.get_nowait())
            if not all(self.queues.is_placed(send.topic) for owed in waiting for send in owed.sends):
                await self.queues.looked()
            by_place: dict[Place, list[KeyValue]] = defaultdict(list)
            for send in (send for owed in waiting for send in owed.sends):
                by_place[self._place_of(send)].append((send.key, send.value))
            if len(by_place) == 1:
                ((place, records),) = by_place.items()
                await self._send(place, records)
            elif by_place:
                async with asyncio.TaskGroup() as tasks:
                    for place, records in by_place.items():
                        tasks.create_task(self._send(place, records))
            for owed in waiting:
                self.loop.sent(owed, self.clock.now_ms())
            self._wake.set()

    def _place_of(self, send: OwedSend) -> Place:
        if send.partition is not None:
            return send.topic, send.partition, send.headers
        return send.topic, self.queues.partition_of(send.topic, send.key or b""), send.headers

    async def _send(self, place: Place, records: Sequence[KeyValue]) -> None:
        topic, partition, headers = place
        while True:
            try:
                await self.sender.send(self.topics.prefix + topic, partition, records, headers)
            except Unavailable as error:
                log.warning("not sent yet", topic=topic, partition=self.number, reason=str(error))
                await asyncio.sleep(RETRY_S)
            else:
                return

    async def _evict_idle(self) -> None:
        while True:
            await asyncio.sleep(IDLE_CHECK_S)
            now_ms = self.clock.now_ms()
            self.loop.evict_idle(now_ms)
            self.loop.store.forget_answers(now_ms - ANSWERS_KEPT_MS, ANSWERS_FORGOTTEN_MAX)
            self.loop.store.flush()
            self._wake.set()


@dataclass(frozen=True, slots=True)
class Results:
    """A partition as the reader of `aion.results` sees it."""

    partition: OwnedPartition

    def offer(self, inputs: Sequence[FromLog]) -> int:
        """See `reading.Target`."""
        return self.partition.offer_results(inputs)

    def waiting(self) -> int:
        """See `reading.Target`."""
        return self.partition.loop.results_waiting

    def backlog_offered(self) -> None:
        """See `reading.Target`."""
        self.partition.results_backlog_offered()

    def fail(self, error: Exception) -> None:
        """See `reading.Target`."""
        self.partition.fail(error)
