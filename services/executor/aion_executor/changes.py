"""What some history records change, before it is written: a layer of state over the store, or over another layer.

The loop folds a batch while the one before it is still on its way to the log, so reads go through the open batch, then the
one in flight, then the store. Live decisions, restore and catching up fold records by this same class.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol, assert_never

from msgspec import Struct

from aion_common.ids import CommandId, Namespace, RunId, WorkflowId, ingress_place_of, workflow_key
from aion_common.kafka.deadletters import Unusable, dead_letter
from aion_common.kafka.topics import Topics, tasks_noun
from aion_common.records.common import Payload
from aion_common.records.events import (
    ActivityScheduled,
    CatalogApplied,
    DeadLettered,
    Heartbeat,
    HeartbeatsReceived,
    HistoryRecord,
    OwnerEpoch,
    PartitionEvent,
    Progress,
    RecordedAnswer,
    StartParked,
    StartReleased,
)
from aion_common.records.replies import Answer, PinsReported, Rejection, RejectionCode, Reply, StartAccepted
from aion_common.records.tasks import CancelTasks, Task
from aion_common.wire import encode
from aion_executor.core.answers import answers_of
from aion_executor.core.apply import apply_to_run
from aion_executor.core.apply.activities import beaten
from aion_executor.core.indexes import reindexed
from aion_executor.core.run import Run
from aion_executor.core.sends import key_of, to_workers
from aion_executor.store.rows import Meta, OwedSend, Writes

REPLIES = "replies"
CONTROL = "control"
"""How sends name the topics, whatever their prefix."""

EVERYTHING = slice(None)


class ForWorkers(Struct, frozen=True, gc=False):
    """What workers must be told, and the noun of its topic."""

    topic: str
    message: Task | CancelTasks


Owing = OwedSend | RecordedAnswer | ForWorkers


class Lookup(Protocol):
    """Reading state: a store, or changes over one."""

    def run(self, run_id: RunId) -> Run | None:
        """The run."""

    def newest_run_id(self, namespace: Namespace, workflow_id: WorkflowId) -> RunId | None:
        """The run of the workflow id that was started last."""

    def answer(self, command_id: CommandId) -> bytes | None:
        """The encoded reply a command got. Of an accepted start there is none: its run, whose id follows from it, says so."""

    def records(self, run_id: RunId, from_seq: int, limit: int) -> list[HistoryRecord]:
        """The run's history records from `from_seq` on, in order, at most `limit`."""

    def parked(self, offset: int) -> bytes | None:
        """The encoded command of a start that waits for a verdict."""

    def entries(self, prefix: bytes) -> Iterable[bytes]:
        """Index entries with the prefix, in order."""


