"""A twin of the VM pool: workflows are Python generators, and nothing happens until the test says `pump`.

A workflow yields how it waits, `("signal", name)`, `("result", number of a timer or activity)` or `("receive", None)`, is sent
the matching `(name, payload bytes)`, and returns its result as JSON bytes or raises. It also yields what it asks for
(`Request`), and is resumed at once. A request to cancel is thrown into a wait of the first two kinds. Replay goes turn by turn
over the recorded history, as the Erlang host does.
"""

from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import assert_never

from aion_beam.frames import QueryAnswer
from aion_beam.replay import is_input
from aion_common.ids import Namespace, Version
from aion_common.records.common import ActivityTimeouts, Backoff, RetryPolicy, json_payload
from aion_common.records.events import (
    ActivityCancelled,
    ActivityCompleted,
    ActivityFailed,
    ActivityScheduled,
    ActivityTimedOut,
    Event,
    Failure,
    HistoryRecord,
    RunCancelRequested,
    RunStarted,
    SignalReceived,
    TimerCancelled,
    TimerFired,
    TimerStarted,
    TurnCommand,
    TurnEnded,
    WaitKind,
)
from aion_common.turns import CancelActivity, CancelTimer, Request, ScheduleActivity, StartTimer
from aion_executor.core.inputs import Blocks, Cancels, Completes, Fails, Outcome, Waits
from aion_executor.core.run import Run
from aion_executor.shell.residents import TurnEnd

Wait = tuple[str, str | None]
Signal = tuple[str, bytes | None]
Body = Generator[Wait | Request, Signal, bytes]
Workflow = Callable[[Run], Body]


def park(run: Run) -> Body:
    """`receive _Any -> N end`, where N is the first digit of the version."""
    yield ("receive", None)
    return run.version[0].encode()


def two_signals(run: Run) -> Body:
    """Waits for `a`, then for `b`; returns both payloads."""
    del run
    _, first = yield ("signal", "a")
    _, second = yield ("signal", "b")
    return b"[" + (first or b"null") + b"," + (second or b"null") + b"]"


def at_once(run: Run) -> Body:
    """Completes in its first turn."""
    return run.version[0].encode()
    yield


def fails(run: Run) -> Body:
    """Fails in its first turn."""
    raise ValueError(run.workflow_type)
    yield


def tidies(run: Run) -> Body:
    """Waits for `a`; when asked to cancel, for `tidied`."""
    del run
    try:
        _, payload = yield ("signal", "a")
    except AskedToCancel:
        _, payload = yield ("signal", "tidied")
    return payload or b"null"


def sleeps(run: Run) -> Body:
    """Waits a second; a signal `a` does not wake it."""
    del run
    yield StartTimer(timer=1, delay_ms=1_000)
    yield ("result", "1")
    return b"1"


def calls(run: Run) -> Body:
    """Calls `step` twice, one after the other; returns both results."""
    del run
    results = []
    for number in (1, 2):
        yield activity(number)
        _, result = yield ("result", str(number))
        results.append(result or b"null")
    return b"[" + b",".join(results) + b"]"


def races(run: Run) -> Body:
    """Calls `step` and gives up on it after a second, or when it is asked to cancel."""
    del run
    yield activity(1)
    yield StartTimer(timer=2, delay_ms=1_000)
    try:
        name, result = yield ("result", "1 2")
    except AskedToCancel:
        yield CancelActivity(activity=1)
        yield ("signal", "tidied")
        raise
    yield CancelTimer(timer=2) if name == "1" else CancelActivity(activity=1)
    yield ("signal", "tidied")
    return result or b"null"


def hesitates(run: Run) -> Body:
    """Calls `step`, thinks better of it at once, and waits for `a`."""
    del run
    yield activity(1)
    yield CancelActivity(activity=1)
    _, payload = yield ("signal", "a")
    return payload or b"null"


