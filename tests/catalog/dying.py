"""A catalog that dies at a chosen call to Kafka: every call of its log is counted, and one of them never returns.

What a dead process leaves behind is left behind here too: what it had sent, its open transaction, its place in the group.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import Enum, auto
from typing import TypeVar

from aion_common.kafka.api import (
    Headers,
    KeyValue,
    LogRecord,
    Membership,
    OnAssigned,
    ProducerIdentity,
    Reader,
    Sender,
    TransactionalProducer,
    Write,
)
from aion_common.testing.memory_cluster import MemoryCluster
from aion_common.testing.memory_log import MemoryLog

T = TypeVar("T")


class Moment(Enum):
    """When in the call. HALF: a transaction is written and not ended. LATE: it is only held up, and comes when others have
    gone on."""

    BEFORE = auto()
    HALF = auto()
    AFTER = auto()
    LATE = auto()


class Fate:
    """At which call, counted from 1, and when in it. `met` is set when it is over; `calls` are those made until then."""

    def __init__(self, call: int, moment: Moment) -> None:
        self._call = call
        self.moment = moment
        self.calls: list[str] = []
        self.met = asyncio.Event()
        self.go_on = asyncio.Event()
        self.came_late = asyncio.Event()

    async def through(self, name: str, effect: Callable[[], Awaitable[T]], half: Callable[[], object] | None = None) -> T:
        """The call, if it is survived. A call that has no half is left out for HALF."""
        if self.moment is not Moment.HALF or half is not None:
            self.calls.append(name)
            if len(self.calls) == self._call and not self.met.is_set():
                return await self._end(effect, half)
        return await effect()

    async def _end(self, effect: Callable[[], Awaitable[T]], half: Callable[[], object] | None) -> T:
        if self.moment is Moment.AFTER:
            await effect()
        if self.moment is Moment.HALF and half is not None:
            half()
        self.met.set()
        if self.moment is not Moment.LATE:
            await asyncio.Event().wait()
        await self.go_on.wait()
        try:
            return await effect()
        finally:
            self.came_late.set()


class DyingLog(MemoryLog):
    """The log of such a catalog."""

    def __init__(self, cluster: MemoryCluster, fate: Fate) -> None:
        super().__init__(cluster)
        self._fate = fate
        self.joined = asyncio.Event()

    async def end_offset(self, topic: str, partition: int) -> int:
        return await self._fate.through(f"end of {topic}", lambda: super(DyingLog, self).end_offset(topic, partition))

    async def beginning_offset(self, topic: str, partition: int) -> int:
        return await self._fate.through(f"begin of {topic}", lambda: super(DyingLog, self).beginning_offset(topic, partition))

    async def reader(self, topic: str) -> Reader:
        reader = await self._fate.through(f"reader of {topic}", lambda: super(DyingLog, self).reader(topic))
        return _DyingReader(reader, self._fate, topic)

    async def sender(self) -> Sender:
        return _DyingSender(await self._fate.through("sender", super().sender), self._fate)

    async def transactional_producer(self, transactional_id: str) -> TransactionalProducer:
        producer = await self._fate.through("claim", lambda: super(DyingLog, self).transactional_producer(transactional_id))
        return _DyingProducer(producer, self._fate, lambda writes: self.cluster.begin(transactional_id, writes))

    async def membership(self, group: str, topic: str, member_id: str, session_ms: int, on_assigned: OnAssigned) -> Membership:
        membership = await self._fate.through(
            "join", lambda: super(DyingLog, self).membership(group, topic, member_id, session_ms, on_assigned)
        )
        self.joined.set()
        return membership


class _DyingReader:
    def __init__(self, inner: Reader, fate: Fate, topic: str) -> None:
        self._inner = inner
        self._fate = fate
        self._topic = topic
        self.assign = inner.assign
        self.position = inner.position
        self.pause = inner.pause
        self.resume = inner.resume
        self.close = inner.close

    async def read(self, *, wait_ms: int, records_max: int) -> Mapping[int, Sequence[LogRecord]]:
        return await self._fate.through(
            f"read of {self._topic}", lambda: self._inner.read(wait_ms=wait_ms, records_max=records_max)
        )


class _DyingSender:
    def __init__(self, inner: Sender, fate: Fate) -> None:
        self._inner = inner
        self._fate = fate
        self.close = inner.close

    async def send(self, topic: str, partition: int, records: Sequence[KeyValue], headers: Headers = ()) -> int:
        return await self._fate.through(f"send to {topic}", lambda: self._inner.send(topic, partition, records, headers))


class _DyingProducer:
    def __init__(self, inner: TransactionalProducer, fate: Fate, begin: Callable[[Sequence[Write]], object]) -> None:
        self._inner = inner
        self._fate = fate
        self._begin = begin
        self.close = inner.close

    @property
    def identity(self) -> ProducerIdentity:
        return self._inner.identity

    async def commit(self, writes: Sequence[Write]) -> Mapping[tuple[str, int], int]:
        return await self._fate.through("commit", lambda: self._inner.commit(writes), half=lambda: self._begin(writes))
