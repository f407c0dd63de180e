"""The idempotent producer of everything that is not history. The request in flight is what gathers the next batch.

One lane per partition: sends wait in it in order, at most one sealed batch of it is on its way. One request per broker
is in flight; it carries the batches of all lanes that broker leads. A batch that cannot be delivered in time fails its
sends and ends the producer id, because its sequence numbers may or may not be used.
"""

import asyncio
from collections import deque
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from aiokafka.structs import TopicPartition

from aion_common import limits
from aion_common.errors import Unavailable
from aion_common.kafka.api import Appended, Headers, KeyValue, ProducerIdentity
from aion_common.kafka.brokers import Brokers, Retry
from aion_common.kafka.connection import close_client, insist
from aion_common.kafka.produce import Batch, Outcome, init_producer_id, produce, sequence_after

_RETRY_PAUSE_S = 0.05


@dataclass(slots=True, kw_only=True)
class _Send:
    records: Sequence[KeyValue]
    headers: Headers
    answer: asyncio.Future[int]
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
    is_on_its_way: bool = False
    sequence: int = 0
    identity: ProducerIdentity | None = None


class KafkaSender:
    """See `Sender`. It owns the client."""

    def __init__(self, client: Brokers, identity: ProducerIdentity) -> None:
        self._client = client
        self._identity: ProducerIdentity | None = identity
        self._lanes: dict[TopicPartition, _Lane] = {}
        self._busy: set[int] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._is_pump_due = False
        self._is_refreshing = False
        self._is_closed = False
        self._room = asyncio.Condition()

    async def send(self, topic: str, partition: int, records: Sequence[KeyValue], headers: Headers = ()) -> int:
        """See `Sender`."""
        assert records, "a send has records"
        what = f"send to {topic}/{partition}"
        lane = self._lanes.setdefault(TopicPartition(topic, partition), _Lane())
        try:
            async with asyncio.timeout(limits.APPEND_MS / 1000):
                if lane.records_waiting >= limits.SENDS_WAITING_MAX:
                    async with self._room:
                        await self._room.wait_for(lambda: lane.records_waiting < limits.SENDS_WAITING_MAX)
                if self._is_closed:
                    raise Unavailable(f"{what}: the sender is closed")
                send = _Send(records=records, headers=headers, answer=self._loop.create_future())
                lane.waiting.append(send)
                lane.records_waiting += len(records)
                self._pump_soon()
                return await send.answer
        except TimeoutError as cause:
            raise Unavailable(f"{what}: not acknowledged in time") from cause

    async def close(self) -> None:
        """See `Sender`."""
        if self._is_closed:
            return
        self._is_closed = True
        await _settle(self._tasks, limits.KAFKA_CLOSE_MS / 1000)
        for lane in self._lanes.values():
            if lane.sealed is not None:
                _fail(lane.sealed, "the sender is closed")
            for send in lane.waiting:
                _refuse(send, "the sender is closed")
            lane.waiting.clear()
            lane.records_waiting = 0
        await self._tell_of_room()
        await close_client(self._client)

    def _pump_soon(self) -> None:
        if not self._is_pump_due:
            self._is_pump_due = True
            self._loop.call_soon(self._pump)

    def _pump(self) -> None:
        """Start what can be started: one request per idle broker, with a batch of each lane that has something."""
        self._is_pump_due = False
        requests: dict[int, dict[TopicPartition, _Lane]] = {}
        for place, lane in self._lanes.items():
            if lane.is_on_its_way or (lane.sealed is None and not lane.waiting):
                continue
            leader = self._client.picture.leader(place)
            if leader is None:
                self._refresh(place)
            elif leader not in self._busy and self._has_batch(lane):
                requests.setdefault(leader, {})[place] = lane
        for node, lanes in requests.items():
            self._busy.add(node)
            for lane in lanes.values():
                lane.is_on_its_way = True
            self._start(self._deliver(node, lanes))

    def _has_batch(self, lane: _Lane) -> bool:
        if lane.sealed is None and self._identity is not None:
            self._seal(lane, self._identity)
        return lane.sealed is not None

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
        if records_before >= limits.SENDS_WAITING_MAX:
            self._start(self._tell_of_room())
        if batch.count:
            lane.sequence = sequence_after(lane.sequence, batch.count)
            until = self._loop.time() + limits.APPEND_MS / 1000
            lane.sealed = _Sealed(content=batch.seal(), portions=tuple(portions), until=until)

    async def _deliver(self, node: int, lanes: dict[TopicPartition, _Lane]) -> None:
        batches = {place: lane.sealed.content for place, lane in lanes.items() if lane.sealed is not None}
        try:
            outcomes = await produce(self._client, node, batches)
            if any(isinstance(outcome, Retry) for outcome in outcomes.values()):
                await asyncio.sleep(_RETRY_PAUSE_S)
                with suppress(Retry):
                    await self._client.refresh()
            for place, outcome in outcomes.items():
                self._settle_batch(lanes[place], outcome)
        except Exception as bug:  # whatever it is, senders must not wait for ever
            for lane in lanes.values():
                if lane.sealed is not None:
                    self._settle_batch(lane, Unavailable(f"a defect in the sender: {bug!r}"))
            raise
        finally:
            for lane in lanes.values():
                lane.is_on_its_way = False
            self._busy.discard(node)
            self._pump_soon()

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
        while self._identity is None:
            try:
                self._identity = await insist(self._client, "a producer id", lambda: init_producer_id(self._client, None))
            except Unavailable:
                await asyncio.sleep(_RETRY_PAUSE_S)
        self._pump_soon()

    def _refresh(self, place: TopicPartition) -> None:
        if not self._is_refreshing:
            self._is_refreshing = True
            self._start(self._refresh_leaders(place))

    async def _refresh_leaders(self, place: TopicPartition) -> None:
        with suppress(Retry):
            await self._client.follow(place.topic)
            if self._client.picture.leader(place) is None:
                await asyncio.sleep(_RETRY_PAUSE_S)
                await self._client.refresh()
        lane = self._lanes[place]
        if lane.sealed is not None and not lane.is_on_its_way and self._loop.time() >= lane.sealed.until:
            self._settle_batch(lane, Unavailable(f"{place.topic} partition {place.partition} has no leader"))
        while lane.waiting and lane.waiting[0].answer.done():
            gone = lane.waiting.popleft()
            lane.records_waiting -= len(gone.records) - gone.taken
        self._is_refreshing = False
        self._pump_soon()

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
