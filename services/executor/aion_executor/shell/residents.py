"""Which runs of a partition are resident in a VM, and whose turn it is.

Residency is a cache: it is derived from the partition's state at any time, and nothing is lost with it. Input reaches a run
only between its turns. Called by the partition loop alone; never awaits.
"""

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice, takewhile
from typing import Protocol

from msgspec import Struct

from aion_beam.frames import QueryAnswer
from aion_beam.replay import is_input
from aion_common.ids import Namespace, RunId, Version
from aion_common.limits import ALONE_STAY_MS, DEATHS_APART_MS_MAX, DEATHS_IN_A_ROW_MAX
from aion_common.records.events import HistoryRecord
from aion_common.turns import Request
from aion_executor.changes import Lookup
from aion_executor.core.inputs import Blocks, Outcome, TurnInput
from aion_executor.core.partition import version_key
from aion_executor.core.run import Run

Activation = int
"""One stay of a run in a VM. Never used again within a process."""


class TurnEnd(Struct, frozen=True, kw_only=True, gc=False):
    """How a turn ended in a VM. `observed_seq`: the newest event the run had been given; of a block it says nothing.
    `requests`: what it asked for, if it ended in a wait."""

    observed_seq: int
    outcome: Outcome
    requests: tuple[Request, ...] = ()


class TurnTaker(Protocol):
    """Who began an activation."""

    def outcome(self, activation: Activation, ended: TurnEnd | None) -> None:
        """A turn ended; None: the replay has caught up."""

    def gone(self, activations: Sequence[Activation]) -> None:
        """A VM died with these activations."""


class Vms(Protocol):
    """The VMs of this executor, as a partition uses them. Nothing here waits: what a VM is not ready for is buffered."""

    def warm(self, namespace: Namespace, version: Version) -> None:
        """Bring the version's VM up if it is not. A repeat is harmless."""

    def unload(self, namespace: Namespace, version: Version) -> None:
        """End the version's VMs, once no partition of this executor has it loaded. A repeat is harmless."""

    def trouble(self, namespace: Namespace, version: Version) -> str | None:
        """Why the version has no VM although it should; None: nothing is wrong."""

    def start_run(self, run: Run, records: Sequence[HistoryRecord]) -> Activation:
        """Bring a run, with its whole history, into the VM of its version. The inputs it has not observed begin a turn."""

    def start_alone(self, run: Run, records: Sequence[HistoryRecord]) -> Activation:
        """As `start_run`, in a VM of its own."""

    def deliver(self, activation: Activation, records: Sequence[HistoryRecord]) -> None:
        """Begin a turn with these inputs."""

    def query(self, activation: Activation, name: str, arguments: bytes) -> Awaitable[QueryAnswer]:
        """Ask the run's code, beside the run. Raises VmDied when VM or activation end before it has answered."""

    def kill(self, activation: Activation) -> None:
        """End the run's process; nothing more comes of this activation."""


ConnectVms = Callable[[TurnTaker], Vms]
"""The VMs as a partition uses them; what comes of the activations it begins goes to it."""


@dataclass(slots=True, kw_only=True)
class Resident:
    """`version`: see `version_key`. `observed`: the newest event it was given. `active_ms`: when it was last given input or
    ended a turn. `is_alone`: it is in a VM of its own, on suspicion."""

    run_id: RunId
    version: str
    activation: Activation
    in_turn: bool
    observed: int
    active_ms: int
    is_alone: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Deaths:
    """How many deaths of its VM in a row a run was active at, and when the last was."""

    number: int
    last_ms: int


