"""Reading a partition's history back: records are folded into the store in chunks, void ones are passed over.

The same fold as live decisions. Pure but for the store; who calls it reads the topic (`shell/ownership.py`) and yields
between chunks.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

import msgspec
import structlog

from aion_common.errors import BadRecord
from aion_common.ids import NO_RUN, RunId
from aion_common.kafka.api import LogRecord
from aion_common.metrics import SKIPPED_RECORDS, VOID_RECORDS
from aion_common.records.events import (
    CatalogApplied,
    HeartbeatsReceived,
    HistoryRecord,
    OwnerEpoch,
    PartitionEvent,
    Progress,
    RunStarted,
    StartParked,
)
from aion_common.wire import UnknownSchema, decode
from aion_executor.changes import Changes
from aion_executor.core.apply import apply_to_partition
from aion_executor.core.decide.catalog import apply_marker
from aion_executor.core.partition import Partition
from aion_executor.core.run import Run
from aion_executor.heartbeats import is_present
from aion_executor.store.rows import Meta, Store, checksum_of

log = structlog.get_logger(__name__)

_RUN_ID = re.compile(r"[0-9a-f]{32}")
_OF_PARTITIONS = frozenset(get_args(PartitionEvent))
MISPLACED = "a run's event without its run, or a partition's with one"


@dataclass(slots=True)
class Restore:
    """How far the store of partition `number` has come. `next_offset`: of the history record to be read next. `void`: records
    passed over because their owner epoch was not the newest one; `foreign`: because nobody can read them, or because they do
    not follow what stands before them: no owner wrote them there."""

    store: Store
    partition: Partition
    next_offset: int
    number: int
    void: int = 0
    foreign: int = 0

    def fold(self, records: Sequence[LogRecord], *, knows_all_schemas: bool = False) -> None:
        """Apply a chunk of the history, in order, and write it. Raises UnknownSchema before anything of it is written, unless
        all schemas there are were learnt: an owner publishes its own before it writes."""
        if not records:
            return
        changes = Changes(self.store, self.number)
        owing: dict[int, slice] = {}
        for read, record in [(read, self._readable(read, knows_all_schemas)) for read in records]:
            assert read.offset >= self.next_offset, "the history is read in order"
            owed_before = len(changes.owing)
            if record is not None:
                self._fold_one(read, record, changes)
            self.next_offset = read.offset + 1
            if len(changes.owing) > owed_before:
                owing[read.offset] = slice(owed_before, len(changes.owing))
        last = records[-1]
        meta = Meta(offset=last.offset, checksum=checksum_of(last.value or b""), partition=self.partition)
        still = {offset: changes.sends(which) for offset, which in owing.items() if offset > self.partition.sent_through}
        self.store.write(changes.writes(meta, {offset: sends for offset, sends in still.items() if sends}))

    def _readable(self, read: LogRecord, knows_all_schemas: bool) -> HistoryRecord | None:
        try:
            record = decode(read.value)
        except BadRecord as error:
            if isinstance(error, UnknownSchema) and not knows_all_schemas:
                raise
            self._pass_over(read, str(error))
            return None
        if isinstance(record, HistoryRecord):
            return record
        self._pass_over(read, f"a {type(record).__name__}")
        return None

    def _pass_over(self, read: LogRecord, reason: str) -> None:
        self.foreign += 1
        SKIPPED_RECORDS.labels(topic="history").inc()
        log.warning("history record passed over: foreign", offset=read.offset, reason=reason)

    def _fold_one(self, read: LogRecord, record: HistoryRecord, changes: Changes) -> None:
        if not isinstance(record.event, OwnerEpoch) and record.owner_epoch != self.partition.owner_epoch:
            VOID_RECORDS.inc()
            self.void += 1
            log.warning("history record passed over: void", offset=read.offset, owner_epoch=record.owner_epoch)
            return
        if record.run_id == NO_RUN:
            self._fold_own(read, record, changes)
            return
        run = _run_of(changes, record.run_id)
        if (flaw := _flaw_in_run(run, record)) is not None:
            self._pass_over(read, flaw)
            return
        changes.fold_run_event(run, record, read.value or b"")

    def _fold_own(self, read: LogRecord, record: HistoryRecord, changes: Changes) -> None:
        event = record.event
        if not isinstance(event, PartitionEvent):
            self._pass_over(read, MISPLACED)
        elif (flaw := _flaw_in_partition(self.partition, changes, event)) is not None:
            self._pass_over(read, flaw)
        else:
            self.partition = apply_to_partition(self.partition, record, read.offset)
            changes.fold_partition_event(event, record.recorded_at)


def _run_of(changes: Changes, run_id: RunId) -> Run | None:
    """Most are found where the chunk has changed them. The store has no key for what is no run id."""
    if (run := changes.changed_run(run_id)) is not None:
        return run
    return changes.run(run_id) if _RUN_ID.fullmatch(run_id) else None


def _flaw_in_run(run: Run | None, record: HistoryRecord) -> str | None:
    """Why no owner can have written the record behind what makes this state: it is a copy of an older one, or came from
    elsewhere. None: it follows. What is missing in a run is no such flaw: a history with a hole is never folded on."""
    if type(record.event) in _OF_PARTITIONS:
        return MISPLACED
    if run is not None:
        return f"the run has {run.seq} events already" if record.seq <= run.seq else None
    if isinstance(record.event, RunStarted) and record.seq == 1 and _RUN_ID.fullmatch(record.run_id):
        return None
    return "there is no such run"


def _flaw_in_partition(partition: Partition, changes: Changes, event: PartitionEvent) -> str | None:
    """As `_flaw_in_run`, of the partition's own events."""
    match event:
        case Progress(commands_next=commands_next) if commands_next < partition.commands_next:
            return f"commands are decided up to {partition.commands_next} already"
        case CatalogApplied(marker=marker) if not apply_marker(partition, marker).events:
            return "the marker has been applied already"
        case StartParked(offset=offset) if offset in partition.parked:
            return f"the start at {offset} is parked already"
        case HeartbeatsReceived(heartbeats=beats) if not all(is_present(_run_of(changes, beat.run_id), beat) for beat in beats):
            return "nobody waits for an attempt whose heartbeat it is"
    return None


def begin_restore(store: Store, number: int) -> Restore | None:
    """Where the store of partition `number` stands; a new one stands at offset 0. None: its rows
    are not readable, delete it."""
    try:
        meta = store.meta()
    except msgspec.DecodeError:
        return None
    if meta is None:
        return Restore(store, Partition(), 0, number)
    return Restore(store, meta.partition, meta.offset + 1, number)
