"""What `decide` may answer. A refusal is a value like any other: durable, and repeated for a repeated command."""

from dataclasses import dataclass

from aion_common.records.events import CatalogApplied, RunEvent
from aion_common.records.replies import Answer, Rejection


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Events of the addressed run (a new one if the first is RunStarted), or of the partition; all or none of them."""

    events: tuple[RunEvent | CatalogApplied, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """The command made no event; this is its answer."""

    answer: Answer


NOTHING = Decision(events=())
"""Nothing changes and nobody waits for an answer."""

__all__ = ["NOTHING", "Answered", "Decision", "Rejection"]