def activity(number: int) -> ScheduleActivity:
    """A call with every time-out and three attempts."""
    retry = RetryPolicy(
        attempts=3, backoff=Backoff.EXPONENTIAL, initial_ms=100, max_ms=1_000, jitter_percent=10, non_retryable=("broken",)
    )
    timeouts = ActivityTimeouts(
        schedule_to_start_ms=60_000, start_to_close_ms=2_000, schedule_to_close_ms=120_000, heartbeat_ms=500
    )
    return ScheduleActivity(
        activity=number,
        activity_type="step",
        queue="default",
        input=json_payload(str(number).encode()),
        retry=retry,
        timeouts=timeouts,
    )


class AskedToCancel(Exception):
    """`{aion_cancelled, Reason}`."""

    def __init__(self, reason: str | None) -> None:
        super().__init__(reason)
        self.reason = reason


CODE: dict[str, Workflow] = {
    "park": park,
    "two_signals": two_signals,
    "at_once": at_once,
    "fails": fails,
    "tidies": tidies,
    "sleeps": sleeps,
    "calls": calls,
    "races": races,
    "hesitates": hesitates,
}


@dataclass(slots=True)
class Process:
    """A run inside the twin."""

    body: Body
    mailbox: deque[Signal | AskedToCancel] = field(default_factory=deque)
    waits: Wait | None = None
    began: bool = False
    given: int = 0
    requests: list[Request] = field(default_factory=list)
    """Of the present turn."""

    def go_on(self) -> Outcome:
        """Run until it waits with nothing fitting in the mailbox, or ends."""
        try:
            if not self.began:
                self.began = True
                self.waits = self._waiting(next(self.body))
            while self.waits is not None and (given := self._take(self.waits)) is not None:
                thrown = isinstance(given, AskedToCancel)
                self.waits = self._waiting(self.body.throw(given) if thrown else self.body.send(given))  # type: ignore[arg-type]
        except StopIteration as end:
            return Completes(result=json_payload(end.value))
        except AskedToCancel as request:
            return Cancels(reason=request.reason)
        except ValueError as error:
            return Fails(failure=Failure(kind="error", message=str(error), details=None))
        assert self.waits is not None, "a process that did not end waits"
        kind, name = self.waits
        return Waits(wait=WaitKind(kind), name=name)

    def _waiting(self, said: Wait | Request) -> Wait:
        while not isinstance(said, tuple):
            self.requests.append(said)
            said = next(self.body)
        return said

    def _take(self, wait: Wait) -> Signal | AskedToCancel | None:
        for given in self.mailbox:
            if _ends(given, wait):
                self.mailbox.remove(given)
                return given
        return None


def _ends(given: Signal | AskedToCancel, wait: Wait) -> bool:
    """Whether what was given ends the wait: no plain `receive` sees a request to cancel."""
    if isinstance(given, AskedToCancel):
        return wait[0] != "receive"
    if wait[0] == "result":
        return given[0] in (wait[1] or "").split()
    return not given[0].isdigit() if wait[0] == "receive" else given[0] == wait[1]


