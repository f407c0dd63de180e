"""The idempotent producer of everything that is not history.

One lane per partition: sends wait in it in order, at most one sealed batch of it is on its way, and the courier asks for the
next one when its request leaves. A batch that cannot be delivered in time fails its sends and ends the producer id, because
its sequence numbers may or may not be used.
"""

import asyncio
from collections import deque
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from functools import partial

from aiokafka.structs import TopicPartition

from aion_common import limits
from aion_common.errors import Unavailable
from aion_common.kafka.api import Appended, Headers, KeyValue, ProducerIdentity
from aion_common.kafka.brokers import Retry
from aion_common.kafka.connection import insist
from aion_common.kafka.courier import Courier
from aion_common.kafka.produce import Batch, Outcome, init_producer_id, sequence_after

_RETRY_PAUSE_S = 0.05


@dataclass(slots=True, kw_only=True)
class _Send:
    records: Sequence[KeyValue]
    headers: Headers
    answer: asyncio.Future[int]
    until: float
    taken: int = 0
    base_offset: int = -1


@dataclass(slots=True, kw_only=True)
class _Sealed:
    """A batch on its way: its sends, each with the place of its first record here."""

    content: bytes
    portions: tuple[tuple[_Send, int], ...]
    until: float


@dataclass(slots=True)
class _Lane:
    waiting: deque[_Send] = field(default_factory=deque)
    records_waiting: int = 0
    sealed: _Sealed | None = None
    carried: asyncio.Future[Outcome] | None = None
    sequence: int = 0
    identity: ProducerIdentity | None = None


