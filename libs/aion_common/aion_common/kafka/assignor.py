"""How a group divides partitions: sticky, deterministic, and the same for real brokers and their twin. Pure.

A rebalance moves no more partitions than balance needs; what stays never stops, if one of us leads the group.
"""

from collections.abc import Mapping

STICKY = "aion-sticky"
"""The protocol of groups that have no other members than ours."""

STOCK = ("range", "roundrobin", "RoundRobinAssigner")
"""Protocols that other clients offer if nobody says otherwise: Java, librdkafka and most others; aiokafka; kafkajs. A protocol
is a name on which the members agree, and an encoding, which these share: how partitions are divided is up to the leader."""


def balance(partitions: int, held: Mapping[str, frozenset[int]]) -> dict[str, frozenset[int]]:
    """Divide partitions 0..n-1 among the members so that their numbers differ by at most one and most stay."""
    if not held:
        return {}
    by_most_held = sorted(held, key=lambda member: (-len(held[member]), member))
    share, extra = divmod(partitions, len(held))
    quota = {member: share + (place < extra) for place, member in enumerate(by_most_held)}
    kept = {member: sorted(held[member])[: quota[member]] for member in by_most_held}
    taken = {partition for mine in kept.values() for partition in mine}
    free = [partition for partition in range(partitions) if partition not in taken]
    for member in by_most_held:
        missing = quota[member] - len(kept[member])
        kept[member].extend(free[:missing])
        del free[:missing]
    return {member: frozenset(mine) for member, mine in kept.items()}
