"""A twin of `aion_beam.pool.VmPool`: one VM per version and one for each suspect, running programs instead of Erlang.

What a VM is not up for waits. Turns take their time and are reported in order through one stream per VM; a VM that dies
has sent what it had sent. Input is given between turns only; replay goes turn by turn and must end each as recorded
(schemas/beam/frames.md). Real above it: `PartitionVms`, the switchboard, `replay_of`.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from aion_beam.frames import (
    Cancel,
    Cancelled,
    CaughtUp,
    Completed,
    Diverged,
    Failed,
    Input,
    Outcome,
    QueryAnswer,
    Signal,
    Turn,
    Waiting,
)
from aion_beam.pool import Activation, PackageKey, PoolListener, StartSpec
from aion_common.errors import VmDied
from aion_common.ids import Version, WorkflowType
from aion_common.records.events import ActivityCompleted, ActivityFailed, ActivityTimedOut, TimerFired, WaitKind
from aion_common.turns import Request
from executor.vm_twin import asked_for
from simulation.programs import (
    PROGRAMS,
    AskedToCancel,
    Asks,
    Awaits,
    Come,
    Got,
    KillsVm,
    Message,
    Program,
    Receives,
    Start,
    Wait,
)
from simulation.scheduler import VirtualLoop


@dataclass(slots=True)
class Question:
    """A query on its way; its answer tells the newest event that the run had been given when it last ended a turn."""

    activation: Activation
    answer: asyncio.Future[QueryAnswer]
    told_seq: int = 0


Delivery = tuple[int, Sequence[Input]]
Ended = Completed | Cancelled | Failed | Diverged


@dataclass(slots=True)
class Stay:
    """A run in a VM. `observed`: the newest event it was given. `is_untold`: it came to a plain receive by itself, which
    nobody has noticed yet. `asked`: what it asked for in the present turn."""

    activation: Activation
    program: Program
    turns: deque[Turn]
    waits: Wait | None = None
    mailbox: list[Message] = field(default_factory=list)
    requests: list[AskedToCancel] = field(default_factory=list)
    results: list[Come] = field(default_factory=list)
    asked: list[Request] = field(default_factory=list)
    deliveries: deque[Delivery] = field(default_factory=deque)
    observed: int = 0
    told_seq: int = 0
    is_untold: bool = False
    has_ended: bool = False
    waits_since: int = 0

    def replay(self) -> Outcome:
        """Go through the recorded turns; a last one that is not recorded is live."""
        for turn in self.turns:
            self.observed = turn.observed_seq
            self.asked.clear()
            self._take_in(turn.inputs)
            found = self._ended() if self.waits is None or turn.inputs else self._go_on_alone(turn)
            if turn.end is None:
                return found
            does = (found.kind, found.name, *map(asked_for, found.requests)) if isinstance(found, Waiting) else found
            did = (turn.end.kind, turn.end.name, *map(asked_for, turn.commands))
            if does != did:
                self.has_ended = True
                return Diverged(activation=self.activation, expected=str(did), found=str(does))
        return CaughtUp(activation=self.activation)

    def _go_on_alone(self, turn: Turn) -> Outcome:
        """A recorded turn without inputs: the run went on by itself, perhaps through receives that nobody noticed."""
        while isinstance(self.waits, Receives) and self.waits.times_out:
            found = self._resumed(None)
            is_on_its_way = turn.end is None or turn.end.kind is not WaitKind.RECEIVE
            if not (isinstance(found, Waiting) and found.kind is WaitKind.RECEIVE and is_on_its_way):
                return found
        return self._waiting()

    def deliver(self) -> list[Outcome]:
        """Take the next delivery in, and end its turn."""
        told: list[Outcome] = [self._waiting()] if self.is_untold else []
        self.is_untold = False
        self.observed, inputs = self.deliveries.popleft()
        self.asked.clear()
        self._take_in(inputs)
        return [*told, self._ended()]

    def time_out(self) -> Outcome | None:
        """The run's own time-out is over; None: nobody notices where it came to."""
        assert isinstance(self.waits, Receives)
        self.asked.clear()
        found = self._resumed(None)
        if isinstance(found, Waiting) and found.kind is WaitKind.RECEIVE:
            self.is_untold = True
            return None
        self.is_untold = False
        return found

    def _take_in(self, inputs: Sequence[Input]) -> None:
        for given in inputs:
            match given:
                case Signal(name=name, payload=payload):
                    self.mailbox.append((name, payload))
                case Cancel(reason=reason):
                    self.requests.append(AskedToCancel(reason))
                case TimerFired(timer=number) | ActivityFailed(activity=number) | ActivityTimedOut(activity=number):
                    self.results.append(Come(number, None))
                case ActivityCompleted(activity=number, result=result):
                    self.results.append(Come(number, None if result is None else result.data))

    def _ended(self) -> Outcome:
        """Run until nothing that was given lets it go on."""
        if self.waits is None:
            return self._resumed(None)
        got = self._fitting(self.waits)
        return self._waiting() if got is None else self._resumed(got)

    def _fitting(self, waits: Wait) -> Got | AskedToCancel:
        if self.requests and not isinstance(waits, Receives):
            return self.requests.pop(0)
        if isinstance(waits, Awaits):
            come = next((result for result in self.results if result.number in waits.numbers), None)
            if come is not None:
                self.results.remove(come)
            return come
        for message in self.mailbox:
            if isinstance(waits, Receives):
                self.mailbox.remove(message)
                return message
            if message[0] == waits.name:
                self.mailbox.remove(message)
                return message[1]
        return None

    def _resumed(self, got: Got | AskedToCancel) -> Outcome:
        self.waits_since += 1
        try:
            self.waits = self._go_on(got)
            while (fitting := self._fitting(self.waits)) is not None:
                self.waits = self._go_on(fitting)
        except StopIteration as end:
            self.has_ended = True
            return Completed(activation=self.activation, observed_seq=self.observed, json=end.value)
        except AskedToCancel as request:
            self.has_ended = True
            return Cancelled(activation=self.activation, observed_seq=self.observed, reason=request.reason)
        except ValueError as error:
            self.has_ended = True
            return Failed(
                activation=self.activation, observed_seq=self.observed, kind="error", message=str(error), details=None
            )
        return self._waiting()

    def _go_on(self, got: Got | AskedToCancel) -> Wait:
        said = self.program.throw(got) if isinstance(got, AskedToCancel) else self.program.send(got)
        while isinstance(said, Request):
            self.asked.append(said)
            said = self.program.send(None)
        return said

    def _waiting(self) -> Waiting:
        kind = {Asks: WaitKind.SIGNAL, Awaits: WaitKind.RESULT}.get(type(self.waits), WaitKind.RECEIVE)
        waits_for: str | None = getattr(self.waits, "name", None)
        seq, requests = self.observed, tuple(self.asked)
        return Waiting(activation=self.activation, observed_seq=seq, kind=kind, name=waits_for, requests=requests)


