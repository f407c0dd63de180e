"""One run, judged by its own records: order, chain, one end, and no end before its time. Pure.

The chain is computed over the event's bytes as they stand in the record: another release may have written them with fewer
or more fields than ours.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from aion_common.checking.waits import Promise, Waits, observed_in
from aion_common.errors import BadRecord
from aion_common.ids import RunId, Version
from aion_common.records.events import (
    HistoryRecord,
    RunBlocked,
    RunCancelled,
    RunCancelRequested,
    RunCompleted,
    RunEvent,
    RunFailed,
    RunStarted,
    RunTerminated,
    RunTimedOut,
    TurnCommand,
    TurnEnded,
)
from aion_common.wire import UnknownSchema, decode, event_bytes_of, next_chain
from aion_common.wire.history import CHAIN_START

CHECKED = (
    "numbers without a gap from 1",
    "RunStarted first, and nothing behind an end",
    "the hash chain over the bytes of every event",
    "owner epochs and times that do not go back",
    "turns that observed what was there",
    "no time-out and no end of a cancel before its time",
    "timers and activities: one end for each, of the present attempt, never before its time",
)
"""What `RunHistory` looks at, for people."""


@dataclass(slots=True)
class RunHistory:
    """A run so far. `timeout_at`: when its time is over; `cancel`: the request, event `cancel_seq`."""

    run_id: RunId
    workflow: tuple[str, str]
    version: Version | None = None
    status: str = "running"
    seq: int = 0
    chain: bytes = CHAIN_START
    recorded_at: int = 0
    owner_epoch: int = -1
    observed: int = 0
    timeout_ms: int | None = None
    timeout_at: int | None = None
    cancel: RunCancelRequested | None = None
    cancel_seq: int = 0
    waits: Waits = field(default_factory=Waits)

    @property
    def is_closed(self) -> bool:
        """Whether there was a terminal event."""
        return self.status not in {"running", "blocked"}

    def take(self, record: HistoryRecord, value: bytes) -> list[str]:
        """The next record, and its bytes; returns each promise that it breaks."""
        promises = (*self._of_any_record(record, value), *self._of_event(record), *self.waits.promises(record))
        self._advance(record)
        return [sentence for is_kept, sentence in promises if not is_kept]

    def _of_any_record(self, record: HistoryRecord, value: bytes) -> Iterator[Promise]:
        # Only what is not negative can be hashed; what is breaks a promise of its own below.
        is_hashed = min(record.seq, record.recorded_at) >= 0
        chain = next_chain(self.chain, record.seq, record.recorded_at, event_bytes_of(value)) if is_hashed else None
        yield record.seq == self.seq + 1, f"event {self.seq + 1} of the run comes next, not {record.seq}"
        yield (record.namespace, record.workflow_id) == self.workflow, "a run belongs to one workflow id"
        yield not self.is_closed, "nothing follows a terminal event"
        yield record.chain == chain, "the chain covers the events before it"
        yield record.recorded_at >= self.recorded_at, "time does not go back in a run"
        yield record.owner_epoch >= self.owner_epoch, "owner epochs do not go back in a run"
        is_first = self.seq == 0
        yield is_first == isinstance(record.event, RunStarted), "RunStarted is the first event, and no other"
        yield isinstance(record.event, RunEvent), "events of a partition are no run's"

    def _of_event(self, record: HistoryRecord) -> Iterator[Promise]:
        observed = observed_in(record.event)
        if observed is not None:
            yield self.observed <= observed < record.seq, "a turn observes what was there"
        match record.event:
            case RunCancelRequested(deadline_ms=deadline_ms):
                yield self.cancel is None, "a run is asked to cancel once"
                yield deadline_ms >= record.recorded_at, "a run that is asked to cancel gets time to clean up"
            case RunCancelled(observed_seq=None):
                is_late = self.cancel is not None and record.recorded_at >= self.cancel.deadline_ms
                yield is_late, "a run is ended for a cancel after its time to clean up, not before"
            case RunCancelled(observed_seq=int(seen)):
                yield self.cancel is not None and seen >= self.cancel_seq, "a run that gives up was asked to, and had heard it"
            case RunTimedOut(timeout_ms=timeout_ms):
                is_late = self.timeout_at is not None and record.recorded_at >= self.timeout_at
                yield is_late, "a run is ended by its time-out when it is over, not before"
                yield timeout_ms == self.timeout_ms, "a run is ended by the time-out that it began with"
            case _:
                pass

    def _advance(self, record: HistoryRecord) -> None:
        self.seq, self.chain = record.seq, record.chain
        self.recorded_at, self.owner_epoch = record.recorded_at, record.owner_epoch
        self.observed = observed_in(record.event) or self.observed
        self.waits.advance(record)
        match record.event:
            case RunStarted(version=version, run_timeout_ms=timeout_ms):
                self.version, self.timeout_ms = version, timeout_ms
                self.timeout_at = None if timeout_ms is None else record.recorded_at + timeout_ms
            case RunCancelRequested() as request:
                self.cancel, self.cancel_seq = request, record.seq
            case RunBlocked():
                self.status = "blocked"
            case event if isinstance(event, TurnCommand | TurnEnded):
                self.status = "running"
            case RunCompleted():
                self.status = "completed"
            case RunFailed():
                self.status = "failed"
            case RunCancelled():
                self.status = "cancelled"
            case RunTerminated():
                self.status = "terminated"
            case RunTimedOut():
                self.status = "timed_out"
            case _:
                pass


@dataclass(slots=True)
class RunCheck:
    """A run that is checked alone. `place`: what its records are counted by."""

    history: RunHistory
    events: int = 0
    broken: list[str] = field(default_factory=list)

    def take_value(self, value: bytes) -> None:
        """The value of its next record, wherever it was read. Raises UnknownSchema: then nothing can be said."""
        where = f"record {self.events + 1}"
        try:
            record = decode(value)
        except UnknownSchema:
            raise
        except BadRecord as error:
            self.events += 1
            self.broken.append(f"{where}: not a record of a history: {error}")
            return
        if isinstance(record, HistoryRecord):
            self.take(record, value, where)
        else:
            self.events += 1
            self.broken.append(f"{where}: not a record of a history but a {type(record).__name__}")

    def take(self, record: HistoryRecord, value: bytes, where: str) -> None:
        """Its next record, which stands at `where`."""
        self.events += 1
        if record.run_id != self.history.run_id:
            self.broken.append(f"{where}: a record of run {record.run_id or 'none'}")
            return
        self.broken += [f"{where}: {sentence}" for sentence in self.history.take(record, value)]

    def end(self) -> None:
        """There are no more records."""
        if not self.events:
            self.broken.append("a run has at least its RunStarted, but there is no record of it")
        if self.history.waits.is_halfway:
            self.broken.append("the last turn is there as a whole")
