"""Which runs time does something to next: those of the near future in a heap, the others in the store's index only.

A heap entry may be out of date: the core decides again by the run's state. Called by the partition loop alone.
"""

import heapq
from collections.abc import Iterable
from dataclasses import dataclass, field

from aion_common.ids import RunId
from aion_common.limits import DEADLINES_AHEAD_MS
from aion_executor.core.indexes import DUE, due_key, due_ms_in, run_id_in
from aion_executor.core.run import Run, due_at
from aion_executor.store.rows import Store


@dataclass(slots=True)
class Deadlines:
    """The deadlines of one partition. Every one before `_horizon_ms` that the store knows is in the heap."""

    store: Store
    _horizon_ms: int = 0
    _heap: list[tuple[int, RunId]] = field(default_factory=list)
    _known: dict[RunId, int] = field(default_factory=dict)

    def written(self, runs: Iterable[Run]) -> None:
        """The store has these runs as they are now."""
        for run in runs:
            due_ms = due_at(run)
            if due_ms is not None and due_ms < self._horizon_ms:
                self._push(due_ms, run.run_id)

    def look_ahead(self, now_ms: int) -> None:
        """Take in what has come near."""
        if now_ms + DEADLINES_AHEAD_MS // 2 < self._horizon_ms:
            return
        horizon_ms = now_ms + DEADLINES_AHEAD_MS
        for entry in self.store.entries(DUE, due_key(self._horizon_ms, RunId(""))):
            due_ms = due_ms_in(entry)
            if due_ms >= horizon_ms:
                break
            self._push(due_ms, run_id_in(entry))
        self._horizon_ms = horizon_ms

    def take_due(self, now_ms: int) -> RunId | None:
        """The run whose deadline is over for longest, once."""
        while self._heap and self._heap[0][0] <= now_ms:
            due_ms, run_id = heapq.heappop(self._heap)
            if self._known.get(run_id) == due_ms:
                del self._known[run_id]
                return run_id
        return None

    def next_ms(self) -> int:
        """When to look again, in milliseconds since the epoch."""
        ahead_ms = self._horizon_ms - DEADLINES_AHEAD_MS // 2
        return min(self._heap[0][0], ahead_ms) if self._heap else ahead_ms

    def _push(self, due_ms: int, run_id: RunId) -> None:
        if self._known.get(run_id) != due_ms:
            self._known[run_id] = due_ms
            heapq.heappush(self._heap, (due_ms, run_id))