@dataclass(slots=True)
class VmTwin:
    """See `residents.Vms`. `report(activation, outcome)` is called by `pump`, in the order in which turns began."""

    code: dict[str, Workflow]
    processes: dict[int, Process] = field(default_factory=dict)
    ready: deque[tuple[int, TurnEnd | None]] = field(default_factory=deque)
    starts: int = 0
    alone: set[int] = field(default_factory=set)
    warmed: list[Version] = field(default_factory=list)
    unloaded: list[Version] = field(default_factory=list)

    def trouble(self, namespace: Namespace, version: Version) -> str | None:
        """See `residents.Vms`."""
        del namespace, version
        return None

    def warm(self, namespace: Namespace, version: Version) -> None:
        """Remember it."""
        del namespace
        self.warmed.append(version)

    def unload(self, namespace: Namespace, version: Version) -> None:
        """Remember it."""
        del namespace
        self.unloaded.append(version)

    async def query(self, activation: int, name: str, arguments: bytes) -> QueryAnswer:
        """The twin's runs answer with what they are asked."""
        assert activation in self.processes, "only a resident run is asked"
        return name.encode() + arguments

    def start_run(self, run: Run, records: Sequence[HistoryRecord]) -> int:
        """Replay what is recorded, then begin the live turn."""
        self.starts += 1
        activation = self.starts
        process = Process(self.code[run.workflow_type](run))
        self.processes[activation] = process
        inputs = deque(record for record in records if isinstance(record.event, RunStarted) or is_input(record.event))
        commands: list[TurnCommand] = []
        for record in records:
            if isinstance(record.event, TurnCommand):
                commands.append(record.event)
            if (ended := end_in(record.event)) is not None:
                while inputs and inputs[0].seq <= ended.observed_seq:
                    _give(process, inputs.popleft())
                process.requests.clear()
                replayed, recorded = process.go_on(), Waits(wait=ended.wait, name=ended.name)
                asked = [asked_for(command) for command in commands]
                commands.clear()
                if replayed != recorded or asked != [asked_for(request) for request in process.requests]:
                    blocks = Blocks(expected=str(recorded), found=str(replayed))
                    self.ready.append((activation, TurnEnd(observed_seq=0, outcome=blocks)))
                    return activation
        if not inputs:
            self.ready.append((activation, None))
            return activation
        for record in inputs:
            _give(process, record)
        self.ready.append((activation, turn_of(process)))
        return activation

    def start_alone(self, run: Run, records: Sequence[HistoryRecord]) -> int:
        """As `start_run`; `die` spares it, `die_alone` does not."""
        activation = self.start_run(run, records)
        self.alone.add(activation)
        return activation

    def deliver(self, activation: int, records: Sequence[HistoryRecord]) -> None:
        """Begin a turn."""
        process = self.processes[activation]
        for record in records:
            _give(process, record)
        self.ready.append((activation, turn_of(process)))

    def kill(self, activation: int) -> None:
        """Forget it and what it would have reported."""
        del self.processes[activation]
        self.ready = deque(entry for entry in self.ready if entry[0] != activation)

    def die(self) -> list[int]:
        """The shared VM dies with all its processes; returns their activations."""
        return self._die([activation for activation in self.processes if activation not in self.alone])

    def die_alone(self) -> list[int]:
        """The VMs of single runs die."""
        return self._die([activation for activation in self.processes if activation in self.alone])

    def _die(self, gone: list[int]) -> list[int]:
        for activation in gone:
            self.kill(activation)
        return gone


def turn_of(process: Process) -> TurnEnd:
    """The live turn that begins with what the process was given."""
    process.requests.clear()
    outcome = process.go_on()
    requests = tuple(process.requests) if isinstance(outcome, Waits) else ()
    return TurnEnd(observed_seq=process.given, outcome=outcome, requests=requests)


def end_in(event: Event) -> TurnEnded | None:
    """The end of a turn that waits, wherever it stands."""
    return event if isinstance(event, TurnEnded) else event.turn if isinstance(event, TurnCommand) else None


def asked_for(asked: TurnCommand | Request) -> tuple[str, int]:
    """What a replay compares."""
    match asked:
        case TimerStarted(timer=number) | StartTimer(timer=number):
            return "timer", number
        case TimerCancelled(timer=number) | CancelTimer(timer=number):
            return "cancel timer", number
        case ActivityScheduled(activity=number) | ScheduleActivity(activity=number):
            return "activity", number
        case ActivityCancelled(activity=number) | CancelActivity(activity=number):
            return "cancel activity", number
        case _:
            assert_never(asked)


def _give(process: Process, record: HistoryRecord) -> None:
    process.given = record.seq
    if isinstance(record.event, SignalReceived):
        payload = record.event.payload
        process.mailbox.append((record.event.name, None if payload is None else payload.data))
    if isinstance(record.event, RunCancelRequested):
        process.mailbox.append(AskedToCancel(record.event.reason))
    match record.event:
        case TimerFired(timer=number) | ActivityFailed(activity=number) | ActivityTimedOut(activity=number):
            process.mailbox.append((str(number), None))
        case ActivityCompleted(activity=number, result=result):
            process.mailbox.append((str(number), None if result is None else result.data))
