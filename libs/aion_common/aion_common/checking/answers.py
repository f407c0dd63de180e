"""What a partition answers to its clients: a command is decided once, and its repeats get the first answer. Pure.

A refusal that asks for a repeat (docs/adr/0008) and the pins of a version, which are counted for each attempt, are decided
anew; so is what is repeated after `limits.ANSWERS_KEPT_MS`, but for accepted starts.
"""

from dataclasses import dataclass, field

from aion_common.ids import CommandId
from aion_common.limits import ANSWERS_KEPT_MS
from aion_common.records.events import HistoryRecord, RunCancelRequested, RunStarted, RunTerminated, SignalReceived
from aion_common.records.replies import (
    Answer,
    CancelAccepted,
    PinsReported,
    Rejection,
    RejectionCode,
    SignalAccepted,
    StartAccepted,
    TerminateAccepted,
)


@dataclass(slots=True)
class Answers:
    """The first answer of each command, and when it was given."""

    _first: dict[CommandId, tuple[Answer, int]] = field(default_factory=dict)

    def take(self, command_id: CommandId, answer: Answer, recorded_at: int) -> bool:
        """Whether this is the first answer, or the same as the first."""
        if is_decided_anew(answer):
            return True
        first, answered_at = self._first.get(command_id, (answer, recorded_at))
        is_for_ever = isinstance(first, StartAccepted) and first.created
        if not is_for_ever and recorded_at - answered_at > ANSWERS_KEPT_MS:
            first, answered_at = answer, recorded_at
        self._first[command_id] = (first, answered_at)
        return first == answer


def is_decided_anew(answer: Answer) -> bool:
    """Whether a repeat of the command is a new one."""
    return isinstance(answer, PinsReported) or (isinstance(answer, Rejection) and answer.code is RejectionCode.OVERLOADED)


def answer_in(record: HistoryRecord) -> Answer | None:
    """The answer that an event of a run is."""
    match record.event:
        case RunStarted(version=version):
            return StartAccepted(run_id=record.run_id, version=version, created=True)
        case SignalReceived():
            return SignalAccepted(run_id=record.run_id, seq=record.seq)
        case RunCancelRequested():
            return CancelAccepted(run_id=record.run_id, seq=record.seq)
        case RunTerminated():
            return TerminateAccepted(run_id=record.run_id, seq=record.seq)
        case _:
            return None
