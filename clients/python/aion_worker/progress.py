"""How far a worker has come in the partitions it holds, and which tasks it knows: pure bookkeeping.

A partition may be committed up to its lowest task that has not ended; others behind it may have ended long before.
"""

from collections import OrderedDict
from typing import Generic, TypeVar

from aion_worker import bounds

T = TypeVar("T")


class PartitionProgress:
    """One partition for as long as it is held: made anew when it is held again, so late news of an earlier time are lost."""

    def __init__(self, partition: int, committed: int) -> None:
        self.partition = partition
        self.committed = committed
        self._next = committed
        # In the order of offsets, as they are begun: the first is the lowest.
        self._unfinished: dict[int, None] = {}

    def begin(self, offset: int) -> None:
        """A record was read; offsets rise."""
        assert offset >= self._next, "records come in the order of their offsets"
        self._next = offset + 1
        self._unfinished[offset] = None

    def finish(self, offset: int) -> None:
        """The record need not be read again."""
        del self._unfinished[offset]

    @property
    def committable(self) -> int:
        """The offset from which another worker would have to go on."""
        return next(iter(self._unfinished), self._next)

    @property
    def is_far_ahead(self) -> bool:
        """Whether no more should be read before the lowest has ended."""
        return self._next - self.committable >= bounds.WORKER_AHEAD_MAX


class Recent(Generic[T]):
    """The newest of things seen, a bounded number of them."""

    def __init__(self, most: int = bounds.WORKER_KNOWN_MAX) -> None:
        self._most = most
        self._seen: OrderedDict[T, None] = OrderedDict()

    def add(self, thing: T) -> None:
        """A repeat makes it the newest."""
        self._seen[thing] = None
        self._seen.move_to_end(thing)
        if len(self._seen) > self._most:
            self._seen.popitem(last=False)

    def __contains__(self, thing: T) -> bool:
        return thing in self._seen
