"""The brokers of the in-memory log: partitions, offsets, transactions, fencing and groups as plain values.

Synchronous and deterministic; nothing here waits. `MemoryLog` is the view that the system takes of it; tests use the
cluster itself to look into partitions, to move members and to inject faults. What is left out: compaction, replicas,
retention, and duplicates of batches before the newest.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, auto

from aion_common.clock import Clock
from aion_common.errors import Fenced, Unavailable
from aion_common.kafka.api import PRODUCER_EPOCH_MAX, Appended, Headers, KeyValue, LogRecord, ProducerIdentity, Topic, Write
from aion_common.testing.memory_group import MemoryGroup


class Fault(Enum):
    """What an append with an unknown outcome did."""

    NOT_APPLIED = auto()
    APPLIED = auto()


class StillClock:
    """A clock that a test sets."""

    def __init__(self, now_ms: int = 1_700_000_000_000) -> None:
        self.time_ms = now_ms

    def now_ms(self) -> int:
        """Milliseconds since the epoch."""
        return self.time_ms


@dataclass(slots=True)
class _ProducerState:
    """`newest`: sequence number, size and answer of its newest batch here."""

    epoch: int
    next_sequence: int
    newest: tuple[int, int, Appended] | None = None


@dataclass(slots=True)
class MemoryPartition:
    """Slots by offset from `start`; None stands for what is never returned: control records and aborted data."""

    start: int = 0
    slots: list[LogRecord | None] = field(default_factory=list)
    producers: dict[int, _ProducerState] = field(default_factory=dict)
    open: dict[int, list[int]] = field(default_factory=dict)
    """Producer id of each open transaction -> the offsets it wrote here."""

    @property
    def end(self) -> int:
        """The offset that the next record gets."""
        return self.start + len(self.slots)

    @property
    def stable(self) -> int:
        """Last stable offset: records before it may be returned."""
        return min((offsets[0] for offsets in self.open.values()), default=self.end)


class MemoryCluster:
    """One cluster, shared by any number of `MemoryLog`s. `reachable = False` makes every call Unavailable."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock: Clock = clock or StillClock()
        self.reachable = True
        self.topics: dict[str, Topic] = {}
        self._partitions: dict[tuple[str, int], MemoryPartition] = {}
        self._claims: dict[str, ProducerIdentity] = {}
        self._producer_ids = 1000
        self._groups: dict[tuple[str, str], MemoryGroup] = {}
        self._faults: dict[tuple[str, int], list[Fault]] = {}
        self._waiters: dict[str, set[asyncio.Future[None]]] = {}

    # What tests do to it.

    def records(self, topic: str, partition: int) -> list[LogRecord]:
        """Every committed record, without the rules of reading."""
        there = self.partition(topic, partition)
        return [slot for slot in there.slots[: there.stable - there.start] if slot is not None]

    def fail_next_append(self, topic: str, partition: int, fault: Fault) -> None:
        """The next append, send or commit that writes to this partition raises Unavailable. Several queue up."""
        self._faults.setdefault((topic, partition), []).append(fault)

    def heal(self) -> None:
        """No injected fault is left."""
        self.reachable = True
        self._faults.clear()

    def forget_producer(self, transactional_id: str) -> None:
        """As a broker does 7 days after the last transaction: the next claim gets another producer id, epoch 0."""
        self._claims.pop(transactional_id, None)

    def trim(self, topic: str, partition: int, before_offset: int) -> None:
        """Delete the records before this offset."""
        there = self.partition(topic, partition)
        gone = before_offset - there.start
        assert 0 <= gone <= len(there.slots), "a partition is trimmed within its bounds"
        del there.slots[:gone]
        there.start = before_offset

    def vanish(self, group: str, topic: str, member_id: str) -> None:
        """The member's session ends: others get its partitions; itself is told nothing, like a process that hangs."""
        self.group(group, topic).remove(member_id)

    def begin(self, transactional_id: str, writes: Sequence[Write]) -> "OpenTransaction":
        """Write in a transaction and leave it open."""
        identity = self.claim(transactional_id)
        self._write_open(identity, writes)
        return OpenTransaction(self, identity)

    # What a broker does.

    def check_reachable(self) -> None:
        """Raises Unavailable when the cluster is switched off."""
        if not self.reachable:
            raise Unavailable("the memory cluster is switched off")

    def partition(self, topic: str, partition: int) -> MemoryPartition:
        """Raises Unavailable for what does not exist, as a real client does after its time-out."""
        there = self.topics.get(topic)
        if there is None or not 0 <= partition < there.partitions:
            raise Unavailable(f"{topic} partition {partition} does not exist")
        return self._partitions.setdefault((topic, partition), MemoryPartition())

    def group(self, group: str, topic: str) -> MemoryGroup:
        """The group that divides this topic."""
        self.partition(topic, 0)
        partitions = self.topics[topic].partitions
        return self._groups.setdefault((group, topic), MemoryGroup(partitions))

    def new_producer_id(self) -> int:
        """Never given out twice."""
        self._producer_ids += 1
        return self._producer_ids

    def claim(self, transactional_id: str) -> ProducerIdentity:
        """InitProducerId: raise the epoch, abort what is open."""
        known = self._claims.get(transactional_id)
        if known is not None:
            self.abort_open(known.producer_id)
        if known is None or known.producer_epoch >= PRODUCER_EPOCH_MAX - 1:
            identity = ProducerIdentity(producer_id=self.new_producer_id(), producer_epoch=0)
        else:
            identity = ProducerIdentity(producer_id=known.producer_id, producer_epoch=known.producer_epoch + 1)
        self._claims[transactional_id] = identity
        return identity

    def append(
        self,
        topic: str,
        partition: int,
        identity: ProducerIdentity,
        sequence: int,
        records: Sequence[KeyValue],
        headers: Headers = (),
    ) -> Appended:
        """One idempotent batch. Raises Fenced for an epoch older than the newest seen here, Unavailable by fault."""
        there = self.partition(topic, partition)
        fault = self._take_fault(topic, partition)
        if fault is Fault.NOT_APPLIED:
            raise Unavailable("injected: not applied")
        _check_epoch(there, identity)
        appended = _repeated(there, identity, sequence, len(records))
        if appended is None:
            _check_sequence(there, identity, sequence)
            appended = self._put(there, [(key, value, headers) for key, value in records])
            newest = (sequence, len(records), appended)
            there.producers[identity.producer_id] = _ProducerState(identity.producer_epoch, sequence + len(records), newest)
            self.notify(topic)
        if fault is Fault.APPLIED:
            raise Unavailable("injected: applied")
        return appended

    def commit(self, transactional_id: str, identity: ProducerIdentity, writes: Sequence[Write]) -> dict[tuple[str, int], int]:
        """One whole transaction. Raises Fenced for an identity that is not the id's newest, Unavailable by fault."""
        if self._claims.get(transactional_id) != identity:
            raise Fenced(f"{transactional_id} was taken over")
        faults = [self._take_fault(topic, partition) for topic, partition in _targets(writes)]
        if Fault.NOT_APPLIED in faults:
            raise Unavailable("injected: not applied")
        bases = self._write_open(identity, writes)
        self.commit_open(identity.producer_id)
        if Fault.APPLIED in faults:
            raise Unavailable("injected: applied")
        return bases

    def commit_open(self, producer_id: int) -> None:
        """Commit the producer's open transaction, if any: each of its partitions gets a control record."""
        for there, _ in self._end_open(producer_id):
            there.slots.append(None)
        self.notify(*self.topics)

    def abort_open(self, producer_id: int) -> None:
        """Abort the producer's open transaction, if any: what it wrote vanishes, its offsets stay used."""
        for there, written in self._end_open(producer_id):
            for offset in written:
                there.slots[offset - there.start] = None
            there.slots.append(None)
        self.notify(*self.topics)

    def _end_open(self, producer_id: int) -> list[tuple[MemoryPartition, list[int]]]:
        touched = [there for there in self._partitions.values() if producer_id in there.open]
        return [(there, there.open.pop(producer_id)) for there in touched]

    def _write_open(self, identity: ProducerIdentity, writes: Sequence[Write]) -> dict[tuple[str, int], int]:
        bases: dict[tuple[str, int], int] = {}
        for topic, partition in _targets(writes):
            there = self.partition(topic, partition)
            _check_epoch(there, identity)
        for topic, partition in _targets(writes):
            there = self.partition(topic, partition)
            batch = [(w.key, w.value, w.headers) for w in writes if (w.topic, w.partition) == (topic, partition)]
            base = bases[topic, partition] = self._put(there, batch).base_offset
            there.open.setdefault(identity.producer_id, []).extend(range(base, there.end))
            there.producers[identity.producer_id] = _ProducerState(identity.producer_epoch, 0)
        self.notify(*self.topics)
        return bases

    def _put(self, there: MemoryPartition, records: Sequence[tuple[bytes | None, bytes | None, Headers]]) -> Appended:
        appended = Appended(base_offset=there.end, timestamp_ms=self.clock.now_ms())
        for key, value, headers in records:
            record = LogRecord(offset=there.end, timestamp_ms=appended.timestamp_ms, key=key, value=value, headers=headers)
            there.slots.append(record)
        return appended

    def _take_fault(self, topic: str, partition: int) -> Fault | None:
        queue = self._faults.get((topic, partition))
        return queue.pop(0) if queue else None

    # Waiting for a change.

    def notify(self, *topics: str) -> None:
        """Wake every reader of these topics that waits."""
        for topic in topics:
            for waiter in self._waiters.get(topic, ()):
                if not waiter.done():
                    waiter.set_result(None)

    async def changed(self, topic: str) -> None:
        """Returns after the next `notify`."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiters = self._waiters.setdefault(topic, set())
        waiters.add(waiter)
        try:
            await waiter
        finally:
            waiters.discard(waiter)


@dataclass(frozen=True, slots=True)
class OpenTransaction:
    """A transaction that a test left open."""

    cluster: MemoryCluster
    identity: ProducerIdentity

    async def commit(self) -> None:
        """Make its records readable."""
        self.cluster.commit_open(self.identity.producer_id)

    async def abort(self) -> None:
        """Make its records vanish."""
        self.cluster.abort_open(self.identity.producer_id)


def _targets(writes: Sequence[Write]) -> list[tuple[str, int]]:
    return list(dict.fromkeys((write.topic, write.partition) for write in writes))


def _check_epoch(there: MemoryPartition, identity: ProducerIdentity) -> None:
    state = there.producers.get(identity.producer_id)
    if state is not None and identity.producer_epoch < state.epoch:
        raise Fenced(f"epoch {identity.producer_epoch} of {identity.producer_id} is older than {state.epoch}")


def _repeated(there: MemoryPartition, identity: ProducerIdentity, sequence: int, count: int) -> Appended | None:
    """The answer of the producer's newest batch, if this is that batch once more: told by its numbers, whatever is in it."""
    state = there.producers.get(identity.producer_id)
    if state is None or state.newest is None or state.epoch != identity.producer_epoch:
        return None
    return state.newest[2] if state.newest[:2] == (sequence, count) else None


def _check_sequence(there: MemoryPartition, identity: ProducerIdentity, sequence: int) -> None:
    state = there.producers.get(identity.producer_id)
    if state is None:
        return
    expected = state.next_sequence if state.epoch == identity.producer_epoch else 0
    if sequence != expected:
        raise Unavailable(f"sequence {sequence} is out of order: {expected} was expected")
