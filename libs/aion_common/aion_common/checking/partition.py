"""One history, judged with the commands behind it: owners, batches, order, versions at their position, starts that wait. Pure.

Commands and markers take effect in the order of their topic, each at its position; what is in a history without its command
being there any more (owners delete what is old) is judged as far as that goes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from aion_common.checking.answers import Answers, answer_in
from aion_common.checking.catalog import CatalogHistory, names
from aion_common.checking.report import Report
from aion_common.checking.run import RunHistory
from aion_common.ids import NO_RUN, CommandId, RunId, ingress_place_of
from aion_common.limits import ANSWERS_KEPT_MS
from aion_common.records.commands import CatalogMarker, Command, CommandRecord, IdConflict, MarkerBody, StartRun, VersionClosing
from aion_common.records.events import (
    CatalogApplied,
    DeadLettered,
    HeartbeatsReceived,
    HistoryRecord,
    OwnerEpoch,
    Progress,
    RunCancelRequested,
    RunStarted,
    RunTerminated,
    SignalReceived,
    StartParked,
    StartReleased,
)
from aion_common.records.replies import (
    Answer,
    CancelAccepted,
    PinKind,
    PinsReported,
    Rejection,
    SignalAccepted,
    StartAccepted,
    TerminateAccepted,
)

COMMANDS = "commands"
"""How causes and dead letters name the commands topic, whatever its prefix."""

INGRESS = "ingress"
"""How dead letters name the topic that foreign producers write."""

_OPEN_PINS = frozenset({PinKind.LIVE_RUN, PinKind.RECOVERABLE_RUN})


@dataclass(slots=True)
class _Batch:
    """The append that is being read. `first`: the offset of its Progress; `decides_from`: of its first command."""

    first: int = -1
    decides_from: int = 0
    answers: dict[CommandId, Answer] = field(default_factory=dict)
    decided: set[CommandId] = field(default_factory=set)
    released: dict[int, CommandId] = field(default_factory=dict)


@dataclass(slots=True)
class PartitionHistory:
    """One history so far. `commands`: what stands in its partition of commands, by offset. `position`: the offset of the
    newest command or marker that took effect."""

    number: int
    report: Report
    commands: Mapping[int, CommandRecord]
    owner_epoch: int = -1
    recorded_at: int = 0
    commands_next: int = 0
    results_next: int = 0
    sent_through: int = -1
    position: int = -1
    catalog: CatalogHistory = field(default_factory=CatalogHistory)
    runs: dict[RunId, RunHistory] = field(default_factory=dict)
    open: dict[tuple[str, str], RunId] = field(default_factory=dict)
    _batch: _Batch = field(default_factory=_Batch)
    _answers: Answers = field(default_factory=Answers)
    _decided_at: dict[CommandId, int] = field(default_factory=dict)
    _letters: set[tuple[str, int, int]] = field(default_factory=set)
    _making_room: tuple[str, str] | None = None
    _halfway: RunId | None = None

    def take(self, offset: int, record: HistoryRecord, value: bytes) -> None:
        """The next record, and its bytes."""
        event = record.event
        if not isinstance(event, OwnerEpoch) and record.owner_epoch != self.owner_epoch:
            self.report.void += 1
            return
        self.report.events += 1
        room_for, self._making_room = self._making_room, None
        is_taken = isinstance(event, RunStarted) and (record.namespace, record.workflow_id) == room_for
        self._promise(offset, room_for is None or is_taken, "a run that no command ends makes room for a start at once")
        halfway, self._halfway = self._halfway, None
        self._promise(offset, halfway in {None, record.run_id}, f"a turn of run {halfway} stands together, with what it causes")
        if isinstance(event, OwnerEpoch):
            # Its time is the claimant's, who has not read yet what the owner before has written.
            self._promise(offset, record.owner_epoch == -1, "an OwnerEpoch has the owner epoch -1")
            self.finish()
            self.owner_epoch = offset
            return
        self._promise(offset, record.recorded_at >= self.recorded_at, "time does not go back")
        self.recorded_at = record.recorded_at
        if record.run_id != NO_RUN:
            self._take_of_run(offset, record, value, room_for)
        else:
            self._take_of_partition(offset, record)

    def finish(self) -> None:
        """The batch being read has ended: what it owed must be there. Called for the last one by whoever reads."""
        batch, self._batch = self._batch, _Batch(decides_from=self.commands_next)
        if batch.first < 0:
            return
        self._promise(batch.first, self._halfway is None, f"a turn of run {self._halfway} is there as a whole")
        for parked, command_id in batch.released.items():
            is_decided = command_id in batch.decided
            self._promise(batch.first, is_decided, f"the start released at {parked} is decided in the same batch")
        for command_id, answer in batch.answers.items():
            is_told = not isinstance(answer, Rejection) or self._is_told(command_id)
            self._promise(batch.first, is_told, f"the refusal of {command_id} is in the dead letters")
            self._promise(batch.first, self._is_true(answer), f"an answer says what is in the history, not {answer}")
        for passed in range(batch.decides_from, self.commands_next):
            match self.commands.get(passed):
                case CatalogMarker(body=marker) if self.catalog.is_news(marker):
                    self._promise(batch.first, False, f"the marker at {passed} takes effect: {marker}")
                case _:
                    pass

    def _take_of_partition(self, offset: int, record: HistoryRecord) -> None:
        match record.event:
            case Progress() as progress:
                self._began(offset, progress, record.recorded_at)
            case HeartbeatsReceived(heartbeats=heartbeats):
                for beat in heartbeats:
                    run = self.runs.get(beat.run_id)
                    is_present = run is not None and run.waits.beaten(beat.activity, beat.attempt, record.recorded_at)
                    about = f"attempt {beat.attempt} of activity {beat.activity} of run {beat.run_id}"
                    self._promise(offset, is_present, f"a heartbeat is of a present attempt, but {about} is none")
            case CatalogApplied(marker=marker):
                self._applied(offset, marker)
            case StartParked(offset=parked, command=command):
                self._moves(offset, parked, command.command_id)
                self._promise_each(offset, self.catalog.park(parked, command))
                self._batch.decided.add(command.command_id)
                self.report.parked += 1
            case StartReleased(offset=parked):
                waited = self.catalog.parked.get(parked)
                self._promise_each(offset, self.catalog.release(parked))
                if waited is not None:
                    self.report.parked -= 1
                    self._batch.released[parked] = waited.command_id
            case DeadLettered(topic=topic, partition=partition, offset=lettered):
                place = (topic, partition, lettered)
                self._promise(offset, place not in self._letters, "a record that cannot be used is told once")
                if topic == COMMANDS and lettered not in self.commands:
                    self.position = max(self.position, lettered)
                self._letters.add(place)
                self.report.letters += 1
            case _:
                pass

    def _began(self, offset: int, progress: Progress, recorded_at: int) -> None:
        self.finish()
        self._promise(offset, progress.commands_next >= self.commands_next, "decided commands stay decided")
        self._promise(offset, progress.results_next >= self.results_next, "decided results stay decided")
        self._promise(offset, self.sent_through <= progress.sent_through < offset, "the watermark grows, behind the log")
        self._batch.first = offset
        self.commands_next, self.sent_through = progress.commands_next, progress.sent_through
        self.results_next = progress.results_next
        for answered in progress.answers:
            self._batch.answers[answered.command_id] = answered.answer
            self._answered(offset, answered.command_id, answered.answer, recorded_at)

    def _answered(self, offset: int, command_id: CommandId, answer: Answer, recorded_at: int) -> None:
        is_first_or_same = self._answers.take(command_id, answer, recorded_at)
        self._promise(offset, is_first_or_same, f"a repeat of {command_id} gets the first answer")
        self._batch.decided.add(command_id)
        if isinstance(answer, StartAccepted | SignalAccepted | CancelAccepted | TerminateAccepted):
            self.report.answered[command_id] = answer.run_id

    def _is_told(self, command_id: CommandId) -> bool:
        """Whether whoever sent the refused command can know: nobody waits for an answer to a record of `aion.ingress`."""
        place = ingress_place_of(command_id)
        return place is None or (INGRESS, *place) in self._letters

    def _is_true(self, answer: Answer) -> bool:
        match answer:
            case StartAccepted(run_id=run_id, version=version):
                return run_id in self.runs and self.runs[run_id].version == version
            case CancelAccepted(run_id=run_id, seq=seq):
                return run_id in self.runs and self.runs[run_id].cancel_seq == seq
            case SignalAccepted(run_id=run_id, seq=seq) | TerminateAccepted(run_id=run_id, seq=seq):
                return run_id in self.runs and seq <= self.runs[run_id].seq
            case _:
                return True

    def _applied(self, offset: int, marker: MarkerBody) -> None:
        standing = [at for at in self._offsets_of(marker) if self.position < at < self.commands_next]
        if standing:
            self.position = standing[0]
        is_there = bool(standing) or not self._offsets_of(marker)
        self._promise(offset, is_there, "a marker takes effect at its position")
        open_runs = sum(self._is_on(run_id, marker) for run_id in self.open.values())
        for answer in self._batch.answers.values():
            if not isinstance(marker, VersionClosing) or not isinstance(answer, PinsReported):
                continue
            if answer.attempt == marker.attempt:
                told = sum(count.number for count in answer.counts if count.kind in _OPEN_PINS)
                self._promise(offset, told == open_runs, f"the pins reported are the {open_runs} open runs, not {told}")
        self._promise_each(offset, self.catalog.take_marker(marker, open_runs))

    def _offsets_of(self, marker: MarkerBody) -> list[int]:
        """Where it may stand, of what the batch has passed or was passed before."""
        first = self._batch.decides_from
        wanted = CatalogMarker(body=marker)
        return [at for at in range(first, self.commands_next) if self.commands.get(at) == wanted]

    def _is_on(self, run_id: RunId, marker: MarkerBody) -> bool:
        run = self.runs[run_id]
        return (run.workflow[0], run.version) == (marker.namespace, marker.version)

    def _take_of_run(self, offset: int, record: HistoryRecord, value: bytes, room_for: tuple[str, str] | None) -> None:
        workflow = (record.namespace, record.workflow_id)
        run = self.runs.setdefault(record.run_id, RunHistory(record.run_id, workflow))
        was_closed = run.is_closed
        self._promise_each(offset, run.take(record, value))
        self._halfway = run.run_id if run.waits.is_halfway else None
        match record.event:
            case RunStarted() as event:
                self._started(offset, record, event, room_for)
            case SignalReceived():
                self._caused(offset, record, self.report.signals)
            case RunCancelRequested():
                self._caused(offset, record, self.report.endings)
            case RunTerminated() if record.cause is not None:
                self._caused(offset, record, self.report.endings)
            case RunTerminated():
                self._making_room = workflow
            case _:
                pass
        if run.is_closed and not was_closed:
            self.report.closed += 1
            self.open.pop(workflow, None)

    def _started(self, offset: int, record: HistoryRecord, event: RunStarted, room_for: tuple[str, str] | None) -> None:
        workflow = (record.namespace, record.workflow_id)
        place = (record.namespace, event.version)
        self.report.runs += 1
        self._promise(offset, workflow not in self.open, "a workflow id has one open run")
        self.open[workflow] = record.run_id
        provided = self.catalog.versions.get(place, {})
        self._promise(offset, event.workflow_type in provided, "the version is loaded here and provides the type")
        self._promise(offset, place != self.catalog.closing_place, "no run starts on a version while it is closing")
        self._caused(offset, record, self.report.starts)
        command = self._command_of(record)
        if command is None or not isinstance(command.body, StartRun):
            return
        start = command.body
        if start.version is None:
            routed = self.catalog.routes.get((record.namespace, event.workflow_type))
            self._promise(offset, routed == event.version, "a start runs on the version routed at its position")
        else:
            self._promise(offset, names(command, place), "a start that names a version runs on it")
        timeout_ms = start.run_timeout_ms or provided.get(event.workflow_type)
        self._promise(offset, event.run_timeout_ms == timeout_ms, "a run has the time-out of its start, or of its package")
        may_replace = start.id_conflict is IdConflict.TERMINATE_EXISTING
        self._promise(offset, room_for is None or may_replace, "a start takes another run's place only if it says so")

    def _command_of(self, record: HistoryRecord) -> Command | None:
        """The command behind an event, if it is there still."""
        cause = record.cause
        if cause is None or cause.topic != COMMANDS:
            return None
        command = self.commands.get(cause.offset)
        return command if isinstance(command, Command) and command.command_id == cause.command_id else None

    def _caused(self, offset: int, record: HistoryRecord, by_command: dict[CommandId, RunId]) -> None:
        cause = record.cause
        self._promise(offset, cause is not None, "a client's event names its command")
        if cause is None:
            return
        command_id, answer = cause.command_id, answer_in(record)
        since_ms = record.recorded_at - self._decided_at.get(command_id, record.recorded_at)
        is_new = command_id not in by_command or since_ms > ANSWERS_KEPT_MS
        self._promise(offset, is_new, f"command {command_id} is decided once")
        by_command[command_id] = record.run_id
        self._decided_at[command_id] = record.recorded_at
        self._batch.decided.add(command_id)
        if answer is not None:
            is_first_or_same = self._answers.take(command_id, answer, record.recorded_at)
            self._promise(offset, is_first_or_same, f"a repeat of {command_id} gets the first answer")
        if cause.topic == COMMANDS and cause.offset not in self._batch.released:
            self._moves(offset, cause.offset, command_id)

    def _moves(self, offset: int, position: int, command_id: CommandId) -> None:
        """A command that stands at `position` is decided; nothing is said of one that is not there any more."""
        command = self.commands.get(position)
        if not isinstance(command, Command) or command.command_id != command_id:
            return
        self._promise(offset, position > self.position, "commands and markers are decided in their order")
        is_first = self.catalog.closing is not None or not self.catalog.parked
        self._promise(offset, is_first, "starts that waited for a verdict are decided before later commands")
        self.position = position

    def _promise_each(self, offset: int, broken: list[str]) -> None:
        for sentence in broken:
            self._promise(offset, False, sentence)

    def _promise(self, offset: int, is_kept: bool, sentence: str) -> None:
        if not is_kept:
            self.report.broken.append(f"history {self.number} offset {offset}: {sentence}")