@dataclass(slots=True)
class Changes:
    """Folded records over `below`, of partition `number`. `owing`: behind what these records owe, in order; encoded by `sends`
    only, because a restore finds that nearly all of it has left."""

    below: Lookup
    number: int
    owing: list[Owing] = field(default_factory=list)
    _runs: dict[RunId, Run] = field(default_factory=dict)
    _runs_before: dict[RunId, Run | None] = field(default_factory=dict)
    _newest: dict[bytes, RunId] = field(default_factory=dict)
    _records: dict[RunId, list[HistoryRecord]] = field(default_factory=dict)
    _history: list[tuple[RunId, int, bytes]] = field(default_factory=list)
    _answers: dict[CommandId, bytes] = field(default_factory=dict)
    _ages: list[tuple[int, CommandId]] = field(default_factory=list)
    _parked: dict[int, bytes | None] = field(default_factory=dict)

    def run(self, run_id: RunId) -> Run | None:
        """See `Lookup`."""
        return self._runs.get(run_id) or self.below.run(run_id)

    def newest_run_id(self, namespace: Namespace, workflow_id: WorkflowId) -> RunId | None:
        """See `Lookup`."""
        return self._newest.get(workflow_key(namespace, workflow_id)) or self.below.newest_run_id(namespace, workflow_id)

    def answer(self, command_id: CommandId) -> bytes | None:
        """See `Lookup`."""
        return self._answers.get(command_id) or self.below.answer(command_id)

    def records(self, run_id: RunId, from_seq: int, limit: int) -> list[HistoryRecord]:
        """See `Lookup`."""
        own = self._records.get(run_id, [])
        if own and own[0].seq <= from_seq:
            skipped = from_seq - own[0].seq
            return own[skipped : skipped + limit]
        return (self.below.records(run_id, from_seq, limit) + own)[:limit]

    def parked(self, offset: int) -> bytes | None:
        """See `Lookup`."""
        return self._parked[offset] if offset in self._parked else self.below.parked(offset)

    def entries(self, prefix: bytes) -> Iterable[bytes]:
        """See `Lookup`."""
        removed, added = self._reindexed()
        kept = {entry for entry in self.below.entries(prefix) if entry not in removed}
        return sorted(kept.union(entry for entry in added if entry.startswith(prefix)))

    def _reindexed(self) -> tuple[set[bytes], list[bytes]]:
        """The index entries that are gone, and those that are new: once for each run, however often it changed."""
        removed: set[bytes] = set()
        added: list[bytes] = []
        for run_id, before in self._runs_before.items():
            gone, new = reindexed(before, self._runs[run_id])
            removed.update(gone)
            added.extend(new)
        return removed, added

    def fold_run_event(self, before: Run | None, record: HistoryRecord, value: bytes) -> Run:
        """Apply an event to the run as it is here, whose record has these bytes; returns the run after it."""
        run_id = record.run_id
        after = self._runs[run_id] = apply_to_run(before, record, len(value))
        self._history.append((run_id, record.seq, value))
        if (records := self._records.get(run_id)) is None:
            self._records[run_id] = [record]
            self._runs_before.setdefault(run_id, before)
            if before is None:
                self._newest[workflow_key(record.namespace, record.workflow_id)] = run_id
        else:
            records.append(record)
        if record.cause is not None:
            self._owe_answers(record)
        if before is not None and (before.activities or after.activities):
            for message in to_workers(before, record, after, self.number, self._input_of):
                self.owing.append(_for_workers(message, after))
        return after

    def _owe_answers(self, record: HistoryRecord) -> None:
        for answered in answers_of(record):
            if _is_known_by_its_run(answered.answer):
                self.owing.append(answered)
            else:
                self.fold_answer(answered, record.recorded_at)

    def sends(self, which: slice = EVERYTHING) -> tuple[OwedSend, ...]:
        """What is owed, in order, ready to leave. `which`: of `owing`."""
        sends: list[OwedSend] = []
        for owing in self.owing[which]:
            match owing:
                case ForWorkers(topic=topic, message=message):
                    sends.append(OwedSend(topic=topic, partition=None, key=key_of(message), value=encode(message)))
                case RecordedAnswer():
                    if owing.reply_partition is not None:
                        sends.append(_reply(owing, encode(Reply(command_id=owing.command_id, answer=owing.answer))))
                case OwedSend():
                    sends.append(owing)
                case _:
                    assert_never(owing)
        return tuple(sends)

    def _input_of(self, run_id: RunId, seq: int) -> Payload | None:
        (scheduled,) = self.records(run_id, seq, 1)
        assert isinstance(scheduled.event, ActivityScheduled), "an activity remembers where it was scheduled"
        return scheduled.event.input

    def _fold_heartbeat(self, beat: Heartbeat, recorded_at: int) -> None:
        run = self.run(beat.run_id)
        assert run is not None, "a heartbeat was recorded of a run that waits for it"
        self._runs_before.setdefault(beat.run_id, run)
        self._runs[beat.run_id] = beaten(run, beat, recorded_at)

    def fold_partition_event(self, event: PartitionEvent, recorded_at: int) -> None:
        """What an event of the partition itself changes beside the partition's own state."""
        match event:
            case Progress(answers=answers):
                for answered in answers:
                    self.fold_answer(answered, recorded_at)
            case StartParked(offset=offset, command=command):
                self._parked[offset] = encode(command)
            case StartReleased(offset=offset):
                self._parked[offset] = None
            case HeartbeatsReceived(heartbeats=heartbeats):
                for beat in heartbeats:
                    self._fold_heartbeat(beat, recorded_at)
            case DeadLettered():
                self.owing.append(_letter(event))
            case OwnerEpoch() | CatalogApplied():
                pass
            case _:
                assert_never(event)

    def fold_answer(self, answered: RecordedAnswer, recorded_at: int) -> int:
        """Owe the reply, and remember it for repeats; the answer of an accepted start needs no memory but its run. Returns
        the bytes of the reply."""
        answer = answered.answer
        is_remembered = not (_is_known_by_its_run(answer) or _is_transient(answered.command_id, answer))
        if not is_remembered and answered.reply_partition is None:
            return 0
        value = encode(Reply(command_id=answered.command_id, answer=answer))
        if is_remembered:
            self._answers[answered.command_id] = value
            self._ages.append((recorded_at, answered.command_id))
        if answered.reply_partition is not None:
            self.owing.append(_reply(answered, value))
        return len(value)

    def changed_run(self, run_id: RunId) -> Run | None:
        """The run, if these records changed it."""
        return self._runs.get(run_id)

    @property
    def changed_runs(self) -> Iterable[Run]:
        """The runs that these records changed, as they are now."""
        return self._runs.values()

    def writes(self, meta: Meta, outbox: dict[int, tuple[OwedSend, ...]]) -> Writes:
        """What goes into the store once the log has these records up to `meta.offset`. `outbox`: sends by offset."""
        removed, added = self._reindexed()
        return Writes(
            meta=meta,
            runs=self._runs,
            newest=self._newest,
            history=self._history,
            answers=self._answers,
            ages=self._ages,
            parked=self._parked,
            outbox=outbox,
            entries_added=added,
            entries_removed=removed,
        )


def _is_known_by_its_run(answer: Answer) -> bool:
    return isinstance(answer, StartAccepted) and answer.created


def _is_transient(command_id: CommandId, answer: Answer) -> bool:
    """Whether a repeat should be decided anew: `overloaded` asks for one (docs/adr/0008), except of who does not hear it; the
    pins of a version are counted once for each attempt, which has a number of its own."""
    is_overloaded = isinstance(answer, Rejection) and answer.code is RejectionCode.OVERLOADED
    return isinstance(answer, PinsReported) or (is_overloaded and ingress_place_of(command_id) is None)


def _for_workers(message: Task | CancelTasks, run: Run) -> ForWorkers:
    match message:
        case Task(activity=activity):
            return ForWorkers(tasks_noun(run.activities[activity].queue), message)
        case CancelTasks():
            return ForWorkers(CONTROL, message)
        case _:
            assert_never(message)


def _reply(answered: RecordedAnswer, value: bytes) -> OwedSend:
    return OwedSend(topic=REPLIES, partition=answered.reply_partition, key=answered.command_id.encode(), value=value)


def _letter(event: DeadLettered) -> OwedSend:
    unusable = Unusable(
        topic=event.topic,
        partition=event.partition,
        offset=event.offset,
        reason=event.reason,
        key=event.key,
        value=event.value,
        value_bytes=event.value_bytes,
    )
    letter = dead_letter(Topics(""), unusable)
    return OwedSend(topic=letter.topic, partition=letter.partition, key=letter.key, value=letter.value, headers=letter.headers)
