"""Reads assigned partitions from assigned offsets, committed records only.

One long-poll per leading broker is in flight, also while the caller works on what it got; what comes back waits, still
encoded, until it is read. Every poll knows the assignment it was made for, so nothing stale comes out after a new one.
An empty poll waits long, because each costs broker and reader the same whether anything comes or not. One in which something
is missing that is wanted by now would hold up its connection, and is given up with it (docs/adr/0019).
Where much comes, polls keep a distance, so that the next one finds more: fewer and larger batches cost everybody less.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import islice
from typing import NamedTuple

from aiokafka.consumer.fetcher import READ_COMMITTED, PartitionRecords
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecord
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import TopicPartition

from aion_common import limits
from aion_common.errors import AionError, Unavailable
from aion_common.event_loop import TICK_S
from aion_common.kafka.api import LogRecord, OffsetOutOfRange
from aion_common.kafka.brokers import NOBODY, Brokers, Retry
from aion_common.kafka.connection import OFFSET_OUT_OF_RANGE, ask_leader, check, close_client, confirm_leader
from aion_common.kafka.mending import mended
from aion_common.kafka.requests import FetchedPartition, FetchRequest

_RETRY_PAUSE_S = 0.05
DISTANCE_MS_MAX = 8
"""From the beginning of one poll to that of the next, a millisecond for each record read, whichever broker has them: who
waits for one record alone does not notice."""


Aborted = Sequence[tuple[int, int]]


class _Records(PartitionRecords):  # type: ignore[misc]  # aiokafka has no types
    """The records of one partition as they are wanted here: aiokafka would make its own of each first."""

    def _consumer_record(self, _place: TopicPartition, record: DefaultRecord) -> LogRecord:
        return LogRecord(
            offset=record.offset,
            timestamp_ms=record.timestamp,
            key=record.key,
            value=record.value,
            headers=tuple(record.headers),
        )


class _Asked(NamedTuple):
    """A poll that its broker has not answered: the next offset of each partition in it, and when it began."""

    offsets: Mapping[int, int]
    at: float


class KafkaReader:
    """See `Reader`. It owns the client."""

    def __init__(self, client: Brokers, topic: str) -> None:
        self._client = client
        self._topic = topic
        self._next: dict[int, int] = {}
        self._paused: set[int] = set()
        self._fetched: dict[int, _Records] = {}
        self._contents: dict[int, tuple[bytes, Aborted]] = {}
        """What the records of a partition are read from: the bytes, and the aborted transactions in them."""
        self._failed: dict[int, AionError] = {}
        self._bug: BaseException | None = None
        self._assignment = 0
        self._polls: dict[int, asyncio.Task[None]] = {}
        self._asked: dict[int, _Asked] = {}
        self._polled_at = 0.0
        self._not_before = 0.0
        self._changed = asyncio.Event()
        self._is_closed = False

    def assign(self, positions: Mapping[int, int]) -> None:
        """See `Reader`."""
        self._assignment += 1
        self._next = dict(positions)
        self._paused.clear()
        self._fetched.clear()
        self._contents.clear()
        self._failed.clear()
        self._changed.set()

    async def read(self, *, wait_ms: int, records_max: int) -> Mapping[int, Sequence[LogRecord]]:
        """See `Reader`."""
        assert records_max > 0, "a read asks for something"
        assert not self._is_closed, "a closed reader is not read"
        await asyncio.sleep(0)
        until = asyncio.get_running_loop().time() + wait_ms / 1000
        while True:
            self._changed.clear()
            taken, has_moved = self._take(records_max)
            self._poll()
            if taken or has_moved:
                return taken
            try:
                async with asyncio.timeout_at(until):
                    await self._changed.wait()
            except TimeoutError:
                return {}

    def position(self, partition: int) -> int:
        """See `Reader`."""
        return self._next[partition]

    def pause(self, partition: int) -> None:
        """See `Reader`. What was fetched already waits."""
        assert partition in self._next, "only what is assigned can be paused"
        self._paused.add(partition)

    def resume(self, partition: int) -> None:
        """See `Reader`."""
        self._paused.discard(partition)
        self._changed.set()

    async def close(self) -> None:
        """See `Reader`."""
        self._is_closed = True
        self._changed.set()
        polls = list(self._polls.values())
        for poll in polls:
            poll.cancel()
        await asyncio.gather(*polls, return_exceptions=True)
        await close_client(self._client)

    def _take(self, records_max: int) -> tuple[dict[int, list[LogRecord]], bool]:
        if self._bug is not None:
            raise self._bug
        taken: dict[int, list[LogRecord]] = {}
        room = records_max
        has_moved = False
        for partition, failure in self._failed.items():
            if partition not in self._paused:
                raise failure
        for partition in list(self._fetched):
            if partition in self._paused:
                continue
            if room == 0:
                break
            try:
                records = self._unpack(partition, room)
            except Unavailable:
                if taken:
                    break
                raise
            if records:
                taken[partition] = records
            position = self._fetched[partition].next_fetch_offset
            has_moved = has_moved or position != self._next[partition]
            self._next[partition] = position
            if len(records) < room:
                del self._fetched[partition], self._contents[partition]
            room -= len(records)
        self._not_before = self._polled_at + min(records_max - room, DISTANCE_MS_MAX) / 1000
        return taken, has_moved

    def _unpack(self, partition: int, room: int) -> list[LogRecord]:
        try:
            return list(islice(self._fetched[partition], room))
        except CorruptRecordException as cause:
            del self._fetched[partition], self._contents[partition]
            raise Unavailable(f"{self._topic}/{partition} at {self._next[partition]}: {cause}") from cause
        except UnicodeDecodeError:
            content, aborted = self._contents[partition]
            self._keep(partition, self._next[partition], mended(content), aborted)
            return list(islice(self._fetched[partition], room))

    def _keep(self, partition: int, offset: int, content: bytes, aborted: Aborted) -> None:
        place = TopicPartition(self._topic, partition)
        records = MemoryRecords(content)
        if records.has_next():
            self._fetched[partition] = _Records(place, records, aborted, offset, None, None, True, READ_COMMITTED)
            self._contents[partition] = content, aborted

    def _poll(self) -> None:
        """Have every broker asked for what is wanted of it."""
        for leader, offsets in self._wanted().items():
            if leader in self._polls:
                self._give_up_if_missing(leader, offsets)
            elif not self._is_closed:
                self._start(leader)

    def _wanted(self) -> dict[int, dict[int, int]]:
        """The partitions that each broker leads, unless records of one still wait here: a long-poll without that one would
        make it wait, once it is read."""
        by_leader: dict[int, dict[int, int]] = {}
        with_records: set[int] = set()
        for partition, offset in self._next.items():
            if partition in self._paused or partition in self._failed:
                continue
            leader = self._client.picture.leaders.get(TopicPartition(self._topic, partition), NOBODY)
            if partition in self._fetched:
                with_records.add(leader)
            else:
                by_leader.setdefault(leader, {})[partition] = offset
        return {leader: offsets for leader, offsets in by_leader.items() if leader not in with_records}

    def _give_up_if_missing(self, leader: int, offsets: Mapping[int, int]) -> None:
        """Not before limits.FETCH_GIVE_UP_MS: until then it may be about to be answered with records of others."""
        asked = self._asked.get(leader)
        if asked is None or offsets.items() <= asked.offsets.items():
            return
        events = asyncio.get_running_loop()
        due = asked.at + limits.FETCH_GIVE_UP_MS / 1000
        if events.time() < due:
            events.call_at(due + TICK_S, self._changed.set)
            return
        self._polls[leader].cancel()
        self._client.hang_up(leader)

    def _start(self, leader: int) -> None:
        work = self._refresh() if leader == NOBODY else self._fetch(leader)
        task = asyncio.get_running_loop().create_task(work)
        self._polls[leader] = task
        task.add_done_callback(lambda done: self._finished(leader, done))

    def _finished(self, leader: int, poll: asyncio.Task[None]) -> None:
        del self._polls[leader]
        if not poll.cancelled() and (bug := poll.exception()) is not None:
            self._bug = bug
        self._changed.set()

    async def _refresh(self) -> None:
        with suppress(Retry):
            await self._client.follow(self._topic)
        await asyncio.sleep(_RETRY_PAUSE_S)
        with suppress(Retry):
            await self._client.refresh()

    async def _fetch(self, leader: int) -> None:
        events = asyncio.get_running_loop()
        if (early_s := self._not_before - events.time()) > 0:
            await asyncio.sleep(early_s)
        assignment, offsets = self._assignment, self._wanted().get(leader)
        if offsets is None:
            return
        self._polled_at = events.time()
        answers: Sequence[FetchedPartition] = ()
        is_refresh_due = False
        self._asked[leader] = _Asked(offsets, self._polled_at)
        try:
            answers = await self._answered(leader, offsets)
        except (Retry, Unavailable):
            is_refresh_due = True
        finally:
            del self._asked[leader]
        for answer in answers:
            try:
                if answer.code == OFFSET_OUT_OF_RANGE:
                    await confirm_leader(self._client, TopicPartition(self._topic, answer.partition), leader)
                # Another broker may lead by now, and may have been asked and read beyond what this one was asked for.
                if assignment == self._assignment and offsets[answer.partition] == self._next[answer.partition]:
                    self._accept(answer, offsets[answer.partition])
            except Retry:
                is_refresh_due = True
        if is_refresh_due:
            await asyncio.sleep(_RETRY_PAUSE_S)
            with suppress(Retry):
                await self._client.refresh()

    async def _answered(self, leader: int, offsets: Mapping[int, int]) -> Sequence[FetchedPartition]:
        """Raises Retry and Unavailable."""
        request = FetchRequest(
            self._topic,
            offsets,
            wait_ms=limits.FETCH_WAIT_MS,
            bytes_max=limits.FETCH_BYTES_MAX,
            partition_bytes_max=limits.PARTITION_FETCH_BYTES_MAX,
        )
        places = [TopicPartition(self._topic, partition) for partition in offsets]
        answers: Sequence[FetchedPartition]
        code, answers = await ask_leader(self._client, leader, places, request)
        check(code, f"read of {self._topic}")
        return answers

    def _accept(self, answer: FetchedPartition, offset: int) -> None:
        """Raises Retry."""
        partition = answer.partition
        if partition in self._fetched:
            return
        if answer.code == OFFSET_OUT_OF_RANGE:
            self._failed[partition] = OffsetOutOfRange(self._topic, partition, offset)
            return
        if answer.code:
            try:
                check(answer.code, f"read of {self._topic}/{partition}")
            except Unavailable as refused:
                self._failed[partition] = refused
                return
        if answer.content:
            self._keep(partition, offset, answer.content, answer.aborted)
