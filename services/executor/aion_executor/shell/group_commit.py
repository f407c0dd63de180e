"""Batches of an executor's partitions leave together, in one produce request: inputs of many partitions are read together, so
their turns end at nearly the same time.

A batch that is ready waits for those of other partitions that wait for turns. How long, its partition says: never longer than
it would wait for turns of its own.
"""

from collections.abc import Callable


class GroupCommit:
    """What the partitions of one executor know of each other's open batches."""

    def __init__(self) -> None:
        self._waiting: set[int] = set()
        self._ready: dict[int, Callable[[], None]] = {}

    def opened(self, partition: int, *, waits: bool) -> None:
        """Its batch is not ready: it `waits` for turns, or is on its way, or there is none, or it is not owned any more."""
        self._ready.pop(partition, None)
        if waits:
            self._waiting.add(partition)
        else:
            self._waiting.discard(partition)
            self._perhaps_leave()

    def ready(self, partition: int, leave: Callable[[], None]) -> None:
        """Its batch is ready, and is told when it leaves: now, if nobody waits for turns."""
        self._waiting.discard(partition)
        self._ready[partition] = leave
        self._perhaps_leave()

    def holds(self, partition: int) -> bool:
        """Whether its batch is ready and waits for others."""
        return partition in self._ready

    def _perhaps_leave(self) -> None:
        if not self._waiting:
            ready, self._ready = self._ready, {}
            for leave in ready.values():
                leave()
