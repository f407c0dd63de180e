"""What is done to the system in each round: a pure function of the seed."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

BROKER = "broker"
VMS = "vms"
"""Stands for all Erlang VMs of all executors."""

LEADER = "broker that leads most histories"
COORDINATOR = "broker that coordinates the executors"
"""Stand for one of several brokers: who it is shows when it is struck."""

WORKER = "worker"

FAMILIES = ("executor", "gateway", "catalog", VMS, BROKER, WORKER)
SECOND_FAULT_CHANCE = 0.3
AT_ONCE_CHANCE = 0.4
SHORTEST_MS, LONGEST_MS = 1_000, 8_000


class FaultKind(StrEnum):
    """kill -9; SIGSTOP and later SIGCONT; SIGTERM, after which the victim must end by itself."""

    KILL = "kill"
    STOP = "stop"
    ASK = "ask to end"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """`for_ms`: how long the victim is kept dead (0: it comes back at once, as VMs always do) or stopped. Nobody asks VMs."""

    victim: str
    kind: FaultKind
    for_ms: int

    def __str__(self) -> str:
        return f"{self.kind} {self.victim} for {self.for_ms / 1000:.1f} s"


def plan(seed: int, rounds: int, parts: Sequence[str]) -> list[tuple[Fault, ...]]:
    """The faults of each round, which come at the same time. Any rounds in a row that are as many as the families of
    victims, counted from the first, meet each of them. `parts`: the names of all victims, each of which begins with its
    family's."""
    dice = random.Random(seed)
    known = [family for family in FAMILIES if any(part.startswith(family) for part in parts)]
    families = [family for _ in range(0, rounds, len(known)) for family in dice.sample(known, len(known))]
    planned = []
    for family in families[:rounds]:
        chosen = [family]
        if dice.random() < SECOND_FAULT_CHANCE:
            chosen.append(dice.choice([other for other in known if other != family]))
        planned.append(tuple(_fault(dice, [part for part in parts if part.startswith(one)]) for one in chosen))
    return planned


def _fault(dice: random.Random, victims: Sequence[str]) -> Fault:
    victim = dice.choice(victims)
    kind = dice.choice([kind for kind in FaultKind if victim != VMS or kind is not FaultKind.ASK])
    at_once = kind is not FaultKind.STOP and (victim == VMS or dice.random() < AT_ONCE_CHANCE)
    return Fault(victim=victim, kind=kind, for_ms=0 if at_once else dice.randrange(SHORTEST_MS, LONGEST_MS))
