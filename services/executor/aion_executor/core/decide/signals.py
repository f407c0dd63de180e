"""Signals: recorded when received; given to the run at its next turn."""

from aion_common.records.commands import SignalRun
from aion_common.records.events import SignalReceived
from aion_common.records.replies import RejectionCode
from aion_executor.core.decide.endings import refuse_ended
from aion_executor.core.decide.runs import refuse_payload
from aion_executor.core.decision import Decision, Rejection
from aion_executor.core.facts import Facts
from aion_executor.core.run import Run


def signal_run(run: Run | None, signal: SignalRun, facts: Facts) -> Decision | Rejection:
    """Record the signal, unless there is no such run, it is closed, or too much of it waits already."""
    if refusal := refuse_ended(run):
        return refusal
    assert run is not None, "a run that is not there is refused"
    if too_large := refuse_payload(signal.payload, "payload", facts):
        return too_large
    if len(run.signals) >= facts.pending_signals_max:
        reason = f"{len(run.signals)} signals wait for the run's next turn"
        return Rejection(code=RejectionCode.OVERLOADED, reason=reason)
    if run.seq >= facts.history_events_max or run.history_bytes >= facts.history_bytes_max:
        return Rejection(code=RejectionCode.OVERLOADED, reason="the run's history is full")
    return Decision(events=(SignalReceived(name=signal.name, payload=signal.payload),))
