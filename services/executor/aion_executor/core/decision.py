"""What `decide` may answer. A refusal is a value like any other: durable, and repeated for a repeated command."""

from dataclasses import dataclass

from aion_common.records.events import CatalogApplied, RunEvent
from aion_common.records.replies import Answer, Rejection


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Events of the addressed run (a new one if the first is RunStarted), or of the partition; all or none of them.
    `replaced`: events of the run that was addressed, before those of the new run that takes its place."""

    events: tuple[RunEvent | CatalogApplied, ...]
    replaced: tuple[RunEvent, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """The command made no event; this is its answer."""

    answer: Answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Park:
    """The start waits for the verdict on the version it names."""


NOTHING = Decision(events=())
"""Nothing changes and nobody waits for an answer."""

__all__ = ["NOTHING", "Answered", "Decision", "Park", "Rejection"]
