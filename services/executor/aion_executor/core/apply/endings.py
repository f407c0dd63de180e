"""Ends that come from outside the run."""

from aion_common.records.events import RunCancelled, RunCancelRequested
from aion_executor.core.apply.runs import closed
from aion_executor.core.apply.turns import given_input, observed
from aion_executor.core.run import CancelRequest, Run, RunStatus


def cancel_requested(run: Run, event: RunCancelRequested, seq: int) -> Run:
    """One more input that the run was not given yet, and a deadline."""
    request = CancelRequest(seq=seq, reason=event.reason, deadline_ms=event.deadline_ms)
    return given_input(run, seq, cancel=request)


def cancelled(run: Run, event: RunCancelled, recorded_at: int) -> Run:
    """Terminal."""
    seen = run if event.observed_seq is None else observed(run, event.observed_seq)
    return closed(seen, RunStatus.CANCELLED, recorded_at)


def terminated(run: Run, recorded_at: int) -> Run:
    """Terminal."""
    return closed(run, RunStatus.TERMINATED, recorded_at)


def timed_out(run: Run, recorded_at: int) -> Run:
    """Terminal."""
    return closed(run, RunStatus.TIMED_OUT, recorded_at)
