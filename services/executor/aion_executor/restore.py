"""Reading a partition's history back: records are folded into the store in chunks, void ones are passed over.

The same fold as live decisions. Pure but for the store; who calls it reads the topic (`shell/ownership.py`) and yields
between chunks.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import structlog

from aion_common.errors import BadRecord
from aion_common.ids import NO_RUN
from aion_common.kafka.api import LogRecord
from aion_common.metrics import VOID_RECORDS
from aion_common.records.events import HistoryRecord, OwnerEpoch, PartitionEvent
from aion_common.wire import UnknownSchema, decode
from aion_executor.changes import Changes
from aion_executor.core.apply import apply_to_partition
from aion_executor.core.partition import Partition
from aion_executor.store.rows import Meta, OwedSend, Store, checksum_of

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Restore:
    """How far the store of partition `number` has come. `next_offset`: of the history record to be read next. `void`: records passed over because
    their owner epoch was not the newest one; `foreign`: because they could not be read."""

    store: Store
    partition: Partition
    next_offset: int
    number: int
    void: int = 0
    foreign: int = 0

    def fold(self, records: Sequence[LogRecord]) -> None:
        """Apply a chunk of the history, in order, and write it. Raises UnknownSchema before anything of it is written."""
        if not records:
            return
        changes = Changes(self.store, self.number)
        outbox: dict[int, tuple[OwedSend, ...]] = {}
        for read, record in [(read, self._readable(read)) for read in records]:
            assert read.offset >= self.next_offset, "the history is read in order"
            owed_before = len(changes.sends)
            if record is not None:
                self._fold_one(read, record, changes)
            self.next_offset = read.offset + 1
            if len(changes.sends) > owed_before:
                outbox[read.offset] = tuple(changes.sends[owed_before:])
        last = records[-1]
        meta = Meta(offset=last.offset, checksum=checksum_of(last.value or b""), partition=self.partition)
        self.store.write(changes.writes(meta, outbox))

    def _readable(self, read: LogRecord) -> HistoryRecord | None:
        try:
            record = decode(read.value)
        except UnknownSchema:
            raise
        except BadRecord as error:
            log.warning("history record passed over: not readable", offset=read.offset, reason=str(error))
            record = None
        if isinstance(record, HistoryRecord):
            return record
        self.foreign += 1
        return None

    def _fold_one(self, read: LogRecord, record: HistoryRecord, changes: Changes) -> None:
        if not isinstance(record.event, OwnerEpoch) and record.owner_epoch != self.partition.owner_epoch:
            VOID_RECORDS.inc()
            self.void += 1
            log.warning("history record passed over: void", offset=read.offset, owner_epoch=record.owner_epoch)
            return
        if record.run_id != NO_RUN:
            changes.fold_run_event(record, read.value or b"")
            return
        self.partition = apply_to_partition(self.partition, record, read.offset)
        assert isinstance(record.event, PartitionEvent), "a record without a run is an event of its partition"
        changes.fold_partition_event(record.event, record.recorded_at)


def begin_restore(store: Store, number: int) -> Restore | None:
    """Where the store of partition `number` stands; a new one stands at offset 0. None: its rows are not readable, delete it."""
    try:
        meta = store.meta()
    except msgspec.DecodeError:
        return None
    if meta is None:
        return Restore(store, Partition(), 0, number)
    return Restore(store, meta.partition, meta.offset + 1, number)
