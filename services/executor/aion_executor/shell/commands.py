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
from aion_common.kafka.api import Log, LogRecord, OffsetOutOfRange, Reader
from aion_common.kafka.reading import learn_published
from aion_common.kafka.topics import REPLY_PARTITIONS, Topics
from aion_common.limits import COMMAND_BYTES_MAX, COMMANDS_WAITING_MAX
from aion_common.metrics import SKIPPED_RECORDS
from aion_common.records.commands import CatalogMarker, Command
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

    def fail(self, error: Exception) -> None:
        """The partition's commands cannot be read."""


def parse(record: LogRecord) -> FromLog:
    """The input a record is. Raises UnknownSchema; whatever else is not ours counts as an input that says nothing."""
    try:
        value = None if record.value is None or len(record.value) > COMMAND_BYTES_MAX else decode(record.value)
    except UnknownSchema:
        raise
    except BadRecord:
        value = None
    match value:
        case Command(reply_partition=partition) if partition is None or 0 <= partition < REPLY_PARTITIONS:
            return CommandInput(offset=record.offset, command=value)
        case CatalogMarker():
            return MarkerInput(offset=record.offset, marker=value)
        case _:
            log.warning("command record passed over: not readable", offset=record.offset)
            SKIPPED_RECORDS.labels(topic="commands").inc()
            return UnreadableInput(offset=record.offset)


@dataclass(slots=True)
class CommandReader:
    """One consumer for the owned partitions. `attach` and `detach` may be called at any time on the event loop."""

    log: Log
    topics: Topics
    _targets: dict[int, Target] = field(default_factory=dict)
    _next: dict[int, int] = field(default_factory=dict)
    _paused: set[int] = field(default_factory=set)
    _reader: Reader | None = None
    _attached: asyncio.Event = field(default_factory=asyncio.Event)

    def attach(self, partition: int, target: Target, offset: int) -> None:
        """Hand the partition's records from `offset` on to `target`."""
        self._targets[partition] = target
        self._next[partition] = offset
        self._assign()

    def detach(self, partition: int) -> None:
        """Stop reading the partition. A repeat is harmless."""
        if self._targets.pop(partition, None) is not None:
            del self._next[partition]
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
            inputs = [await self._parse(record) for record in records]
            if self._targets.get(partition) is not target:
                continue
            self._next[partition] = records[-1].offset + 1
            if target.offer(inputs) > COMMANDS_WAITING_MAX:
                self._paused.add(partition)
                reader.pause(partition)

    async def _parse(self, record: LogRecord) -> FromLog:
        try:
            return parse(record)
        except UnknownSchema:
            await learn_published(self.log, self.topics)
        try:
            return parse(record)
        except UnknownSchema:
            return UnreadableInput(offset=record.offset)
