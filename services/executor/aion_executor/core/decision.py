"""What `decide` may answer. A refusal is a value like any other: durable, and repeated for a repeated command."""

from msgspec import Struct

from aion_common.records.events import CatalogApplied, RunEvent
from aion_common.records.replies import Answer, Rejection


class Decision(Struct, frozen=True, kw_only=True, gc=False):
    """Events of the addressed run (a new one if the first is RunStarted), or of the partition; all or none of them.
    `replaced`: events of the run that was addressed, before those of the new run that takes its place."""

    events: tuple[RunEvent | CatalogApplied, ...]
    replaced: tuple[RunEvent, ...] = ()


class Answered(Struct, frozen=True, kw_only=True, gc=False):
    """The command made no event; this is its answer."""

    answer: Answer


class Park(Struct, frozen=True, kw_only=True, gc=False):
    """The start waits for the verdict on the version it names."""


NOTHING = Decision(events=())
"""Nothing changes and nobody waits for an answer."""

__all__ = ["NOTHING", "Answered", "Decision", "Park", "Rejection"]
