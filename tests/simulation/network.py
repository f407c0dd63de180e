"""What lies between processes and the brokers: the cluster as one process reaches it, with what may go wrong on the way.

`Link` is the face that `MemoryLog` sees of the cluster; a dead process reaches nothing. `SlowLog` is that `MemoryLog` with
acknowledgements that take their time: others come between an effect and the news of it, and so may death.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import cast

from aion_common.errors import Unavailable
from aion_common.kafka.api import (
    Appended,
    FencedAppender,
    Headers,
    KeyValue,
    LogRecord,
    Membership,
    OnAssigned,
    ProducerIdentity,
    Reader,
    Sender,
    Topic,
    TransactionalProducer,
    Write,
)
from aion_common.testing.memory_cluster import MemoryCluster, MemoryPartition
from aion_common.testing.memory_group import MemoryGroup
from aion_common.testing.memory_log import MemoryLog
from simulation.scheduler import Process, VirtualLoop


class Death(Enum):
    """Where a process dies by itself: around its next append, send, commit or store write; of a transaction also within, so
    that it stays open until the next producer of its id."""

    BEFORE = auto()
    WITHIN = auto()
    AFTER = auto()


@dataclass(slots=True)
class Link:
    """One process's way to the brokers. `doom`: what the process does next is its last: a topic, "commit" or "store".
    `on_reply`: called when something may have been written to topics whose names begin so, before anybody else can run."""

    process: Process
    cluster: MemoryCluster
    on_reply: Callable[[], None]
    leaves_in: tuple[str, ...]
    is_cut: bool = False
    doom: tuple[str, Death] | None = None

    @property
    def reachable(self) -> bool:
        """Whether calls get through."""
        return self.process.is_plugged and not self.is_cut and self.cluster.reachable

    def check_reachable(self) -> None:
        """Raises Unavailable."""
        if not self.reachable:
            raise Unavailable("the network is silent")

    def dies_at(self, what: str, moment: Death) -> None:
        """Die here, if it was said so. Raises Unavailable: what happens behind it is unseen."""
        if self.doom == (what, moment):
            self.process.is_plugged = False
            self.check_reachable()

    def append(
        self,
        topic: str,
        partition: int,
        identity: ProducerIdentity,
        sequence: int,
        records: Sequence[KeyValue],
        headers: Headers = (),
    ) -> Appended:
        """See `MemoryCluster`."""
        self.dies_at(topic, Death.BEFORE)
        self.check_reachable()
        try:
            appended = self.cluster.append(topic, partition, identity, sequence, records, headers)
        finally:
            if topic.startswith(self.leaves_in):
                self.on_reply()
        self.dies_at(topic, Death.AFTER)
        return appended

    def commit(self, transactional_id: str, identity: ProducerIdentity, writes: Sequence[Write]) -> dict[tuple[str, int], int]:
        """See `MemoryCluster`."""
        self.dies_at("commit", Death.BEFORE)
        self.check_reachable()
        if self.doom == ("commit", Death.WITHIN) and self.cluster._claims.get(transactional_id) == identity:
            self.cluster.begin(transactional_id, writes)
            self.dies_at("commit", Death.WITHIN)
        bases = self.cluster.commit(transactional_id, identity, writes)
        self.dies_at("commit", Death.AFTER)
        return bases

    def claim(self, transactional_id: str) -> ProducerIdentity:
        """See `MemoryCluster`."""
        self.check_reachable()
        return self.cluster.claim(transactional_id)

    def partition(self, topic: str, partition: int) -> MemoryPartition:
        """See `MemoryCluster`."""
        return self.cluster.partition(topic, partition)

    def records(self, topic: str, partition: int) -> list[LogRecord]:
        """See `MemoryCluster`."""
        return self.cluster.records(topic, partition)

    def trim(self, topic: str, partition: int, before_offset: int) -> None:
        """See `MemoryCluster`."""
        self.check_reachable()
        self.cluster.trim(topic, partition, before_offset)

    def new_producer_id(self) -> int:
        """See `MemoryCluster`."""
        return self.cluster.new_producer_id()

    def group(self, group: str, topic: str) -> MemoryGroup:
        """See `MemoryCluster`."""
        self.check_reachable()
        return self.cluster.group(group, topic)

    @property
    def topics(self) -> dict[str, Topic]:
        """See `MemoryCluster`."""
        return self.cluster.topics

    def notify(self, *topics: str) -> None:
        """See `MemoryCluster`."""
        self.cluster.notify(*topics)

    async def changed(self, topic: str) -> None:
        """See `MemoryCluster`."""
        await self.cluster.changed(topic)


@dataclass(slots=True, eq=False, weakref_slot=True)
class SlowLog:
    """The log as one process sees it."""

    link: Link
    loop: VirtualLoop
    places: dict[tuple[str, str], "Place"] = field(default_factory=dict)
    _log: MemoryLog = field(init=False)

    def __post_init__(self) -> None:
        self._log = MemoryLog(cast(MemoryCluster, self.link))

    async def acknowledged(self) -> None:
        """The way back of an answer: mostly short, sometimes long, sometimes it never comes."""
        drawn = self.loop.random.random()
        await self.loop.passes(drawn * 2 if drawn < 0.9 else (drawn - 0.9) * 300)
        if not self.link.process.is_plugged:
            raise Unavailable("nobody is there to hear it")

    async def end_offset(self, topic: str, partition: int) -> int:
        """See `Log`."""
        return await self._log.end_offset(topic, partition)

    async def beginning_offset(self, topic: str, partition: int) -> int:
        """See `Log`."""
        return await self._log.beginning_offset(topic, partition)

    async def offset_at(self, topic: str, partition: int, time_ms: int) -> int | None:
        """See `Log`."""
        return await self._log.offset_at(topic, partition, time_ms)

    async def delete_records(self, topic: str, partition: int, before_offset: int) -> None:
        """See `Log`."""
        await self._log.delete_records(topic, partition, before_offset)

    async def reader(self, topic: str) -> Reader:
        """See `Log`."""
        return await self._log.reader(topic)

    async def sender(self) -> Sender:
        """See `Log`."""
        return _SlowSender(self, await self._log.sender())

    async def claim(self, transactional_id: str) -> ProducerIdentity:
        """See `Log`."""
        identity = await self._log.claim(transactional_id)
        await self.acknowledged()
        return identity

    async def fenced_appender(self, topic: str, partition: int, identity: ProducerIdentity) -> FencedAppender:
        """See `Log`."""
        return _SlowAppender(self, await self._log.fenced_appender(topic, partition, identity))

    async def transactional_producer(self, transactional_id: str) -> TransactionalProducer:
        """See `Log`."""
        producer = await self._log.transactional_producer(transactional_id)
        await self.acknowledged()
        return _SlowProducer(self, producer)

    async def membership(self, group: str, topic: str, member_id: str, session_ms: int, on_assigned: OnAssigned) -> Membership:
        """See `Log`."""
        place = Place(self, group, topic, member_id, on_assigned)
        place.inner = await self._log.membership(group, topic, member_id, session_ms, place.told)
        self.places[group, topic] = place
        return place

    async def describe_topics(self, names: Collection[str]) -> Mapping[str, Topic]:
        """See `Log`."""
        return await self._log.describe_topics(names)

    async def topics_beginning(self, name: str) -> Mapping[str, int]:
        """See `Log`."""
        return await self._log.topics_beginning(name)

    async def create_topics(self, topics: Sequence[Topic]) -> None:
        """See `Log`."""
        await self._log.create_topics(topics)

    async def ping(self) -> None:
        """See `Log`."""
        await self._log.ping()

    async def close(self) -> None:
        """See `Log`."""


@dataclass(slots=True)
class Place:
    """A membership that the world can end: the member hears of it only when it is `told_lost`, as with heartbeats."""

    log: SlowLog
    group: str
    topic: str
    member_id: str
    on_assigned: OnAssigned
    inner: Membership | None = None

    def told(self, partitions: frozenset[int]) -> None:
        """The group's word reaches a process that lives."""
        if self.log.link.process.is_plugged:
            self.on_assigned(partitions)

    def told_lost(self) -> None:
        """The session is over and the member hears it: it holds nothing, and joins again."""
        self.told(frozenset())
        group = self.log.link.cluster.group(self.group, self.topic)
        if self.log.link.process.is_plugged:
            group.join(self.member_id, self.told)

    async def rejoin(self) -> None:
        """See `Membership`."""
        assert self.inner is not None, "a member has joined"
        if self.log.link.process.is_plugged:
            await self.inner.rejoin()

    async def committed(self, partitions: Collection[int]) -> Mapping[int, int]:
        """See `Membership`."""
        assert self.inner is not None, "a member has joined"
        return await self.inner.committed(partitions)

    async def commit(self, offsets: Mapping[int, int]) -> None:
        """See `Membership`."""
        assert self.inner is not None, "a member has joined"
        await self.inner.commit(offsets)

    async def failed(self) -> None:
        """See `Membership`."""
        assert self.inner is not None, "a member has joined"
        await self.inner.failed()

    async def close(self) -> None:
        """See `Membership`."""
        if self.inner is not None and self.log.link.process.is_plugged:
            await self.inner.close()


