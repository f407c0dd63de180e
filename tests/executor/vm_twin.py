"""A twin of the VM pool: workflows are Python generators, and nothing happens until the test says `pump`.

A workflow yields how it waits, `("signal", name)` or `("receive", None)`, is sent the matching `(name, payload bytes)`, and
returns its result as JSON bytes or raises. A request to cancel is thrown into a wait for a signal. Replay goes turn by turn
over the recorded history, as the Erlang host does.
"""

from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field

from aion_beam.frames import QueryAnswer
from aion_common.ids import Namespace, Version
from aion_common.records.common import json_payload
from aion_common.records.events import (
    Failure,
    HistoryRecord,
    RunCancelRequested,
    RunStarted,
    SignalReceived,
    TurnEnded,
    WaitKind,
)
from aion_executor.core.inputs import Blocks, Cancels, Completes, Fails, Outcome, Waits
from aion_executor.core.run import Run
from aion_executor.shell.residents import TurnEnd

INPUTS = RunStarted | SignalReceived | RunCancelRequested

Wait = tuple[str, str | None]
Signal = tuple[str, bytes | None]
Workflow = Callable[[Run], Generator[Wait, Signal, bytes]]


def park(run: Run) -> Generator[Wait, Signal, bytes]:
    """`receive _Any -> N end`, where N is the first digit of the version."""
    yield ("receive", None)
    return run.version[0].encode()


def two_signals(run: Run) -> Generator[Wait, Signal, bytes]:
    """Waits for `a`, then for `b`; returns both payloads."""
    del run
    _, first = yield ("signal", "a")
    _, second = yield ("signal", "b")
    return b"[" + (first or b"null") + b"," + (second or b"null") + b"]"


def at_once(run: Run) -> Generator[Wait, Signal, bytes]:
    """Completes in its first turn."""
    return run.version[0].encode()
    yield


def fails(run: Run) -> Generator[Wait, Signal, bytes]:
    """Fails in its first turn."""
    raise ValueError(run.workflow_type)
    yield


def tidies(run: Run) -> Generator[Wait, Signal, bytes]:
    """Waits for `a`; when asked to cancel, for `tidied`."""
    del run
    try:
        _, payload = yield ("signal", "a")
    except AskedToCancel:
        _, payload = yield ("signal", "tidied")
    return payload or b"null"


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
}


@dataclass(slots=True)
class Process:
    """A run inside the twin."""

    body: Generator[Wait, Signal, bytes]
    mailbox: deque[Signal | AskedToCancel] = field(default_factory=deque)
    waits: Wait | None = None
    began: bool = False
    given: int = 0

    def go_on(self) -> Outcome:
        """Run until it waits with nothing fitting in the mailbox, or ends."""
        try:
            if not self.began:
                self.began = True
                self.waits = next(self.body)
            while self.waits is not None and (given := self._take(self.waits)) is not None:
                self.waits = self.body.throw(given) if isinstance(given, AskedToCancel) else self.body.send(given)
        except StopIteration as end:
            return Completes(result=json_payload(end.value))
        except AskedToCancel as request:
            return Cancels(reason=request.reason)
        except ValueError as error:
            return Fails(failure=Failure(kind="error", message=str(error), details=None))
        assert self.waits is not None, "a process that did not end waits"
        kind, name = self.waits
        return Waits(wait=WaitKind(kind), name=name)

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
    return wait[0] == "receive" or given[0] == wait[1]


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
        inputs = deque(record for record in records if isinstance(record.event, INPUTS))
        for record in records:
            if isinstance(record.event, TurnEnded):
                while inputs and inputs[0].seq <= record.event.observed_seq:
                    _give(process, inputs.popleft())
                replayed, recorded = process.go_on(), Waits(wait=record.event.wait, name=record.event.name)
                if replayed != recorded:
                    blocks = Blocks(expected=str(recorded), found=str(replayed))
                    self.ready.append((activation, TurnEnd(observed_seq=0, outcome=blocks)))
                    return activation
        if not inputs:
            self.ready.append((activation, None))
            return activation
        for record in inputs:
            _give(process, record)
        self.ready.append((activation, TurnEnd(observed_seq=process.given, outcome=process.go_on())))
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
        self.ready.append((activation, TurnEnd(observed_seq=process.given, outcome=process.go_on())))

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


def _give(process: Process, record: HistoryRecord) -> None:
    process.given = record.seq
    if isinstance(record.event, SignalReceived):
        payload = record.event.payload
        process.mailbox.append((record.event.name, None if payload is None else payload.data))
    if isinstance(record.event, RunCancelRequested):
        process.mailbox.append(AskedToCancel(record.event.reason))
