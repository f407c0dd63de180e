"""What the system asks of a log: Protocols and small frozen values, without any Kafka client.

Two rooms implement them: `aion_common.kafka.client` over real brokers, and `aion_common.testing.memory_log`. Both pass
`tests/contract/test_log.py`. All topic names here are full names (`aion_common.kafka.topics.Topics` makes them); all
partitions are numbers from 0; all offsets are non-negative; all times are milliseconds since the epoch.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol

from msgspec import Struct, field

from aion_common.errors import AionError

PRODUCER_EPOCH_MAX = 32767
"""Above every epoch a broker hands out: one append with (a forgotten producer id, this) fences its owner for ever."""

OnAssigned = Callable[[frozenset[int]], None]
"""Told the complete set of partitions a member holds now. Called on the event loop; must not block nor raise."""

KeyValue = tuple[bytes | None, bytes | None]
"""Key and value of a record to write. A value of None deletes the key where the topic is compacted."""


Headers = tuple[tuple[str, bytes], ...]
"""Names and values beside a record; names may come twice."""


class OffsetOutOfRange(AionError):
    """A reader's next offset is not in the log: already trimmed, or beyond the end. Never repaired by guessing."""

    def __init__(self, topic: str, partition: int, offset: int) -> None:
        super().__init__(f"offset {offset} is not in the log of {topic} partition {partition}")
        self.topic = topic
        self.partition = partition
        self.offset = offset


class LogRecord(Struct, frozen=True, kw_only=True, gc=False):
    """One record as read. `timestamp_ms` is the broker's append time on every topic of the system."""

    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()


class ProducerIdentity(Struct, frozen=True, kw_only=True, gc=False):
    """What a broker fences by: in each partition it refuses an epoch older than the newest it saw of that id."""

    producer_id: int
    producer_epoch: int


class Appended(Struct, frozen=True, kw_only=True, gc=False):
    """An acknowledged batch: its records have the offsets `base_offset`, +1, ...; `timestamp_ms` is the broker's clock."""

    base_offset: int
    timestamp_ms: int


class Write(Struct, frozen=True, kw_only=True, gc=False):
    """One record of a transaction."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()


class Topic(Struct, frozen=True, kw_only=True, gc=False):
    """A topic, wanted or as it is. `configs`: in what is wanted, only the settings that matter; as it is, all of them."""

    name: str
    partitions: int
    replication: int
    configs: Mapping[str, str] = field(default_factory=dict)


class Reader(Protocol):
    """Reads chosen partitions of one topic from chosen offsets, committed records only. For one asyncio task at a time,
    but `assign`, `pause` and `resume` may be called while a `read` waits."""

    def assign(self, positions: Mapping[int, int]) -> None:
        """Replace the whole assignment: partition -> offset of the next record wanted. Forgets pauses. Nothing that was
        fetched before comes out afterwards: each partition starts exactly at its offset."""

    async def read(self, *, wait_ms: int, records_max: int) -> Mapping[int, Sequence[LogRecord]]:
        """Records per partition, in offset order, at most `records_max` together; partitions without any are missing.
        Waits up to `wait_ms` for the first; returns {} early when a position moved past control records. An unreachable
        cluster looks like silence. Raises OffsetOutOfRange (again at every call, until assigned anew)."""

    def position(self, partition: int) -> int:
        """The next offset of an assigned partition. Moves past records returned and past control records: a reader has
        seen all that was committed when it reaches an `end_offset` taken before."""

    def pause(self, partition: int) -> None:
        """Return nothing of this assigned partition until `resume`. A repeat is harmless."""

    def resume(self, partition: int) -> None:
        """Undo `pause`. A repeat is harmless."""

    async def close(self) -> None:
        """Bounded in time, whatever the cluster does. A repeat is harmless."""


class Sender(Protocol):
    """Appends everything that is not history. Any number of tasks may send at once; what waits goes out together."""

    async def send(self, topic: str, partition: int, records: Sequence[KeyValue], headers: Headers = ()) -> int:
        """Append in this order, each with these headers, and return the offset of the first record once all are
        acknowledged. Records that fit into one batch are appended as one; others follow in further batches. Calls to one
        partition keep their order. Raises Unavailable (also when cancelled: outcome unknown, and a repeat may append
        twice)."""

    async def close(self) -> None:
        """Bounded in time; what was not acknowledged by then is Unavailable to its sender."""


class FencedAppender(Protocol):
    """The owner's producer for one history partition. One append at a time."""

    @property
    def identity(self) -> ProducerIdentity:
        """What it appends as."""

    async def append(self, records: Sequence[KeyValue]) -> Appended:
        """Append as ONE batch: all or none are in the log. Raises Fenced (a newer identity has appended; these records are
        not in the log, unless the acknowledgement of a first try was lost) or Unavailable (outcome unknown; so it is when
        cancelled). After either, every further append raises the same: close it. More records than one batch holds
        (limits.BATCH_BYTES_MAX) are a bug of the caller: AssertionError, nothing appended."""

    async def append_next(self, take: Callable[[], Sequence[KeyValue]]) -> Appended:
        """As `append`, of what `take` gives at the moment when it can leave: until then there may come more."""

    async def close(self) -> None:
        """Bounded in time; flushes nothing. A repeat is harmless."""


