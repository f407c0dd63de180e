"""The twin of the Kafka client: the whole interface of `aion_common.kafka.api` over a `MemoryCluster`.

Offsets, control records, transactions, fencing and membership behave as with real brokers; both pass the same contract
suite. Every call gives the event loop one turn before it takes effect, so that a cancellation may come before it.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence

from aion_common import limits
from aion_common.errors import AionError, Unavailable
from aion_common.kafka.api import (
    Appended,
    FencedAppender,
    Headers,
    KeyValue,
    LogRecord,
    Membership,
    OffsetOutOfRange,
    OnAssigned,
    ProducerIdentity,
    Reader,
    Sender,
    Topic,
    TransactionalProducer,
    Write,
)
from aion_common.testing.memory_cluster import MemoryCluster

_RECORD_OVERHEAD_BYTES = 32


class MemoryLog:
    """One process's view of a cluster. Without one given, it makes a cluster of its own."""

    def __init__(self, cluster: MemoryCluster | None = None) -> None:
        self.cluster = cluster or MemoryCluster()

    async def end_offset(self, topic: str, partition: int) -> int:
        """See `Log`."""
        await self._turn()
        return self.cluster.partition(topic, partition).stable

    async def beginning_offset(self, topic: str, partition: int) -> int:
        """See `Log`."""
        await self._turn()
        return self.cluster.partition(topic, partition).start

    async def offset_at(self, topic: str, partition: int, time_ms: int) -> int | None:
        """See `Log`."""
        await self._turn()
        records = self.cluster.records(topic, partition)
        return next((record.offset for record in records if record.timestamp_ms >= time_ms), None)

    async def delete_records(self, topic: str, partition: int, before_offset: int) -> None:
        """See `Log`."""
        await self._turn()
        there = self.cluster.partition(topic, partition)
        if before_offset > there.end:
            raise Unavailable(f"{topic} partition {partition} ends at {there.end}, before {before_offset}")
        if before_offset > there.start:
            self.cluster.trim(topic, partition, before_offset)

    async def reader(self, topic: str) -> Reader:
        """See `Log`."""
        await self._turn()
        self.cluster.partition(topic, 0)
        return _MemoryReader(self.cluster, topic)

    async def sender(self) -> Sender:
        """See `Log`."""
        await self._turn()
        return _MemorySender(self.cluster)

    async def claim(self, transactional_id: str) -> ProducerIdentity:
        """See `Log`."""
        await self._turn()
        return self.cluster.claim(transactional_id)

    async def fenced_appender(self, topic: str, partition: int, identity: ProducerIdentity) -> FencedAppender:
        """See `Log`."""
        await self._turn()
        self.cluster.partition(topic, partition)
        return _MemoryAppender(self.cluster, topic, partition, identity)

    async def transactional_producer(self, transactional_id: str) -> TransactionalProducer:
        """See `Log`."""
        identity = await self.claim(transactional_id)
        return _MemoryTransactionalProducer(self.cluster, transactional_id, identity)

    async def membership(self, group: str, topic: str, member_id: str, session_ms: int, on_assigned: OnAssigned) -> Membership:
        """See `Log`. A session never ends by itself: `MemoryCluster.vanish` ends it."""
        del session_ms
        await self._turn()
        return _MemoryMembership(self.cluster, (group, topic, member_id), on_assigned)

    async def describe_topics(self, names: Collection[str]) -> Mapping[str, Topic]:
        """See `Log`."""
        await self._turn()
        return {name: self.cluster.topics[name] for name in names if name in self.cluster.topics}

    async def topics_beginning(self, name: str) -> Mapping[str, int]:
        """See `Log`."""
        await self._turn()
        return {topic.name: topic.partitions for topic in self.cluster.topics.values() if topic.name.startswith(name)}

    async def create_topics(self, topics: Sequence[Topic]) -> None:
        """See `Log`."""
        await self._turn()
        for topic in topics:
            self.cluster.topics.setdefault(topic.name, topic)

    async def ping(self) -> None:
        """See `Log`."""
        await self._turn()

    async def close(self) -> None:
        """See `Log`."""

    async def _turn(self) -> None:
        await asyncio.sleep(0)
        self.cluster.check_reachable()


class _MemoryReader:
    def __init__(self, cluster: MemoryCluster, topic: str) -> None:
        self._cluster = cluster
        self._topic = topic
        self._next: dict[int, int] = {}
        self._paused: set[int] = set()

    def assign(self, positions: Mapping[int, int]) -> None:
        self._next = dict(positions)
        self._paused.clear()
        self._cluster.notify(self._topic)

    async def read(self, *, wait_ms: int, records_max: int) -> Mapping[int, Sequence[LogRecord]]:
        assert records_max > 0, "a read asks for something"
        await asyncio.sleep(0)
        try:
            async with asyncio.timeout(wait_ms / 1000 if wait_ms else None):
                while True:
                    before = self._next
                    taken, after = self._take(records_max)
                    self._next = after
                    if taken or after != before or not wait_ms:
                        return taken
                    await self._cluster.changed(self._topic)
        except TimeoutError:
            return {}

    def _take(self, records_max: int) -> tuple[dict[int, list[LogRecord]], dict[int, int]]:
        taken: dict[int, list[LogRecord]] = {}
        after = dict(self._next)
        room = records_max
        for number in sorted(self._next) if self._cluster.reachable else ():
            if number in self._paused:
                continue
            there = self._cluster.partition(self._topic, number)
            position = self._next[number]
            if not there.start <= position <= there.end:
                raise OffsetOutOfRange(self._topic, number, position)
            while position < there.stable:
                slot = there.slots[position - there.start]
                if slot is not None:
                    if room == 0:
                        break
                    taken.setdefault(number, []).append(slot)
                    room -= 1
                position += 1
            after[number] = position
        return taken, after

    def position(self, partition: int) -> int:
        return self._next[partition]

    def pause(self, partition: int) -> None:
        assert partition in self._next, "only what is assigned can be paused"
        self._paused.add(partition)

    def resume(self, partition: int) -> None:
        self._paused.discard(partition)
        self._cluster.notify(self._topic)

    async def close(self) -> None:
        self._next = {}


