"""A consumer group in memory: who holds which partitions of one topic, decided at once and always the same way.

Sticky: a rebalance moves no more partitions than balance needs. Members are told synchronously, in name order.
"""

from aion_common.kafka.api import OnAssigned
from aion_common.kafka.assignor import balance


class MemoryGroup:
    """Members by id. A member that joins again under its id keeps its partitions, and nobody else is told."""

    def __init__(self, partitions: int) -> None:
        self._partitions = partitions
        self._told: dict[str, OnAssigned] = {}
        self._held: dict[str, frozenset[int]] = {}
        self.offsets: dict[int, int] = {}
        """What was committed last, by partition."""

    def held(self, member_id: str) -> frozenset[int]:
        """What the group thinks the member holds; empty for a stranger."""
        return self._held.get(member_id, frozenset())

    def join(self, member_id: str, on_assigned: OnAssigned) -> None:
        """Take part, or take the place of an earlier self."""
        known = member_id in self._told
        self._told[member_id] = on_assigned
        if known:
            on_assigned(self._held[member_id])
        else:
            self._rebalance()

    def members(self) -> frozenset[str]:
        """Who takes part."""
        return frozenset(self._told)

    def knows(self, member_id: str, on_assigned: OnAssigned) -> bool:
        """Whether this very member takes part: it was not removed, and nobody has taken its place."""
        return self._told.get(member_id) == on_assigned

    def leave(self, member_id: str, on_assigned: OnAssigned) -> None:
        """Give the place up. Harmless if it was taken over since."""
        if self.knows(member_id, on_assigned):
            self.remove(member_id)

    def remove(self, member_id: str) -> None:
        """End the member's session."""
        if self._told.pop(member_id, None) is not None:
            self._held.pop(member_id, None)
            self._rebalance()

    def _rebalance(self) -> None:
        self._held = balance(self._partitions, {member: self.held(member) for member in self._told})
        for member, tell in sorted(self._told.items()):
            tell(self._held[member])
