"""Bringing runs into VMs that are to be there and are not: those that owe a turn, may go on by themselves, or are asked for.

Long histories are read in slices, and room is made per version. Called by the partition loop alone; never awaits.
"""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from aion_common.ids import RunId
from aion_common.limits import HISTORY_SLICE_EVENTS, RESIDENT_RUNS_MAX
from aion_common.records.events import HistoryRecord
from aion_executor.changes import Lookup
from aion_executor.core.partition import version_key
from aion_executor.core.run import Run, RunStatus, owes_turn
from aion_executor.shell.residents import Activation, Residents

WhenResident = Callable[[Activation | None], None]
"""Told the activation of a run once, or None: it will not come into a VM."""


@dataclass(slots=True)
class Waking:
    """`may_wake_itself`: whether a run must be in a VM although it owes nothing."""

    residents: Residents
    may_wake_itself: Callable[[Run], bool]
    residents_max: int = RESIDENT_RUNS_MAX
    _perhaps: deque[RunId] = field(default_factory=deque)
    _to_wake: dict[str, dict[RunId, list[HistoryRecord]]] = field(default_factory=dict)
    """Not resident, by version, in order; with what was read of their histories."""
    _asking: dict[RunId, list[WhenResident]] = field(default_factory=dict)

    def perhaps(self, run_ids: Iterable[RunId]) -> None:
        """Runs that may have to be brought in: the state decides when it is their turn."""
        self._perhaps.extend(run_ids)

    def when_resident(self, run: Run, tell: WhenResident) -> None:
        """Tell the run's activation, now or when it has been brought into its VM; None if that does not happen."""
        if (activation := self.residents.activation_of(run.run_id)) is not None:
            tell(activation)
        else:
            self._asking.setdefault(run.run_id, []).append(tell)
            self._perhaps.append(run.run_id)

    def tell(self, run_id: RunId, activation: Activation | None) -> None:
        """Tell all who asked for the run."""
        for tell in self._asking.pop(run_id, ()):
            tell(activation)

    def give_up(self) -> None:
        """Nothing will be brought in any more."""
        for run_id in tuple(self._asking):
            self.tell(run_id, None)

    def bring_in_now(self, run: Run, state: Lookup, now_ms: int) -> Activation | None:
        """Bring the run in if it is short and there is room, else later. Returns the activation whose turn began."""
        version = version_key(run.namespace, run.version)
        if run.seq > HISTORY_SLICE_EVENTS or version in self._to_wake or not self._has_room(version):
            self._later(run)
            return None
        return self._bring_in(run, state.records(run.run_id, 1, run.seq), now_ms)

    def bring_in(self, state: Lookup, now_ms: int) -> bool:
        """Go on with runs that are to be woken and are not resident, as far as there is room for them: read a slice of their
        histories, wake those that were read whole. Returns whether there is more to do: whoever drives lets others have
        their turn before."""
        budget = HISTORY_SLICE_EVENTS
        while self._perhaps and budget > 0:
            run_id = self._perhaps.popleft()
            run = state.run(run_id)
            budget -= 1
            if run is not None and self._is_wanted(run):
                self._later(run)
            else:
                self.tell(run_id, None)
        for version in tuple(self._to_wake):
            while version in self._to_wake and budget > 0 and self._has_room(version):
                budget -= self._bring_next_in(version, state, budget, now_ms)
        return budget <= 0

    def _bring_next_in(self, version: str, state: Lookup, events_max: int, now_ms: int) -> int:
        """Read on in the history of the version's next run. Returns how much that took, at least 1."""
        runs = self._to_wake[version]
        run_id, records = next(iter(runs.items()))
        run = state.run(run_id)
        assert run is not None, "a run that is to be woken exists"
        fresh = state.records(run_id, len(records) + 1, events_max)
        records.extend(fresh)
        is_wanted = self._is_wanted(run) and not self.residents.is_resident(run_id)
        if len(records) == run.seq or not is_wanted:
            del runs[run_id]
            if not runs:
                del self._to_wake[version]
            if is_wanted:
                self._bring_in(run, records, now_ms)
            else:
                self.tell(run_id, self.residents.activation_of(run_id))
        return len(fresh) + 1

    def _bring_in(self, run: Run, records: list[HistoryRecord], now_ms: int) -> Activation:
        activation = self.residents.bring_in(run, records, now_ms)
        self.tell(run.run_id, activation)
        return activation

    def _has_room(self, version: str) -> bool:
        """Room is per version, so that one whose VM does not come up keeps no other out. The longest waiting make room; where
        none that waits may leave, the limit gives way."""
        if self.residents.number_of(version) < self.residents_max:
            return True
        for run_id in self.residents.evictable_of(version, self.residents_max // 10 + 1):
            self.residents.evict(run_id)
        return self.residents.number_of(version) < self.residents_max or self.residents.is_any_waiting(version)

    def _later(self, run: Run) -> None:
        self._to_wake.setdefault(version_key(run.namespace, run.version), {}).setdefault(run.run_id, [])

    def _is_wanted(self, run: Run) -> bool:
        if run.run_id in self._asking and run.status is RunStatus.RUNNING:
            return True
        return owes_turn(run) or self.may_wake_itself(run)