@dataclass(slots=True)
class _SlowSender:
    log: SlowLog
    inner: Sender

    async def send(self, topic: str, partition: int, records: Sequence[KeyValue], headers: Headers = ()) -> int:
        base = await self.inner.send(topic, partition, records, headers)
        await self.log.acknowledged()
        return base

    async def close(self) -> None:
        await self.inner.close()


@dataclass(slots=True)
class _SlowAppender:
    log: SlowLog
    inner: FencedAppender

    @property
    def identity(self) -> ProducerIdentity:
        return self.inner.identity

    async def append(self, records: Sequence[KeyValue]) -> Appended:
        return await self.append_next(lambda: records)

    async def append_next(self, take: Callable[[], Sequence[KeyValue]]) -> Appended:
        appended = await self.inner.append_next(take)
        await self.log.acknowledged()
        return appended

    async def close(self) -> None:
        await self.inner.close()


@dataclass(slots=True)
class _SlowProducer:
    log: SlowLog
    inner: TransactionalProducer

    @property
    def identity(self) -> ProducerIdentity:
        return self.inner.identity

    async def commit(self, writes: Sequence[Write]) -> Mapping[tuple[str, int], int]:
        bases = await self.inner.commit(writes)
        await self.log.acknowledged()
        return bases

    async def close(self) -> None:
        await self.inner.close()
