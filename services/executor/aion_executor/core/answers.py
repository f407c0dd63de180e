"""What a history record owes to whoever sent its command: a pure function of the record, so that a new owner repeats it.

A start is answered by its RunStarted, a signal by its SignalReceived and so on; what made no event by `Progress.answers`. An
event without a cause owes nothing: a run that is terminated for another to take its place is not what the command asked for.
"""

from aion_common.records.events import (
    HistoryRecord,
    Progress,
    RecordedAnswer,
    RunCancelRequested,
    RunStarted,
    RunTerminated,
    SignalReceived,
)
from aion_common.records.replies import Answer, CancelAccepted, SignalAccepted, StartAccepted, TerminateAccepted


def answers_of(record: HistoryRecord) -> tuple[RecordedAnswer, ...]:
    """The answers this record makes durable, in order."""
    if (cause := record.cause) is None:
        return record.event.answers if isinstance(record.event, Progress) else ()
    match record.event:
        case RunStarted(version=version):
            answer: Answer = StartAccepted(run_id=record.run_id, version=version, created=True)
        case SignalReceived():
            answer = SignalAccepted(run_id=record.run_id, seq=record.seq)
        case RunCancelRequested():
            answer = CancelAccepted(run_id=record.run_id, seq=record.seq)
        case RunTerminated():
            answer = TerminateAccepted(run_id=record.run_id, seq=record.seq)
        case _:
            return ()
    return (RecordedAnswer(command_id=cause.command_id, reply_partition=cause.reply_partition, answer=answer),)
