"""Ends that come from outside the run: cancel and terminate."""

from aion_common.records.commands import CancelRun, TerminateRun
from aion_common.records.events import RunCancelRequested, RunTerminated
from aion_common.records.replies import CancelAccepted, RejectionCode
from aion_executor.core.decision import Answered, Decision, Rejection
from aion_executor.core.facts import Facts
from aion_executor.core.run import Run, is_open


def refuse_ended(run: Run | None) -> Rejection | None:
    """The refusal of a wish about a run that is not there, or closed."""
    if run is None:
        return Rejection(code=RejectionCode.NOT_FOUND, reason="there is no such run")
    if not is_open(run):
        return Rejection(code=RejectionCode.CLOSED, reason="the run is closed", status=run.status.value)
    return None


def cancel_run(run: Run | None, cancel: CancelRun, facts: Facts) -> Decision | Answered | Rejection:
    """Ask the run to end, once: a second wish is answered with the first request."""
    if refusal := refuse_ended(run):
        return refusal
    assert run is not None, "a run that is not there is refused"
    if run.cancel is not None:
        return Answered(answer=CancelAccepted(run_id=run.run_id, seq=run.cancel.seq))
    deadline_ms = facts.now_ms + facts.cancel_grace_ms
    return Decision(events=(RunCancelRequested(reason=cancel.reason, deadline_ms=deadline_ms),))


def terminate_run(run: Run | None, terminate: TerminateRun) -> Decision | Rejection:
    """End the run, whatever it is doing."""
    return refuse_ended(run) or Decision(events=(RunTerminated(reason=terminate.reason),))
