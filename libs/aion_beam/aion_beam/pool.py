"""The VMs of one executor: one for each (namespace, version), started on first use, restarted when it dies.

Everything here happens in one event loop. Calls about runs are synchronous and never wait: what a VM that is not up yet
must be told is kept until it is. An activation is one residence of a run in a VM; when the VM dies its activations are void
and nothing more comes for them, so the caller starts the runs again, by replay. Called by the executor's loop.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Protocol

import structlog

from aion_beam.condition import Condition
from aion_beam.frames import (
    Cancelled,
    CaughtUp,
    Completed,
    Diverged,
    Failed,
    Input,
    Kill,
    Outcome,
    QueryAnswer,
    RunInfo,
    ToVm,
    Waiting,
)
from aion_beam.host_build import Host
from aion_beam.loading import load_modules
from aion_beam.packages import Package, PackageKey, PackageSource
from aion_beam.port import Vm, VmLimits, VmListener
from aion_beam.queries import Queries, gone
from aion_beam.replay import Replay, deliver_records, start_records
from aion_common.errors import AionError, BadPackage
from aion_common.ids import WorkflowType
from aion_common.limits import VM_IDLE_MS
from aion_common.metrics import VM_DEATHS

__all__ = ["Activation", "Package", "PackageKey", "PackageSource", "PoolListener", "StartSpec", "VmPool"]

_log = structlog.get_logger(__name__)

Activation = int
"""One residence of a run in a VM: a number that is never used again."""


BACK_OFF_MS_MIN = 50
BACK_OFF_MS_MAX = 5_000
"""Between two attempts to fetch a package or to start a VM; doubled after each, reset by a VM that lived for LIVED_S."""

LIVED_S = 5.0

ALONE_VMS_MAX = 4
"""VMs of single runs at once: each costs a process, and suspects are rare."""


class PoolListener(Protocol):
    """Who is told. Called from the event loop, never from within a call to the pool."""

    def on_outcome(self, activation: Activation, outcome: Outcome) -> None:
        """A turn ended. `outcome.observed_seq` says what the run had been given: maybe less than was delivered last.

        After Completed, Failed, Cancelled and Diverged nothing more comes for the activation.
        """

    def on_gone(self, activations: Sequence[Activation], reason: str) -> None:
        """A VM died: these activations are void. Their runs are owed a replay; none of them fails for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StartSpec:
    """A run to start or to bring back."""

    workflow_type: WorkflowType
    info: RunInfo
    replay: Replay


@dataclass(slots=True)
class _Slot:
    """One VM's place: the VM when it is up, what waits for it, and the activations it holds. `alone`: the only activation
    that will ever be in it; None: the VM of the version."""

    key: PackageKey
    alone: Activation | None = None
    vm: Vm | None = None
    entries: Mapping[WorkflowType, tuple[str, str]] = field(default_factory=dict)
    waiting: dict[Activation, StartSpec] = field(default_factory=dict)
    active: set[Activation] = field(default_factory=set)
    queries: Queries = field(default_factory=Queries)
    task: asyncio.Task[None] | None = None
    idle: asyncio.TimerHandle | None = None
    back_off_ms: int = BACK_OFF_MS_MIN


