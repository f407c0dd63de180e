"""Reading `aion.commands` for all owned partitions with one consumer, and handing parsed inputs to their loops.

Membership of the group is another consumer's business (`executor.py`): a partition that stays is read on, whatever the
rebalance does with others. What was read before an assignment changed is never handed to the wrong loop.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from aion_common.errors import BadRecord, Unavailable
from aion_common.ids import workflow_key
from aion_common.kafka.api import Log, LogRecord, OffsetOutOfRange, Reader
from aion_common.kafka.partitioner import partition_of
from aion_common.kafka.reading import learn_published
from aion_common.kafka.topics import REPLY_PARTITIONS, Topics
from aion_common.limits import COMMAND_BYTES_MAX, COMMANDS_WAITING_MAX, DEAD_LETTER_BYTES_MAX, NAME_BYTES_MAX, REASON_BYTES_MAX
from aion_common.metrics import SKIPPED_RECORDS
from aion_common.records.commands import CatalogMarker, Command
from aion_common.records.flaws import flaw_of
from aion_common.wire import UnknownSchema, decode
from aion_executor.core.inputs import CommandInput, MarkerInput, UnreadableInput
from aion_executor.shell.partition_loop import FromLog

log = structlog.get_logger(__name__)

READ_WAIT_MS = 100
"""A longer poll would hold up the connection when partitions are assigned."""

READ_RECORDS_MAX = 2_000


class Target(Protocol):
    """Where a partition's inputs go."""

    def offer(self, inputs: Sequence[FromLog]) -> int:
        """Take inputs in; returns how many wait now."""

    def commands_waiting(self) -> int:
        """How many wait now."""

    def backlog_offered(self) -> None:
        """Everything up to the `backlog_end` of its `attach` was offered."""

    def fail(self, error: Exception) -> None:
        """The partition's commands cannot be read."""


def parse(record: LogRecord, partition: int, partitions: int) -> FromLog:
    """The input a record is that stands in this one of so many partitions. Raises UnknownSchema; whatever else is not ours
    becomes a dead letter."""
    try:
        value = _decoded(record.value)
    except UnknownSchema:
        raise
    except BadRecord as error:
        return unreadable(record, str(error))
    if not isinstance(value, Command | CatalogMarker):
        return unreadable(record, f"not a command: {type(value).__name__}")
    flaw = flaw_of(value) or _flaw_of_place(value, partition, partitions)
    if flaw is not None:
        return unreadable(record, flaw)
    if isinstance(value, Command):
        return CommandInput(offset=record.offset, command=value)
    return MarkerInput(offset=record.offset, marker=value)


def _flaw_of_place(value: Command | CatalogMarker, partition: int, partitions: int) -> str | None:
    """What is wrong with where the record stands, and where its answer is to go."""
    reply_partition = getattr(value if isinstance(value, Command) else value.body, "reply_partition", None)
    if reply_partition is not None and not 0 <= reply_partition < REPLY_PARTITIONS:
        return f"there is no reply partition {reply_partition}"
    if isinstance(value, Command):
        right = partition_of(workflow_key(value.namespace, value.workflow_id), partitions)
        if right != partition:
            return f"its workflow id belongs to partition {right}: producers must partition as Java's default does (murmur2)"
    return None


def _decoded(value: bytes | None) -> object:
    if value is None:
        raise BadRecord("no value")
    if len(value) > COMMAND_BYTES_MAX:
        raise BadRecord(f"{len(value)} bytes, more than {COMMAND_BYTES_MAX}")
    return decode(value)


def unreadable(record: LogRecord, reason: str) -> UnreadableInput:
    """The input of a record that is none of ours: it goes to the dead letters."""
    log.warning("command record passed over", offset=record.offset, reason=reason)
    SKIPPED_RECORDS.labels(topic="commands").inc()
    value = record.value
    return UnreadableInput(
        offset=record.offset,
        reason=reason[:REASON_BYTES_MAX],
        key=None if record.key is None else record.key[:NAME_BYTES_MAX],
        value=None if value is None else value[:DEAD_LETTER_BYTES_MAX],
        value_bytes=0 if value is None else len(value),
    )


@dataclass(slots=True)
class CommandReader:
    """One consumer for the owned partitions. `attach` and `detach` may be called at any time on the event loop."""

    log: Log
    topics: Topics
    partitions: int
    """Of commands and history, in the whole cluster."""
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
        self._reader = reader = await self.log.reader(self.topics.commands)
        try:
            self._assign()
            while True:
                await self._attached.wait()
                self._resume(reader)
                try:
                    await self._read(reader)
                except Unavailable as error:
                    log.warning("commands not read", reason=str(error))
                    # What was read and not offered is to be read again: only `_next` says how far offers have come.
                    self._assign()
                    await asyncio.sleep(READ_WAIT_MS / 1000)
        finally:
            self._reader = None
            await reader.close()

    def _resume(self, reader: Reader) -> None:
        for partition in tuple(self._paused):
            if self._targets[partition].commands_waiting() < COMMANDS_WAITING_MAX // 2:
                self._paused.discard(partition)
                reader.resume(partition)

    async def _read(self, reader: Reader) -> None:
        try:
            batches = await reader.read(wait_ms=READ_WAIT_MS, records_max=READ_RECORDS_MAX)
        except OffsetOutOfRange as error:
            log.exception("commands that are still needed are gone", partition=error.partition, offset=error.offset)
            target = self._targets[error.partition]
            self.detach(error.partition)
            target.fail(error)
            return
        targets = dict(self._targets)
        for partition, records in batches.items():
            target = targets[partition]
            inputs = [await self._parse(record, partition) for record in records]
            if self._targets.get(partition) is not target:
                continue
            self._next[partition] = records[-1].offset + 1
            if target.offer(inputs) > COMMANDS_WAITING_MAX:
                self._paused.add(partition)
                reader.pause(partition)
        self._tell_caught_up(reader)

    def _tell_caught_up(self, reader: Reader) -> None:
        """A transaction's end takes an offset too, so only the reader's position says that nothing more comes before one."""
        for partition, backlog_end in tuple(self._behind.items()):
            if reader.position(partition) >= backlog_end and self._next[partition] <= reader.position(partition):
                del self._behind[partition]
                self._targets[partition].backlog_offered()

    async def _parse(self, record: LogRecord, partition: int) -> FromLog:
        try:
            return parse(record, partition, self.partitions)
        except UnknownSchema:
            await learn_published(self.log, self.topics)
        try:
            return parse(record, partition, self.partitions)
        except UnknownSchema as error:
            return unreadable(record, str(error))