class TransactionalProducer(Protocol):
    """Commits sets of writes over several partitions, all or none. One commit at a time."""

    @property
    def identity(self) -> ProducerIdentity:
        """What its transactions run as."""

    async def commit(self, writes: Sequence[Write]) -> Mapping[tuple[str, int], int]:
        """One transaction of at least one write; returns the base offset per (topic, partition), once every `end_offset` is
        behind it: who reads to the end after this returned has seen it. Writes of one partition stay in order, as one
        batch (as `FencedAppender.append` says). Raises Fenced (another producer took the id over) or Unavailable (outcome
        unknown; so it is when cancelled): after either throw the producer away; who makes the next one reads back."""

    async def close(self) -> None:
        """Bounded in time. An unfinished transaction is aborted by the broker (limits.TRANSACTION_MS) or by the next
        producer of the id. A repeat is harmless."""


class Membership(Protocol):
    """A place in a consumer group: it divides partitions, and remembers for its members how far each was worked off. Nothing
    is read here."""

    async def rejoin(self) -> None:
        """Join again as the same member; returns at once. `on_assigned` is called with what the group says then. What the
        caller gives up meanwhile is its own business: nothing is told of it."""

    async def committed(self, partitions: Collection[int]) -> Mapping[int, int]:
        """What was committed last for these partitions of the topic, by whichever member; those without any are missing, for
        example because the group had no member for a week. Raises Unavailable."""

    async def commit(self, offsets: Mapping[int, int]) -> None:
        """Remember for the group the next offset of each of these partitions. Raises Unavailable, also when the group has
        divided anew since this member was told its partitions (the broker refuses to take it): whoever holds them now goes on
        from what was committed before."""

    async def failed(self) -> None:
        """Wait until the membership has ended by itself, and raise why: the process should end too. Cancelled by `close`."""

    async def close(self) -> None:
        """Leave the group: what the member held goes to others at once (a member that dies keeps its place for the session
        time-out, so that a restart within it finds its partitions). No further `on_assigned`. Bounded in time. A repeat is
        harmless."""


class Log(Protocol):
    """The cluster, as one process sees it. Everything raises Unavailable when the cluster does not answer in time."""

    async def end_offset(self, topic: str, partition: int) -> int:
        """The offset behind the last record that `read` may return now; open transactions end it (last stable offset)."""

    async def beginning_offset(self, topic: str, partition: int) -> int:
        """The first offset still there."""

    async def offset_at(self, topic: str, partition: int, time_ms: int) -> int | None:
        """The offset of the first record appended at that time or later; None: there is none."""

    async def delete_records(self, topic: str, partition: int, before_offset: int) -> None:
        """Delete what lies before this offset. A repeat is harmless, and so is an offset that is gone already. An offset behind
        the end is Unavailable."""

    async def reader(self, topic: str) -> Reader:
        """A reader with nothing assigned."""

    async def sender(self) -> Sender:
        """A sender with a producer id of its own."""

    async def claim(self, transactional_id: str) -> ProducerIdentity:
        """Take the id over: its epoch rises, an open transaction of it is aborted. In a partition, the previous holder is
        fenced only from the first append with the new identity on."""

    async def fenced_appender(self, topic: str, partition: int, identity: ProducerIdentity) -> FencedAppender:
        """An appender that works as `identity`; one per identity, for its sequence numbers begin at 0."""

    async def transactional_producer(self, transactional_id: str) -> TransactionalProducer:
        """Take the id over (as `claim`): the previous producer's next commit is Fenced."""

    async def membership(self, group: str, topic: str, member_id: str, session_ms: int, on_assigned: OnAssigned) -> Membership:
        """Join as the static member `member_id`. `on_assigned` is called with the complete assignment after every
        rebalance (perhaps before this returns), also when nothing changed, and with the empty set when the place in the
        group is or may be lost."""

    async def describe_topics(self, names: Collection[str]) -> Mapping[str, Topic]:
        """Those of the topics that exist."""

    async def topics_beginning(self, name: str) -> Mapping[str, int]:
        """How many partitions each of the topics has whose names begin so."""

    async def create_topics(self, topics: Sequence[Topic]) -> None:
        """Create what does not exist and wait until it can be used; what exists is left as it is."""

    async def ping(self) -> None:
        """Returns if the cluster answers."""

    async def close(self) -> None:
        """Bounded in time. Readers, producers and members are closed by their owners, before."""