class VmPool:
    """See the module. `run` must be running for anything to happen; what is asked before is done when it starts."""

    def __init__(
        self,
        host: Host,
        packages: PackageSource,
        listener: PoolListener,
        *,
        vm_limits: VmLimits | None = None,
        idle_ms: int = VM_IDLE_MS,
    ) -> None:
        self._host = host
        self._packages = packages
        self._listener = listener
        self._vm_limits = vm_limits or VmLimits()
        self._idle_ms = idle_ms
        self._slots: dict[tuple[PackageKey, Activation | None], _Slot] = {}
        self._alone_places = asyncio.Semaphore(ALONE_VMS_MAX)
        self._where: dict[Activation, _Slot] = {}
        self._early: dict[Activation, list[ToVm]] = {}
        self._numbers = count(1)
        self._condition = Condition()
        self._group: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Keeps the VMs until it is cancelled; then all of them are gone and nobody is told."""
        assert self._group is None, "a pool runs once"
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                for slot in self._slots.values():
                    self._begin(slot)
                await asyncio.get_running_loop().create_future()
        finally:
            self._slots.clear()
            self._where.clear()
            self._early.clear()

    def warm(self, key: PackageKey) -> None:
        """Starts the version's VM if it is not there. Harmless to repeat."""
        self._slot(key)

    def start_run(self, key: PackageKey, spec: StartSpec) -> Activation:
        """Starts or brings back a run; its outcomes come under the activation returned."""
        activation = next(self._numbers)
        slot = self._slot(key)
        if slot.idle is not None:
            slot.idle.cancel()
            slot.idle = None
        self._place(slot, activation, spec)
        return activation

    def start_alone(self, key: PackageKey, spec: StartSpec) -> Activation:
        """As `start_run`, in a VM of its own: for a run that may be the one that kills VMs. It waits for one of a few places;
        when its VM dies, that VM does not come again."""
        activation = next(self._numbers)
        slot = self._slots[key, activation] = _Slot(key, activation)
        self._place(slot, activation, spec)
        self._begin(slot)
        return activation

    def _place(self, slot: _Slot, activation: Activation, spec: StartSpec) -> None:
        self._where[activation] = slot
        if slot.vm is None:
            slot.waiting[activation] = spec
            self._early[activation] = []
        else:
            self._start(slot, slot.vm, activation, spec)

    def deliver(self, activation: Activation, observed_seq: int, now_ms: int, inputs: Sequence[Input]) -> None:
        """Gives a run the inputs of its next turn, the newest being event `observed_seq`, recorded at `now_ms`.

        One that is not between turns gets them at the end of its turn. Nothing happens for a void activation.
        """
        assert inputs, "a turn begins with inputs"
        self._tell(activation, list(deliver_records(activation, observed_seq, now_ms, inputs)))

    def query(self, activation: Activation, name: str, arguments: bytes) -> asyncio.Future[QueryAnswer]:
        """Asks the run, beside its process and once its replay has caught up; `arguments` are JSON text.

        Fails with VmDied when the activation is over, or ends before there is an answer: the run may be asked again after it
        has been brought back. A VM that is up answers within `limits.QUERY_MS_MAX`.
        """
        slot = self._where.get(activation)
        if slot is None:
            over: asyncio.Future[QueryAnswer] = asyncio.get_running_loop().create_future()
            over.set_exception(gone())
            return over
        answer, question = slot.queries.ask(activation, name, arguments)
        if question is not None:
            self._tell(activation, [question])
        return answer

    def kill(self, activation: Activation) -> None:
        """Ends the activation; nothing more comes for it. Harmless to repeat."""
        slot = self._where.get(activation)
        if slot is None:
            return
        if activation in self._early:
            del slot.waiting[activation]
        else:
            self._tell(activation, [Kill(activation=activation)])
        self._forget(activation)

    def stop_version(self, key: PackageKey) -> None:
        """Ends the version's VMs at once, those of single runs too; nothing more comes for their activations, started or still
        waiting. Harmless to repeat."""
        for slot in [slot for slot in self._slots.values() if slot.key == key]:
            self._stop(slot)

    def _stop(self, slot: _Slot) -> None:
        del self._slots[slot.key, slot.alone]
        self._condition.recovered(slot.key)
        self._void(slot)
        if slot.vm is not None:
            slot.vm.kill()
        if slot.task is not None:
            slot.task.cancel()

    def trouble(self, key: PackageKey) -> str | None:
        """Why the version has no VM although it should: what went wrong at the last try, of many. None: nothing."""
        return self._condition.trouble(key)

    def vm_pids(self) -> Mapping[PackageKey, int]:
        """The operating system's process ids of the versions' VMs that are up, without those of single runs."""
        shared = ((key, slot.vm) for (key, alone), slot in self._slots.items() if alone is None)
        return {key: vm.pid for key, vm in shared if vm is not None}

    def _slot(self, key: PackageKey) -> _Slot:
        slot = self._slots.get((key, None))
        if slot is None:
            slot = self._slots[key, None] = _Slot(key)
            self._begin(slot)
        return slot

    def _begin(self, slot: _Slot) -> None:
        if self._group is not None:
            name = f"VM of {slot.key.namespace}/{slot.key.version}"
            slot.task = self._group.create_task(self._serve(slot), name=name)

    async def _serve(self, slot: _Slot) -> None:
        while True:
            package = await self._fetch(slot)
            if slot.alone is None:
                await self._live(slot, package)
                continue
            async with self._alone_places:
                served = await self._live(slot, package)
            if served:
                self._slots.pop((slot.key, slot.alone), None)
                return

    async def _fetch(self, slot: _Slot) -> Package:
        while True:
            try:
                return await self._packages.fetch(slot.key)
            except (AionError, OSError) as error:
                self._condition.failed(slot.key, "package not fetched", error, slot.back_off_ms)
            await self._pause(slot)

    async def _live(self, slot: _Slot, package: Package) -> bool:
        """One VM, from its start to a pause behind its end. False when it ended before it was of use."""
        events = asyncio.get_running_loop()
        began, served = events.time(), False
        self._condition.count_vm(slot.key.version, 1)
        try:
            served = await self._serve_once(slot, package)
        except (AionError, OSError) as error:
            self._condition.failed(slot.key, "VM unavailable", error, slot.back_off_ms)
        finally:
            self._condition.count_vm(slot.key.version, -1)
        if events.time() - began >= LIVED_S:
            slot.back_off_ms = BACK_OFF_MS_MIN
        if slot.alone is None or not served:
            await self._pause(slot)
        return served

    async def _pause(self, slot: _Slot) -> None:
        await asyncio.sleep(slot.back_off_ms / 1000)
        slot.back_off_ms = min(2 * slot.back_off_ms, BACK_OFF_MS_MAX)

    async def _serve_once(self, slot: _Slot, package: Package) -> bool:
        """One life of a VM. False when it ended before it was of use."""

        def on_gone(reason: str) -> None:
            self._on_gone(slot, reason)

        listener = VmListener(on_outcomes=self._on_outcomes, on_queried=slot.queries.answered, on_gone=on_gone)
        vm = await Vm.start(self._host, listener, self._vm_limits)
        try:
            async with asyncio.TaskGroup() as group:
                watch = group.create_task(vm.watch(), name=f"watch of VM {vm.pid}")
                answer = await load_modules(vm, package.modules)
                if answer is not None and answer.ok:
                    self._up(slot, vm, package)
                else:
                    vm.kill()
                reason = await watch
        except asyncio.CancelledError:
            self._void(slot)
            raise
        finally:
            slot.vm = None
            await vm.close()
        _log.warning("VM gone", version=slot.key.version, pid=vm.pid, reason=reason)
        if answer is not None and not answer.ok:
            raise BadPackage(str(answer.value))
        return answer is not None

    def _up(self, slot: _Slot, vm: Vm, package: Package) -> None:
        slot.vm = vm
        self._condition.recovered(slot.key)
        slot.entries = package.entries
        waiting, slot.waiting = slot.waiting, {}
        for activation, spec in waiting.items():
            early = self._early.pop(activation)
            self._start(slot, vm, activation, spec)
            vm.send(early)
        _log.info("VM ready", version=slot.key.version, pid=vm.pid, runs_waited=len(waiting))
        self._watch_idle(slot)

    def _start(self, slot: _Slot, vm: Vm, activation: Activation, spec: StartSpec) -> None:
        entry = slot.entries.get(spec.workflow_type)
        if entry is None:
            failed = Failed(
                activation=activation,
                observed_seq=spec.replay.observed_seq,
                kind="bad_entry",
                message=f"the package has no entry for the workflow type {spec.workflow_type}",
                details=None,
            )
            asyncio.get_running_loop().call_soon(self._on_outcomes, [failed])
            return
        slot.active.add(activation)
        vm.send(start_records(activation, entry, spec.info, spec.replay))

    def _tell(self, activation: Activation, records: list[ToVm]) -> None:
        early = self._early.get(activation)
        slot = self._where.get(activation)
        if early is not None:
            early += records
        elif slot is not None and slot.vm is not None:
            slot.vm.send(records)

    def _on_outcomes(self, outcomes: Sequence[Outcome]) -> None:
        for outcome in outcomes:
            activation = outcome.activation
            if activation not in self._where:
                continue
            match outcome:
                case Waiting() | CaughtUp():
                    pass
                case Completed() | Failed() | Cancelled() | Diverged():
                    self._forget(activation)
            self._listener.on_outcome(activation, outcome)

    def _on_gone(self, slot: _Slot, reason: str) -> None:
        if self._slots.get((slot.key, slot.alone)) is slot:
            VM_DEATHS.inc()
        slot.vm = None
        lost = sorted(slot.active)
        for activation in lost:
            self._forget(activation)
        if lost:
            self._listener.on_gone(lost, reason)

    def _void(self, slot: _Slot) -> None:
        for activation in [*slot.waiting, *slot.active]:
            self._forget(activation)
        slot.waiting.clear()

    def _forget(self, activation: Activation) -> None:
        slot = self._where.pop(activation, None)
        self._early.pop(activation, None)
        if slot is not None:
            slot.active.discard(activation)
            slot.queries.end(activation)
            self._watch_idle(slot)

    def _watch_idle(self, slot: _Slot) -> None:
        """A VM in which no run is resident ends after a while; the next start brings another one up."""
        if slot.idle is None and not slot.active and not slot.waiting:
            idle_ms = self._idle_ms if slot.alone is None else 0
            slot.idle = asyncio.get_running_loop().call_later(idle_ms / 1000, self._stop_idle, slot)

    def _stop_idle(self, slot: _Slot) -> None:
        slot.idle = None
        if not slot.active and not slot.waiting and self._slots.get((slot.key, slot.alone)) is slot:
            _log.info("VM stopped: no run is resident", version=slot.key.version)
            self._stop(slot)
