"""What stands in the topics, read as it is written, and the sentences of ARCHITECTURE.md held against it at once.

An observer that knows records and nothing of the services: histories, commands, catalog and replies of the whole cluster.
A broken sentence is a `Broken`; the world shows the last records with it.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from aion_common.errors import BadRecord
from aion_common.ids import (
    NO_RUN,
    CommandId,
    RunId,
    Version,
    WorkflowType,
    ingress_command_id,
    ingress_place_of,
    run_id_of,
)
from aion_common.kafka.api import LogRecord
from aion_common.kafka.topics import DEAD_LETTER_PARTITIONS, Topics
from aion_common.limits import CANCEL_GRACE_MS, CLOCK_SKEW_MS_MAX
from aion_common.records.catalog import CatalogRecord, CommandAnswered, CommandSkipped, TypesRouted
from aion_common.records.commands import (
    CancelRun,
    CatalogMarker,
    Command,
    IdConflict,
    MarkerBody,
    SignalRun,
    StartRun,
    TerminateRun,
    VersionClosing,
    VersionKept,
    VersionRouted,
    VersionUnloaded,
)
from aion_common.records.events import (
    CatalogApplied,
    DeadLettered,
    HeartbeatsReceived,
    HistoryRecord,
    OwnerEpoch,
    Progress,
    RunBlocked,
    RunCancelled,
    RunCancelRequested,
    RunCompleted,
    RunFailed,
    RunStarted,
    RunTerminated,
    RunTimedOut,
    SignalReceived,
    StartParked,
    StartReleased,
    TurnCommand,
    TurnEnded,
    WaitKind,
)
from aion_common.records.replies import (
    Answer,
    CancelAccepted,
    Rejection,
    RejectionCode,
    SignalAccepted,
    StartAccepted,
    TerminateAccepted,
)
from aion_common.testing.memory_cluster import MemoryCluster, MemoryPartition
from aion_common.wire import chain_of, decode
from aion_common.wire.history import CHAIN_START
from simulation.programs import EARLY, GO_ON_BY_THEMSELVES, LATE, MAY_BE_BLOCKED
from simulation.work import Work

TRANSIENT = frozenset({RejectionCode.OVERLOADED, RejectionCode.UNAVAILABLE})
TERMINAL = (RunCompleted, RunFailed, RunCancelled, RunTerminated, RunTimedOut)

CLOCKS_APART_MS_MAX = 2 * CLOCK_SKEW_MS_MAX
"""By so much two owners, both accepted, may differ about the time, and one of them and a broker behind the other."""


Place = tuple[str, int, int]
"""Where a record stands: topic without its prefix, partition, offset."""


COMMANDS = "commands"
INGRESS = "ingress"
CATALOG_COMMANDS = "catalog.commands"


class Broken(AssertionError):
    """A sentence that must stay true is not."""


@dataclass(slots=True)
class SeenRun:
    """A run so far."""

    run_id: RunId
    workflow: tuple[str, str]
    workflow_type: WorkflowType
    version: Version
    partition: int
    started: RunStarted
    started_at: int
    cancel: RunCancelRequested | None = None
    cancel_seq: int = 0
    seq: int = 0
    chain: bytes = CHAIN_START
    newest_input: int = 1
    observed: int = 0
    wait: WaitKind | None = None
    is_blocked: bool = False
    ended_by: object | None = None

    @property
    def is_restless(self) -> bool:
        """Whether it has something to do, so that it will not stay as it is."""
        goes_on = self.workflow_type in GO_ON_BY_THEMSELVES and self.wait is WaitKind.RECEIVE
        return not self.is_blocked and (goes_on or self.newest_input > self.observed)


@dataclass(slots=True)
class Shelf:
    """One partition: its commands, the routes at each of them, and its history. `replaced`: the workflow id whose run was just
    terminated for another to take its place."""

    number: int
    commands: dict[int, Command] = field(default_factory=dict)
    routed: dict[int, Version | None] = field(default_factory=dict)
    routes: dict[WorkflowType, Version] = field(default_factory=dict)
    owner_epoch: int = -1
    refused_epoch: int = -1
    recorded_at: int = 0
    commands_next: int = 0
    results_next: int = 0
    sent_through: int = -1
    decided: set[CommandId] = field(default_factory=set)
    loaded: dict[Version, tuple[WorkflowType, ...]] = field(default_factory=dict)
    closing: VersionClosing | None = None
    parked: list[int] = field(default_factory=list)
    replaced: tuple[str, str] | None = None


@dataclass(slots=True)
class Ledger:
    """`heard` is told of every reply. `answers`: of every decided command the answer that is durable; `owed`: how often
    it was recorded, `replied`: how often it left. `flips`: of each type, route epoch and version. `junk`: records that are no
    commands; `skipped`: those of which a history says so; `letters`: those of which a copy is in the dead letters. `counts`:
    what happened how often."""

    cluster: MemoryCluster
    topics: Topics
    partitions: int
    replies_to: Sequence[int]
    heard: Callable[[CommandId, Answer], None]
    shelves: list[Shelf] = field(default_factory=list)
    runs: dict[RunId, SeenRun] = field(default_factory=dict)
    open: dict[tuple[str, str], RunId] = field(default_factory=dict)
    answers: dict[CommandId, Answer] = field(default_factory=dict)
    passing: dict[CommandId, list[Answer]] = field(default_factory=dict)
    owed: Counter[CommandId] = field(default_factory=Counter)
    replied: Counter[CommandId] = field(default_factory=Counter)
    flips: dict[WorkflowType, list[tuple[int, Version]]] = field(default_factory=dict)
    route_epoch: int = 0
    epoch_after: dict[CommandId, int] = field(default_factory=dict)
    junk: set[Place] = field(default_factory=set)
    skipped: set[Place] = field(default_factory=set)
    letters: set[Place] = field(default_factory=set)
    counts: Counter[str] = field(default_factory=Counter)
    broken: Broken | None = None
    work: Work = field(init=False)
    _next: dict[tuple[str, int], int] = field(default_factory=dict)
    _there: dict[tuple[str, int], MemoryPartition] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.shelves = [Shelf(number) for number in range(self.partitions)]
        self.work = Work(self._promise, CLOCKS_APART_MS_MAX, self.counts)

    def overhear(self) -> None:
        """As `read`, from within a service: what is broken is remembered, and told by the next `read`."""
        try:
            self.read()
        except Broken as error:
            self.broken = self.broken or error

    def read(self) -> None:
        """Take in what is new everywhere. Raises Broken."""
        if self.broken is not None:
            raise self.broken
        for record in self._new(self.topics.catalog_commands, 0):
            if _decoded(record) is None:
                self.junk.add((CATALOG_COMMANDS, 0, record.offset))
        for record in self._new(self.topics.catalog, 0):
            self._take_catalog(decode(record.value))
        for shelf in self.shelves:
            for record in self._new(self.topics.commands, shelf.number):
                self._take_command(shelf, record.offset, _decoded(record))
            for record in self._new(self.topics.results, shelf.number):
                self.work.take_report(decode(record.value))
            for record in self._new(self.topics.history, shelf.number):
                self._take_history(shelf, record, decode(record.value))
        for queue in (EARLY, LATE):
            if self.topics.tasks(queue) in self.cluster.topics:
                for shelf in self.shelves:
                    for record in self._new(self.topics.tasks(queue), shelf.number):
                        self.work.take_task(queue, shelf.number, decode(record.value))
        for partition in range(DEAD_LETTER_PARTITIONS):
            for record in self._new(self.topics.deadletter, partition):
                self._take_letter(record)
        for partition in self.replies_to:
            for record in self._new(self.topics.replies, partition):
                reply = decode(record.value)
                self._take_reply(reply.command_id, reply.answer)

    def _new(self, topic: str, partition: int) -> Sequence[LogRecord]:
        place = (topic, partition)
        there = self._there.get(place)
        if there is None:
            there = self._there[place] = self.cluster.partition(topic, partition)
        first = self._next.get(place, 0)
        if there.end == first:
            return ()
        first, stable = max(first, there.start), there.stable
        self._next[place] = stable
        return [slot for slot in there.slots[first - there.start : stable - there.start] if slot is not None]

    # The catalog.

    def _take_catalog(self, record: CatalogRecord) -> None:
        match record.event:
            case TypesRouted(types=types, version=version, route_epoch=epoch):
                self._promise(epoch == self.route_epoch + 1, "route epochs grow by one")
                self.route_epoch = epoch
                for workflow_type in types:
                    self.flips.setdefault(workflow_type, []).append((epoch, version))
            case CommandAnswered(command_id=command_id, answer=answer):
                self._answered(command_id, answer, "the catalog")
                self.epoch_after.setdefault(command_id, self.route_epoch)
            case CommandSkipped(offset=offset):
                self._promise((CATALOG_COMMANDS, 0, offset) in self.junk, f"what is at {offset} is a command of the catalog")
                self.skipped.add((CATALOG_COMMANDS, 0, offset))
            case _:
                pass
        self.counts[type(record.event).__name__] += 1

    # Commands, as a second opinion on routes.

    def _take_command(self, shelf: Shelf, offset: int, record: object) -> None:
        if record is None:
            self.junk.add((COMMANDS, shelf.number, offset))
        elif isinstance(record, Command):
            shelf.commands[offset] = record
            if isinstance(record.body, StartRun):
                shelf.routed[offset] = record.body.version or shelf.routes.get(record.body.workflow_type)
        elif isinstance(record, CatalogMarker) and isinstance(record.body, VersionRouted):
            shelf.routes.update(dict.fromkeys(record.body.routed_types, record.body.version))

    # Histories.

    def _take_history(self, shelf: Shelf, read: LogRecord, record: HistoryRecord) -> None:
        event = record.event
        where = f"history {shelf.number} offset {read.offset}"
        if isinstance(event, OwnerEpoch):
            shelf.owner_epoch = read.offset
            self._owned(shelf, read, event)
        elif record.owner_epoch != shelf.owner_epoch:
            self.counts["void"] += 1
            return
        self.counts[type(event).__name__] += 1
        self._promise(record.owner_epoch in {-1, shelf.owner_epoch}, f"{where}: written under the newest epoch")
        self._promise(
            record.owner_epoch != shelf.refused_epoch or record.owner_epoch == -1, f"{where}: a wrong clock does not own"
        )
        if not isinstance(event, OwnerEpoch):
            self._promise(record.recorded_at >= shelf.recorded_at, f"{where}: time does not go back")
            ahead_ms = record.recorded_at - read.timestamp_ms
            self._promise(ahead_ms <= CLOCKS_APART_MS_MAX, f"{where}: it was recorded {ahead_ms} ms from now")
            shelf.recorded_at = record.recorded_at
        if record.run_id != NO_RUN:
            self._take_run_event(shelf, where, read, record)
        else:
            self._take_partition_event(shelf, where, read.offset, record)

    def _take_partition_event(self, shelf: Shelf, where: str, offset: int, record: HistoryRecord) -> None:
        match record.event:
            case Progress() as event:
                self._promise(event.commands_next >= shelf.commands_next, f"{where}: decided commands stay decided")
                behind = shelf.sent_through <= event.sent_through < offset
                self._promise(behind, f"{where}: the watermark grows, behind the log")
                self._promise(event.results_next >= shelf.results_next, f"{where}: decided results stay decided")
                shelf.commands_next, shelf.sent_through = event.commands_next, event.sent_through
                shelf.results_next = event.results_next
                for answered in event.answers:
                    self._answered(answered.command_id, answered.answer, where)
            case HeartbeatsReceived() as event:
                self.work.take_heartbeats(where, event)
            case CatalogApplied(marker=marker):
                self._applied(shelf, where, marker)
            case StartParked(offset=at, command=command):
                self._promise(shelf.commands.get(at) == command, f"{where}: what is parked is the command at {at}")
                closing = None if shelf.closing is None else shelf.closing.version
                named = isinstance(command.body, StartRun) and command.body.version == closing is not None
                self._promise(named, f"{where}: only starts that name the closing version are parked")
                shelf.parked.append(at)
            case StartReleased(offset=at):
                self._promise(shelf.closing is None, f"{where}: what is parked waits for the verdict")
                self._promise(shelf.parked[:1] == [at], f"{where}: what was parked is decided in order: {shelf.parked}")
                shelf.parked.remove(at)
            case DeadLettered(topic=topic, partition=partition, offset=at) if topic == INGRESS:
                self._refused(where, (topic, partition, at))
            case DeadLettered(offset=at):
                self._promise((COMMANDS, shelf.number, at) in self.junk, f"{where}: what is at {at} is no command")
                self.skipped.add((COMMANDS, shelf.number, at))
            case _:
                pass

    def _refused(self, where: str, place: Place) -> None:
        """A history says that a foreign producer's wish was refused; the answer stands before it in the same batch."""
        _, partition, at = place
        refused = isinstance(self.answers.get(ingress_command_id(partition, at)), Rejection)
        self._promise(refused, f"{where}: what is told as refused was refused: {place}")
        self._promise(place not in self.skipped, f"{where}: a refusal is told once: {place}")
        self.skipped.add(place)
        self.junk.add(place)
        self.counts["refused ingress"] += 1

    def _applied(self, shelf: Shelf, where: str, marker: MarkerBody) -> None:
        match marker:
            case VersionRouted(version=version, types=types):
                shelf.loaded[version] = types
            case VersionClosing():
                self._promise(marker.version in shelf.loaded, f"{where}: what is closed was loaded")
                shelf.closing = marker
            case VersionKept():
                shelf.closing = None
            case VersionUnloaded(version=version):
                shelf.closing = None
                needed = (version, shelf.number)
                needing = [
                    run.run_id for run in self.runs.values() if (run.version, run.partition) == needed and run.ended_by is None
                ]
                self._promise(not needing, f"{where}: version {version[:1]} is unloaded, but needed by {needing}")
                shelf.loaded.pop(version, None)

    def _owned(self, shelf: Shelf, read: LogRecord, event: OwnerEpoch) -> None:
        # A clock that is behind looks like a claim that took long.
        if event.clock_ms - read.timestamp_ms > CLOCK_SKEW_MS_MAX:
            self.counts["wrong clock"] += 1
            shelf.refused_epoch = read.offset

    def _take_run_event(self, shelf: Shelf, where: str, read: LogRecord, record: HistoryRecord) -> None:
        event = record.event
        if isinstance(event, RunStarted):
            self._started(shelf, where, record, event)
        elif shelf.replaced is not None:
            raise Broken(f"{where}: a run of {shelf.replaced} was replaced, but no other was started")
        run = self.runs.get(record.run_id)
        if run is None:
            raise Broken(f"{where}: the first event of a run is RunStarted")
        self._promise(record.seq == run.seq + 1, f"{where}: events of a run have no gap")
        self._promise(record.chain == chain_of(record, run.chain), f"{where}: the chain covers the events before it")
        self._promise(run.ended_by is None, f"{where}: nothing follows a terminal event")
        run.seq, run.chain = record.seq, record.chain
        self._take_end(shelf, where, read.timestamp_ms, record, run)
        match event:
            case SignalReceived():
                run.newest_input = record.seq
                self._signalled(shelf, where, record, event)
            case RunCancelRequested():
                run.newest_input = record.seq
                self._promise(run.cancel is None, f"{where}: a run is asked to cancel once")
                run.cancel, run.cancel_seq = event, record.seq
                in_time = event.deadline_ms == record.recorded_at + CANCEL_GRACE_MS
                self._promise(in_time, f"{where}: the deadline is when the grace is over")
                command = self._cause(shelf, where, record, CancelRun)
                self._answered(command.command_id, CancelAccepted(run_id=run.run_id, seq=record.seq), where)
            case TurnEnded() | RunCompleted() | RunFailed():
                self._observed(where, record, run, event)
            case event if isinstance(event, TurnCommand) and event.turn is not None:
                self._observed(where, record, run, event.turn)
            case RunBlocked(found=found):
                run.is_blocked = True
                may = run.workflow_type in MAY_BE_BLOCKED or "VM died" in found
                self._promise(may, f"{where}: a deterministic {run.workflow_type} was blocked: {event}")
            case _:
                pass
        if self.work.take_event(where, run.run_id, event, read.timestamp_ms):
            run.newest_input = record.seq
        if isinstance(event, TERMINAL):
            self._closed(run, event)

    def _observed(self, where: str, record: HistoryRecord, run: SeenRun, end: TurnEnded | RunCompleted | RunFailed) -> None:
        self._promise(run.observed <= end.observed_seq < record.seq, f"{where}: a turn observes what was there")
        run.observed, run.wait = end.observed_seq, end.wait if isinstance(end, TurnEnded) else None

    def _closed(self, run: SeenRun, event: object) -> None:
        self.work.end_run(run.run_id)
        run.ended_by = event
        if self.open.get(run.workflow) == run.run_id:
            del self.open[run.workflow]

    def _take_end(self, shelf: Shelf, where: str, now_ms: int, record: HistoryRecord, run: SeenRun) -> None:
        """Ends from outside: somebody asked for them, or their time has come."""
        match record.event:
            case RunTerminated() if record.cause is None:
                shelf.replaced = run.workflow
            case RunTerminated():
                command = self._cause(shelf, where, record, TerminateRun)
                self._answered(command.command_id, TerminateAccepted(run_id=run.run_id, seq=record.seq), where)
            case RunTimedOut(timeout_ms=timeout_ms):
                self._promise(timeout_ms == run.started.run_timeout_ms, f"{where}: the time-out is that of the start")
                early_ms = run.started_at + timeout_ms - now_ms
                self._promise(early_ms <= CLOCKS_APART_MS_MAX, f"{where}: timed out {early_ms} ms early")
            case RunCancelled(observed_seq=observed):
                if run.cancel is None:
                    raise Broken(f"{where}: who is cancelled was asked to cancel")
                early_ms = run.cancel.deadline_ms - now_ms
                in_time = early_ms <= CLOCKS_APART_MS_MAX if observed is None else observed >= run.cancel_seq
                self._promise(in_time, f"{where}: cancelled {early_ms} ms early, having observed {observed}")
            case _:
                pass

    def _started(self, shelf: Shelf, where: str, record: HistoryRecord, event: RunStarted) -> None:
        workflow = (record.namespace, record.workflow_id)
        command = self._cause(shelf, where, record, StartRun)
        self._promise(record.run_id not in self.runs, f"{where}: a run starts once")
        self._promise(workflow not in self.open, f"{where}: a workflow id has one open run")
        expected = run_id_of(record.namespace, record.workflow_id, command.command_id)
        self._promise(record.run_id == expected, f"{where}: the run id follows from the command")
        assert record.cause is not None
        assert isinstance(command.body, StartRun)
        version = shelf.routed.get(record.cause.offset)
        self._promise(event.version == version, f"{where}: a start runs on the version routed at its position, {version}")
        self._promise(event.workflow_type == command.body.workflow_type, f"{where}: the type is the command's")
        self._promise(event.input == command.body.input, f"{where}: the input is the command's")
        self._promise(event.run_timeout_ms == command.body.run_timeout_ms, f"{where}: the time-out is the command's")
        self._promise(event.workflow_type in shelf.loaded.get(event.version, ()), f"{where}: the version is loaded")
        is_closing = shelf.closing is not None and shelf.closing.version == event.version
        self._promise(not is_closing, f"{where}: nothing starts on a version that is closing")
        replaces = shelf.replaced is None or (
            shelf.replaced == workflow and command.body.id_conflict is IdConflict.TERMINATE_EXISTING
        )
        self._promise(replaces, f"{where}: a run of {shelf.replaced} was replaced, but not by this one")
        shelf.replaced = None
        self.runs[record.run_id] = SeenRun(
            record.run_id, workflow, event.workflow_type, event.version, shelf.number, event, record.recorded_at
        )
        self.open[workflow] = record.run_id
        accepted = StartAccepted(run_id=record.run_id, version=event.version, created=True)
        self._answered(command.command_id, accepted, where)

    def _signalled(self, shelf: Shelf, where: str, record: HistoryRecord, event: SignalReceived) -> None:
        command = self._cause(shelf, where, record, SignalRun)
        assert isinstance(command.body, SignalRun)
        same = (event.name, event.payload) == (command.body.name, command.body.payload)
        self._promise(same, f"{where}: the signal is the command's")
        self._promise(command.body.run_id in {None, record.run_id}, f"{where}: the signal is for this run")
        self._answered(command.command_id, SignalAccepted(run_id=record.run_id, seq=record.seq), where)

    def _cause(self, shelf: Shelf, where: str, record: HistoryRecord, body: type) -> Command:
        """The command behind an event: it stands where the event says, and is decided once."""
        cause = record.cause
        if cause is None:
            raise Broken(f"{where}: a client's event names its command")
        command = shelf.commands.get(cause.offset)
        if command is None or command.command_id != cause.command_id or not isinstance(command.body, body):
            raise Broken(f"{where}: {cause} is not what stands there: {command}")
        named = (command.namespace, command.workflow_id)
        self._promise(named == (record.namespace, record.workflow_id), f"{where}: the command is for this workflow id")
        self._promise(cause.command_id not in shelf.decided, f"{where}: {cause.command_id} is decided once")
        shelf.decided.add(cause.command_id)
        return command

    # Answers.

    def _answered(self, command_id: CommandId, answer: Answer, where: str) -> None:
        is_heard = ingress_place_of(command_id) is None
        self.owed[command_id] += is_heard
        if is_heard and isinstance(answer, Rejection) and answer.code in TRANSIENT:
            self.passing.setdefault(command_id, []).append(answer)
            return
        first = self.answers.setdefault(command_id, answer)
        self._promise(first == answer, f"{where}: {command_id} was answered {first} before, and now {answer}")

    def _take_reply(self, command_id: CommandId, answer: Answer) -> None:
        known: Any = self.answers.get(command_id)
        is_durable = known == answer or answer in self.passing.get(command_id, ())
        self._promise(is_durable, f"reply to {command_id} is {answer}, in the log is {known}")
        self.replied[command_id] += 1
        self.counts[_kind_of(answer)] += 1
        self.heard(command_id, answer)

    def _take_letter(self, record: LogRecord) -> None:
        headers = {name: text.decode() for name, text in record.headers}
        place = headers["aion-topic"], int(headers["aion-partition"]), int(headers["aion-offset"])
        self._promise(place in self.junk, f"dead letter of {place}, which is a command")
        self.letters.add(place)

    def _promise(self, is_kept: bool, sentence: str) -> None:
        if not is_kept:
            raise Broken(sentence)


def _decoded(record: LogRecord) -> object:
    try:
        read: object = decode(record.value)
    except BadRecord:
        return None
    return read


def _kind_of(answer: Answer) -> str:
    match answer:
        case Rejection(code=code):
            return f"refused {code.value}"
        case StartAccepted(created=False):
            return "StartAccepted existing"
        case _:
            return type(answer).__name__
