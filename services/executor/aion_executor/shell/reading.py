"""Reading a topic of inputs for all owned partitions with one consumer, and handing parsed inputs to their loops.

Membership of the group is another consumer's business (`executor.py`): a partition that stays is read on, whatever the
rebalance does with others. What was read before an assignment changed is never handed to the wrong loop.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from aion_common.errors import BadRecord, Unavailable
from aion_common.kafka.api import Log, LogRecord, OffsetOutOfRange, Reader
from aion_common.kafka.reading import learn_published
from aion_common.kafka.topics import Topics
from aion_common.limits import DEAD_LETTER_BYTES_MAX, INPUTS_WAITING_MAX, NAME_BYTES_MAX, REASON_BYTES_MAX
from aion_common.metrics import SKIPPED_RECORDS
from aion_common.wire import UnknownSchema, decode
from aion_executor.core.inputs import UnreadableInput
from aion_executor.shell.partition_loop import FromLog

log = structlog.get_logger(__name__)

READ_WAIT_MS = 100
"""A partition that was paused is resumed so long after it has room again, at most."""

READ_RECORDS_MAX = 2_000

Parse = Callable[[LogRecord, int], FromLog]
"""The input a record is that stands in this partition. Raises UnknownSchema; whatever else is none becomes a dead letter."""


class Target(Protocol):
    """Where a partition's inputs go."""

    def offer(self, inputs: Sequence[FromLog]) -> int:
        """Take inputs in; returns how many wait now."""

    def waiting(self) -> int:
        """How many wait now."""

    def backlog_offered(self) -> None:
        """Everything up to the `backlog_end` of its `attach` was offered."""

    def fail(self, error: Exception) -> None:
        """The partition's inputs cannot be read."""


def unreadable(noun: str, record: LogRecord, reason: str) -> UnreadableInput:
    """The input of a record that is none of ours: it goes to the dead letters."""
    log.warning("input record passed over", topic=noun, offset=record.offset, reason=reason)
    SKIPPED_RECORDS.labels(topic=noun).inc()
    value = record.value
    return UnreadableInput(
        topic=noun,
        offset=record.offset,
        reason=reason[:REASON_BYTES_MAX],
        key=None if record.key is None else record.key[:NAME_BYTES_MAX],
        value=None if value is None else value[:DEAD_LETTER_BYTES_MAX],
        value_bytes=0 if value is None else len(value),
    )


def decoded(value: bytes | None, bytes_max: int) -> object:
    """The record of some value bytes. Raises BadRecord (of it, UnknownSchema)."""
    if value is None:
        raise BadRecord("no value")
    if len(value) > bytes_max:
        raise BadRecord(f"{len(value)} bytes, more than {bytes_max}")
    return decode(value)


@dataclass(slots=True)
class InputReader:
    """One consumer for the owned partitions of one topic. `attach` and `detach` may be called at any time on the event loop."""

    log: Log
    topics: Topics
    noun: str
    parse: Parse
    _targets: dict[int, Target] = field(default_factory=dict)
    _next: dict[int, int] = field(default_factory=dict)
    _paused: set[int] = field(default_factory=set)
    _behind: dict[int, int] = field(default_factory=dict)
    """Where the backlog of a partition ends that was not offered whole yet."""
    _reader: Reader | None = None
    _attached: asyncio.Event = field(default_factory=asyncio.Event)

    def attach(self, partition: int, target: Target, offset: int, backlog_end: int = 0) -> None:
        """Hand the partition's records from `offset` on to `target`, and tell it when those before `backlog_end` were."""
        self._targets[partition] = target
        self._next[partition] = offset
        self._behind[partition] = backlog_end
        self._assign()

    def detach(self, partition: int) -> None:
        """Stop reading the partition. A repeat is harmless."""
        if self._targets.pop(partition, None) is not None:
            del self._next[partition]
            self._behind.pop(partition, None)
            self._assign()

    def _assign(self) -> None:
        self._paused.clear()
        if self._reader is not None:
            self._reader.assign(self._next)
        if self._targets:
            self._attached.set()
        else:
            self._attached.clear()

    async def run(self) -> None:
        """Read until cancelled. The cluster's silence is waited out."""
        self._reader = reader = await self.log.reader(self.topics.prefix + self.noun)
        try:
            self._assign()
            while True:
                await self._attached.wait()
                self._resume(reader)
                try:
                    await self._read(reader)
                except Unavailable as error:
                    log.warning("inputs not read", topic=self.noun, reason=str(error))
                    # What was read and not offered is to be read again: only `_next` says how far offers have come.
                    self._assign()
                    await asyncio.sleep(READ_WAIT_MS / 1000)
        finally:
            self._reader = None
            await reader.close()

    def _resume(self, reader: Reader) -> None:
        for partition in tuple(self._paused):
            if self._targets[partition].waiting() < INPUTS_WAITING_MAX // 2:
                self._paused.discard(partition)
                reader.resume(partition)

    async def _read(self, reader: Reader) -> None:
        try:
            batches = await reader.read(wait_ms=READ_WAIT_MS, records_max=READ_RECORDS_MAX)
        except OffsetOutOfRange as error:
            partition, offset = error.partition, error.offset
            log.exception("inputs that are still needed are gone", topic=self.noun, partition=partition, offset=offset)
            target = self._targets[partition]
            self.detach(partition)
            target.fail(error)
            return
        targets = dict(self._targets)
        for partition, records in batches.items():
            target = targets[partition]
            inputs: list[FromLog] = []
            for record in records:
                try:
                    inputs.append(self.parse(record, partition))
                except UnknownSchema:
                    inputs.append(await self._parsed_with_news(record, partition))
            if self._targets.get(partition) is not target:
                continue
            self._next[partition] = records[-1].offset + 1
            if target.offer(inputs) > INPUTS_WAITING_MAX:
                self._paused.add(partition)
                reader.pause(partition)
        self._tell_caught_up(reader)

    def _tell_caught_up(self, reader: Reader) -> None:
        """A transaction's end takes an offset too, so only the reader's position says that nothing more comes before one."""
        for partition, backlog_end in tuple(self._behind.items()):
            if reader.position(partition) >= backlog_end and self._next[partition] <= reader.position(partition):
                del self._behind[partition]
                self._targets[partition].backlog_offered()

    async def _parsed_with_news(self, record: LogRecord, partition: int) -> FromLog:
        await learn_published(self.log, self.topics)
        try:
            return self.parse(record, partition)
        except UnknownSchema as error:
            return unreadable(self.noun, record, str(error))