class KafkaSender:
    """See `Sender`."""

    def __init__(self, courier: Courier, identity: ProducerIdentity) -> None:
        self._courier = courier
        self._identity: ProducerIdentity | None = identity
        self._lanes: dict[TopicPartition, _Lane] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._is_closed = False
        self._room = asyncio.Condition()

    async def send(self, topic: str, partition: int, records: Sequence[KeyValue], headers: Headers = ()) -> int:
        """See `Sender`."""
        assert records, "a send has records"
        place = TopicPartition(topic, partition)
        lane = self._lanes.setdefault(place, _Lane())
        until = self._loop.time() + limits.APPEND_MS / 1000
        if lane.records_waiting >= limits.SENDS_WAITING_MAX:
            await self._until_there_is_room(place, lane, until)
        if self._is_closed:
            raise Unavailable(f"send to {topic}/{partition}: the sender is closed")
        send = _Send(records=records, headers=headers, answer=self._loop.create_future(), until=until)
        lane.waiting.append(send)
        lane.records_waiting += len(records)
        self._carry(place, lane)
        return await send.answer

    async def _until_there_is_room(self, place: TopicPartition, lane: _Lane, until: float) -> None:
        try:
            async with asyncio.timeout_at(until), self._room:
                await self._room.wait_for(lambda: lane.records_waiting < limits.SENDS_WAITING_MAX)
        except TimeoutError as cause:
            raise Unavailable(f"send to {place.topic}/{place.partition}: not acknowledged in time") from cause

    async def close(self) -> None:
        """See `Sender`."""
        if self._is_closed:
            return
        self._is_closed = True
        await _settle(self._tasks, limits.KAFKA_CLOSE_MS / 1000)
        carried = [lane.carried for lane in self._lanes.values() if lane.carried is not None]
        if carried:
            await asyncio.wait(carried, timeout=limits.KAFKA_CLOSE_MS / 1000)
        for lane in self._lanes.values():
            if lane.sealed is not None:
                _fail(lane.sealed, "the sender is closed")
            self._refuse_waiting(lane, "the sender is closed")
        await self._tell_of_room()

    def _carry(self, place: TopicPartition, lane: _Lane) -> None:
        """Have the lane's next batch carried, if there is one and none is on its way."""
        is_ready = lane.sealed is not None or (bool(lane.waiting) and self._identity is not None)
        if is_ready and lane.carried is None and not self._is_closed:
            lane.carried = self._courier.carry(place, partial(self._content, lane))
            lane.carried.add_done_callback(partial(self._arrived, place, lane))

    def _content(self, lane: _Lane) -> bytes | None:
        if lane.sealed is None and self._identity is not None:
            concerned = tuple(lane.waiting)
            try:
                self._seal(lane, self._identity)
            except Exception as bug:  # of whoever gave such records: nobody must wait for ever
                self._refuse_waiting(lane)
                for send in concerned:
                    if not send.answer.done():
                        send.answer.set_exception(bug)
        return None if lane.sealed is None else lane.sealed.content

    def _arrived(self, place: TopicPartition, lane: _Lane, carried: asyncio.Future[Outcome]) -> None:
        lane.carried = None
        if not carried.cancelled():
            outcome = carried.result()
            if lane.sealed is not None:
                self._settle_batch(lane, outcome)
            elif not isinstance(outcome, Retry):
                self._refuse_waiting(lane, str(outcome))
            self._drop_late(place, lane)
        self._carry(place, lane)

    def _drop_late(self, place: TopicPartition, lane: _Lane) -> None:
        """Sends that have waited for so long that they fail, or whose senders have gone. The courier answers every load in
        bounded time, and so does who asks for a producer id, so the limit is looked at between two of these only."""
        records_before = lane.records_waiting
        while lane.waiting and (lane.waiting[0].answer.done() or self._loop.time() >= lane.waiting[0].until):
            late = lane.waiting.popleft()
            lane.records_waiting -= len(late.records) - late.taken
            _refuse(late, f"send to {place.topic}/{place.partition}: not acknowledged in time")
        self._tell_of_room_made(records_before)

    def _refuse_waiting(self, lane: _Lane, reason: str | None = None) -> None:
        """Without a reason they are told by the caller."""
        records_before, lane.records_waiting = lane.records_waiting, 0
        waiting, lane.waiting = lane.waiting, deque()
        if reason is not None:
            for send in waiting:
                _refuse(send, reason)
        self._tell_of_room_made(records_before)

    def _tell_of_room_made(self, records_before: int) -> None:
        if records_before >= limits.SENDS_WAITING_MAX:
            self._start(self._tell_of_room())

    def _seal(self, lane: _Lane, identity: ProducerIdentity) -> None:
        if lane.identity is not identity:
            lane.identity, lane.sequence = identity, 0
        batch = Batch(identity, lane.sequence, None)
        portions: list[tuple[_Send, int]] = []
        records_before = lane.records_waiting
        while lane.waiting:
            send = lane.waiting[0]
            if send.answer.done():
                lane.records_waiting -= len(send.records) - send.taken
                lane.waiting.popleft()
                continue
            first, taken = batch.count, send.taken
            while send.taken < len(send.records) and batch.add(send.records[send.taken], send.headers):
                send.taken += 1
            lane.records_waiting -= send.taken - taken
            if send.taken > taken:
                portions.append((send, first))
            if send.taken < len(send.records):
                break
            lane.waiting.popleft()
        self._tell_of_room_made(records_before)
        if batch.count:
            until = self._loop.time() + limits.APPEND_MS / 1000
            lane.sealed = _Sealed(content=batch.seal(), portions=tuple(portions), until=until)
            lane.sequence = sequence_after(lane.sequence, batch.count)

    def _settle_batch(self, lane: _Lane, outcome: Outcome) -> None:
        sealed = lane.sealed
        assert sealed is not None, "a batch on its way stays sealed"
        if isinstance(outcome, Appended):
            lane.sealed = None
            _acknowledge(sealed, outcome.base_offset)
        elif not isinstance(outcome, Retry) or self._loop.time() >= sealed.until:
            lane.sealed = None
            _fail(sealed, str(outcome))
            if self._identity is not None and lane.identity is self._identity:
                self._identity = None
                self._start(self._renew())

    async def _renew(self) -> None:
        client = self._courier.client
        while self._identity is None:
            try:
                self._identity = await insist(client, "a producer id", lambda: init_producer_id(client, None))
            except Unavailable:
                for place, lane in self._lanes.items():
                    self._drop_late(place, lane)
                await asyncio.sleep(_RETRY_PAUSE_S)
        for place, lane in self._lanes.items():
            self._carry(place, lane)

    async def _tell_of_room(self) -> None:
        async with self._room:
            self._room.notify_all()

    def _start(self, work: Coroutine[None, None, None]) -> None:
        if self._is_closed:
            work.close()
            return
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _acknowledge(sealed: _Sealed, base_offset: int) -> None:
    for send, first in sealed.portions:
        if send.base_offset < 0:
            send.base_offset = base_offset + first
    # A send that goes on in the next batch is answered there.
    for send, _ in sealed.portions:
        if send.taken == len(send.records) and not send.answer.done():
            send.answer.set_result(send.base_offset)


def _fail(sealed: _Sealed, reason: str) -> None:
    for send, _ in sealed.portions:
        _refuse(send, reason)


def _refuse(send: _Send, reason: str) -> None:
    if not send.answer.done():
        send.answer.set_exception(Unavailable(reason))


async def _settle(tasks: set[asyncio.Task[None]], within_s: float) -> None:
    """Wait for the tasks, then cancel what is left."""
    if not tasks:
        return
    _, pending = await asyncio.wait(tasks, timeout=within_s)
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
