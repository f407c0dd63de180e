"""What the checker has to say of a whole cluster."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from aion_common.ids import CommandId, RunId


@dataclass(slots=True)
class Report:
    """What was read, and each broken promise in a sentence. `starts`, `signals` and `endings` (cancels and terminates): by
    command id, the run they became part of; `answered`: commands that were accepted without an event of their own, such as
    a second cancel; `parked`: starts that wait for a verdict; `letters`: records that could not be used; `void`: records of
    owners that were not the newest, which nobody may act upon."""

    partitions: int = 0
    events: int = 0
    runs: int = 0
    closed: int = 0
    void: int = 0
    starts: dict[CommandId, RunId] = field(default_factory=dict)
    signals: dict[CommandId, RunId] = field(default_factory=dict)
    endings: dict[CommandId, RunId] = field(default_factory=dict)
    answered: dict[CommandId, RunId] = field(default_factory=dict)
    parked: int = 0
    letters: int = 0
    broken: list[str] = field(default_factory=list)

    def missing(self, acknowledged: Iterable[CommandId]) -> list[CommandId]:
        """Those of the commands, which their clients were told are accepted, that no history knows."""
        known = self.starts | self.signals | self.endings | self.answered
        return [command_id for command_id in acknowledged if command_id not in known]