@dataclass(slots=True)
class Residents:
    """The resident runs of one partition."""

    vms: Vms
    _by_run: dict[RunId, Resident] = field(default_factory=dict)
    _by_activation: dict[Activation, Resident] = field(default_factory=dict)
    _number: Counter[str] = field(default_factory=Counter)
    _in_turn: Counter[str] = field(default_factory=Counter)
    _evictable: dict[str, dict[RunId, Resident]] = field(default_factory=lambda: defaultdict(dict))
    """Those that wait, with every turn of theirs decided, and cannot go on by themselves: by version, the longest waiting
    first."""
    _alone: dict[RunId, Resident] = field(default_factory=dict)
    _deaths: dict[RunId, Deaths] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._by_run)

    def is_resident(self, run_id: RunId) -> bool:
        """Whether the run is in a VM now."""
        return run_id in self._by_run

    def activation_of(self, run_id: RunId) -> Activation | None:
        """The run's present stay in a VM."""
        resident = self._by_run.get(run_id)
        return None if resident is None else resident.activation

    def bring_in(self, run: Run, records: Sequence[HistoryRecord], now_ms: int) -> Activation:
        """Start a run that is not resident, by its whole history. Returns the activation whose turn began."""
        assert run.run_id not in self._by_run, "a run is resident once"
        is_suspect = self._deaths_of(run.run_id, now_ms) + 1 >= DEATHS_IN_A_ROW_MAX
        activation = self.vms.start_alone(run, records) if is_suspect else self.vms.start_run(run, records)
        resident = Resident(
            run_id=run.run_id,
            version=version_key(run.namespace, run.version),
            activation=activation,
            in_turn=True,
            observed=_newest_input(run),
            active_ms=now_ms,
            is_alone=is_suspect,
        )
        self._by_run[run.run_id] = resident
        self._by_activation[activation] = resident
        self._number[resident.version] += 1
        self._in_turn[resident.version] += 1
        if is_suspect:
            self._alone[run.run_id] = resident
        return activation

    def wake(self, run: Run, state: Lookup, now_ms: int) -> Activation | None:
        """Give a resident run what it has not been given; during a turn, nothing yet. Returns the activation whose turn
        began."""
        newest_input = _newest_input(run)
        resident = self._by_run[run.run_id]
        if resident.in_turn or newest_input <= resident.observed:
            return None
        first = run.unobserved[bisect_right(run.unobserved, resident.observed)]
        since = state.records(run.run_id, first, run.seq - first + 1)
        fresh = [record for record in since if is_input(record.event)]
        self.vms.deliver(resident.activation, fresh)
        self._turn(resident, now_ms, begins=True)
        resident.observed = newest_input
        return resident.activation

    def turn_ended(self, activation: Activation, ended: TurnEnd | None, now_ms: int) -> tuple[RunId, TurnInput | None] | None:
        """The run whose turn ended, and the turn it proposes; with `ended` None it has only caught up with its history.
        None if the activation is not resident any more. A run that went on by itself out of a plain `receive` may end a
        turn that began before what it was given last."""
        resident = self._by_activation.get(activation)
        if resident is None:
            return None
        is_over = ended is None or ended.observed_seq >= resident.observed
        self._turn(resident, now_ms, begins=not is_over)
        if ended is None:
            return resident.run_id, None
        turn = TurnInput(
            run_id=resident.run_id, observed_seq=ended.observed_seq, outcome=ended.outcome, requests=ended.requests
        )
        return resident.run_id, turn

    def _turn(self, resident: Resident, now_ms: int, *, begins: bool) -> None:
        was_in_turn, resident.in_turn = resident.in_turn, begins
        self._in_turn[resident.version] += resident.in_turn - was_in_turn
        self._evictable[resident.version].pop(resident.run_id, None)
        resident.active_ms = now_ms

    def settle(self, run_id: RunId) -> None:
        """The run waits, all its turns are decided, and it cannot go on by itself: it may leave its VM at any time, and if it
        is there on suspicion it leaves now."""
        resident = self._by_run.get(run_id)
        if resident is None or resident.in_turn:
            return
        if resident.is_alone:
            self.evict(run_id)
        else:
            self._evictable[resident.version][run_id] = resident

    def evict(self, run_id: RunId) -> Activation | None:
        """Take the run out of its VM; returns the activation that ended. A run that is not resident is fine."""
        self._deaths.pop(run_id, None)
        resident = self._by_run.get(run_id)
        if resident is None:
            return None
        self._remove(resident)
        self.vms.kill(resident.activation)
        return resident.activation

    def _remove(self, resident: Resident) -> None:
        del self._by_run[resident.run_id]
        del self._by_activation[resident.activation]
        self._alone.pop(resident.run_id, None)
        self._evictable[resident.version].pop(resident.run_id, None)
        self._in_turn[resident.version] -= resident.in_turn
        self._number[resident.version] -= 1
        if not self._number[resident.version]:
            for by_version in (self._number, self._in_turn, self._evictable):
                by_version.pop(resident.version, None)

    def evict_all(self) -> None:
        """Take every run out of its VM."""
        for run_id in tuple(self._by_run):
            self.evict(run_id)

    def number_of(self, version: str) -> int:
        """How many runs of a version are resident."""
        return self._number[version]

    def is_any_waiting(self, version: str) -> bool:
        """Whether a resident run of the version is between turns."""
        return self._number[version] > self._in_turn[version]

    def evictable_of(self, version: str, count: int) -> list[RunId]:
        """The runs of a version that may leave, the longest waiting first."""
        return list(islice(self._evictable.get(version, ()), count))

    def idle_since(self, before_ms: int) -> list[RunId]:
        """Runs that may leave and were last active before that time."""
        idle: list[RunId] = []
        for evictable in self._evictable.values():
            idle.extend(run_id for run_id, _ in takewhile(lambda one: one[1].active_ms < before_ms, evictable.items()))
        return idle

    def cleared(self, now_ms: int) -> list[RunId]:
        """Suspects that have been alone for long enough: where they may go on by themselves, or in a turn that does not end."""
        return [
            resident.run_id
            for resident in self._alone.values()
            if now_ms - resident.active_ms > (DEATHS_APART_MS_MAX if resident.in_turn else ALONE_STAY_MS)
        ]

    def alone_of(self, version: str) -> list[RunId]:
        """The suspects of a version."""
        return [resident.run_id for resident in self._alone.values() if resident.version == version]

    def gone(
        self, activations: Sequence[Activation], may_wake_itself: Callable[[RunId], bool], now_ms: int
    ) -> tuple[list[RunId], list[TurnInput]]:
        """Their VM died: the runs that left with it, and those that are blocked because they were active, in a turn or where
        they may go on by themselves, at too many deaths in a row."""
        left: list[RunId] = []
        blocked: list[TurnInput] = []
        for activation in activations:
            resident = self._by_activation.get(activation)
            if resident is None:
                continue
            run_id = resident.run_id
            self._remove(resident)
            left.append(run_id)
            if resident.is_alone or resident.in_turn or may_wake_itself(run_id):
                number = self._deaths_of(run_id, now_ms) + 1
                self._deaths[run_id] = Deaths(number=number, last_ms=now_ms)
                if resident.is_alone:
                    blocked.append(_blocked(resident, max(number, DEATHS_IN_A_ROW_MAX)))
                    left.extend(self._acquit(resident.version))
        return left, blocked

    def _acquit(self, version: str) -> list[RunId]:
        """Who killed the version's VM is found: the other suspects go back to it."""
        others = self.alone_of(version)
        for run_id in others:
            self.evict(run_id)
        return others

    def _deaths_of(self, run_id: RunId, now_ms: int) -> int:
        deaths = self._deaths.get(run_id)
        if deaths is None:
            return 0
        if now_ms - deaths.last_ms > DEATHS_APART_MS_MAX:
            del self._deaths[run_id]
            return 0
        return deaths.number


def _blocked(resident: Resident, deaths: int) -> TurnInput:
    outcome = Blocks(expected="a VM that lives", found=f"its VM died {deaths} times in a row while the run was active")
    return TurnInput(run_id=resident.run_id, observed_seq=resident.observed, outcome=outcome)


def _newest_input(run: Run) -> int:
    return run.unobserved[-1] if run.unobserved else run.observed