@dataclass(slots=True)
class Vm:
    """`sent`: what travels to the pool, in order; None stands for the end of the stream."""

    key: PackageKey
    alone: Activation | None
    is_up: bool = False
    is_dead: bool = False
    stays: dict[Activation, Stay] = field(default_factory=dict)
    work: deque[Activation] = field(default_factory=deque)
    sent: deque[Outcome | Question | None] = field(default_factory=deque)


@dataclass(slots=True)
class TwinPool:
    """See `VmPool`. `pace_ms`: how long things take at most, mostly far less."""

    loop: VirtualLoop
    listener: PoolListener
    pace_ms: float = 4.0
    deaths: int = 0
    _vms: dict[tuple[PackageKey, Activation | None], Vm] = field(default_factory=dict)
    _asked: dict[Activation, list[Question]] = field(default_factory=dict)
    _where: dict[Activation, Vm] = field(default_factory=dict)
    _last: int = 0

    def warm(self, key: PackageKey) -> None:
        """See `VmPool`."""
        self._vm(key, None)

    def start_run(self, key: PackageKey, spec: StartSpec) -> Activation:
        """See `VmPool`."""
        self._last += 1
        return self._place(self._vm(key, None), spec)

    def start_alone(self, key: PackageKey, spec: StartSpec) -> Activation:
        """See `VmPool`."""
        self._last += 1
        return self._place(self._vm(key, self._last), spec)

    def deliver(self, activation: Activation, observed_seq: int, now_ms: int, inputs: Sequence[Input]) -> None:
        """See `VmPool`."""
        del now_ms
        vm = self._where.get(activation)
        if vm is not None:
            vm.stays[activation].deliveries.append((observed_seq, inputs))
            self._give_work(vm, activation)

    def query(self, activation: Activation, name: str, arguments: bytes) -> asyncio.Future[QueryAnswer]:
        """See `VmPool`."""
        del name, arguments
        question = Question(activation, self.loop.create_future())
        self._asked.setdefault(activation, []).append(question)
        vm = self._where.get(activation)
        if vm is None:
            self._forget(activation)
        else:
            self.loop.call_later(self.loop.random.random() * 0.01, self._ask, vm, question)
        return question.answer

    def _ask(self, vm: Vm, question: Question) -> None:
        stay = vm.stays.get(question.activation)
        if stay is None or vm.is_dead:
            return
        if not stay.told_seq:
            self.loop.call_later(0.005, self._ask, vm, question)
            return
        question.told_seq = stay.told_seq
        self._send(vm, question)

    def _forget(self, activation: Activation) -> Vm | None:
        for question in self._asked.pop(activation, ()):
            if not question.answer.done():
                question.answer.set_exception(VmDied("the run has left its VM"))
        return self._where.pop(activation, None)

    def kill(self, activation: Activation) -> None:
        """See `VmPool`."""
        vm = self._forget(activation)
        if vm is not None:
            vm.stays.pop(activation, None)
            self._end_if_alone(vm)

    def stop_version(self, key: PackageKey) -> None:
        """See `VmPool`."""
        for vm in [vm for vm in self._vms.values() if vm.key == key]:
            vm.is_dead = True
            del self._vms[vm.key, vm.alone]
            for activation in vm.stays:
                self._forget(activation)

    def vms(self) -> list[Vm]:
        """Those that are up."""
        return [vm for vm in self._vms.values() if vm.is_up]

    def die(self, vm: Vm) -> None:
        """The VM ends, wherever it is; what it had written can still be read, then the end of its stream."""
        if vm.is_up and not vm.is_dead:
            vm.is_dead = True
            self.deaths += 1
            self._send(vm, None)

    def _vm(self, key: PackageKey, alone: Activation | None) -> Vm:
        vm = self._vms.get((key, alone))
        if vm is None:
            vm = self._vms[key, alone] = Vm(key, alone)
            self._later(self._up, vm, 50)
        return vm

    def _place(self, vm: Vm, spec: StartSpec) -> Activation:
        activation = self._last
        info = Start(
            version=Version(spec.info.version),
            run_id=spec.info.run_id,
            argument=spec.replay.argument,
            activation=activation,
        )
        program = PROGRAMS[WorkflowType(spec.workflow_type)](info)
        vm.stays[activation] = Stay(activation, program, deque(spec.replay.turns))
        self._where[activation] = vm
        self._give_work(vm, activation)
        return activation

    def _give_work(self, vm: Vm, activation: Activation) -> None:
        vm.work.append(activation)
        self._later(self._work, vm, self.pace_ms)

    def _later(self, what: Callable[[Vm], None], vm: Vm, within_ms: float) -> None:
        drawn = self.loop.random.random()
        self.loop.call_later(within_ms / 1000 * (drawn if drawn < 0.95 else 20 * drawn), what, vm)

    def _up(self, vm: Vm) -> None:
        if vm.is_dead:
            return
        vm.is_up = True
        for _ in vm.work:
            self._later(self._work, vm, self.pace_ms)

    def _work(self, vm: Vm) -> None:
        """One turn of one of its runs."""
        if not vm.is_up or vm.is_dead or not vm.work:
            return
        activation = vm.work.popleft()
        stay = vm.stays.get(activation)
        if stay is None or stay.has_ended:
            return
        try:
            outcomes = stay.deliver() if stay.observed else [stay.replay()]
        except KillsVm:
            self.die(vm)
            return
        self._after(vm, stay, outcomes)

    def _after(self, vm: Vm, stay: Stay, outcomes: Sequence[Outcome]) -> None:
        for outcome in outcomes:
            self._send(vm, outcome)
            stay.told_seq = stay.observed
        if isinstance(stay.waits, Receives) and stay.waits.times_out and not stay.has_ended:
            self.loop.call_later(self.loop.random.random() ** 2 * 0.4, self._time_out, vm, stay, stay.waits_since)

    def _time_out(self, vm: Vm, stay: Stay, since: int) -> None:
        if vm.is_dead or stay.has_ended or vm.stays.get(stay.activation) is not stay or stay.waits_since != since:
            return
        try:
            outcome = stay.time_out()
        except KillsVm:
            self.die(vm)
            return
        self._after(vm, stay, [] if outcome is None else [outcome])

    def _send(self, vm: Vm, outcome: Outcome | Question | None) -> None:
        vm.sent.append(outcome)
        self._later(self._receive, vm, self.pace_ms / 4)

    def _receive(self, vm: Vm) -> None:
        """The oldest of what travels arrives."""
        if self._vms.get((vm.key, vm.alone)) is not vm:
            return
        outcome = vm.sent.popleft()
        if outcome is None:
            self._gone(vm)
        elif isinstance(outcome, Question):
            if not outcome.answer.done():
                outcome.answer.set_result(b"%d" % outcome.told_seq)
        elif outcome.activation in self._where:
            if isinstance(outcome, Ended):
                self._forget(outcome.activation)
                vm.stays.pop(outcome.activation, None)
                self._end_if_alone(vm)
            self.listener.on_outcome(outcome.activation, outcome)

    def _gone(self, vm: Vm) -> None:
        del self._vms[vm.key, vm.alone]
        lost = sorted(vm.stays)
        for activation in lost:
            self._forget(activation)
        if lost:
            self.listener.on_gone(lost, "it died")

    def _end_if_alone(self, vm: Vm) -> None:
        if vm.alone is not None and not vm.stays:
            vm.is_dead = True
            self._vms.pop((vm.key, vm.alone), None)