class _MemorySender:
    def __init__(self, cluster: MemoryCluster) -> None:
        self._cluster = cluster
        self._identity = ProducerIdentity(producer_id=cluster.new_producer_id(), producer_epoch=0)
        self._sequences: dict[tuple[str, int], int] = {}

    async def send(self, topic: str, partition: int, records: Sequence[KeyValue], headers: Headers = ()) -> int:
        assert records, "a send has records"
        await asyncio.sleep(0)
        self._cluster.check_reachable()
        sequence = self._sequences.get((topic, partition), 0)
        try:
            appended = self._cluster.append(topic, partition, self._identity, sequence, records, headers)
        except AionError:
            # Whether it was applied is unknown, so the next send is a producer of its own.
            self._identity = ProducerIdentity(producer_id=self._cluster.new_producer_id(), producer_epoch=0)
            self._sequences.clear()
            raise
        self._sequences[topic, partition] = sequence + len(records)
        return appended.base_offset

    async def close(self) -> None:
        return


class _MemoryAppender:
    def __init__(self, cluster: MemoryCluster, topic: str, partition: int, identity: ProducerIdentity) -> None:
        self._cluster = cluster
        self._topic = topic
        self._partition = partition
        self._identity = identity
        self._sequence = 0
        self._ended_by: AionError | None = None

    @property
    def identity(self) -> ProducerIdentity:
        return self._identity

    async def append(self, records: Sequence[KeyValue]) -> Appended:
        return await self.append_next(lambda: records)

    async def append_next(self, take: Callable[[], Sequence[KeyValue]]) -> Appended:
        if self._ended_by is not None:
            raise type(self._ended_by)(*self._ended_by.args)
        self._ended_by = Unavailable("an append of unknown outcome went before")
        await asyncio.sleep(0)
        try:
            records = take()
            size = sum(len(key or b"") + len(value or b"") + _RECORD_OVERHEAD_BYTES for key, value in records)
            assert records, "an append has records"
            assert size <= limits.BATCH_BYTES_MAX, "the records of one append fit into one batch"
        except Exception:
            self._ended_by = None
            raise
        try:
            self._cluster.check_reachable()
            appended = self._cluster.append(self._topic, self._partition, self._identity, self._sequence, records)
        except AionError as error:
            self._ended_by = error
            raise
        self._ended_by = None
        self._sequence += len(records)
        return appended

    async def close(self) -> None:
        return


class _MemoryTransactionalProducer:
    def __init__(self, cluster: MemoryCluster, transactional_id: str, identity: ProducerIdentity) -> None:
        self._cluster = cluster
        self._transactional_id = transactional_id
        self._identity = identity
        self._ended_by: AionError | None = None

    @property
    def identity(self) -> ProducerIdentity:
        return self._identity

    async def commit(self, writes: Sequence[Write]) -> Mapping[tuple[str, int], int]:
        assert writes, "a transaction has writes"
        if self._ended_by is not None:
            raise type(self._ended_by)(*self._ended_by.args)
        self._ended_by = Unavailable("a commit of unknown outcome went before")
        await asyncio.sleep(0)
        try:
            self._cluster.check_reachable()
            bases = self._cluster.commit(self._transactional_id, self._identity, writes)
        except AionError as error:
            self._ended_by = error
            raise
        self._ended_by = None
        return bases

    async def close(self) -> None:
        return


class _MemoryMembership:
    def __init__(self, cluster: MemoryCluster, place: tuple[str, str, str], on_assigned: OnAssigned) -> None:
        group, topic, self._member_id = place
        self._cluster = cluster
        self._group = cluster.group(group, topic)
        self._on_assigned = on_assigned
        self._group.join(self._member_id, on_assigned)

    async def rejoin(self) -> None:
        await asyncio.sleep(0)
        self._group.join(self._member_id, self._on_assigned)

    async def committed(self, partitions: Collection[int]) -> Mapping[int, int]:
        await self._turn()
        return {partition: self._group.offsets[partition] for partition in partitions if partition in self._group.offsets}

    async def commit(self, offsets: Mapping[int, int]) -> None:
        await self._turn()
        if not self._group.knows(self._member_id, self._on_assigned):
            raise Unavailable(f"{self._member_id} is no longer a member of the group")
        self._group.offsets.update(offsets)

    async def _turn(self) -> None:
        await asyncio.sleep(0)
        self._cluster.check_reachable()

    async def failed(self) -> None:
        await asyncio.Event().wait()

    async def close(self) -> None:
        self._group.leave(self._member_id, self._on_assigned)
