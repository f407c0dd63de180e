"""Ends of turns: what a VM proposes becomes a fact, unless the run has been closed or blocked meanwhile."""

from typing import assert_never

from aion_common.records.events import Failure, RunBlocked, RunCancelled, RunCompleted, RunEvent, RunFailed, TurnEnded
from aion_executor.core.decision import NOTHING, Decision
from aion_executor.core.facts import Facts
from aion_executor.core.inputs import Blocks, Cancels, Completes, Fails, TurnInput, Waits
from aion_executor.core.run import Run, RunStatus


def end_turn(run: Run | None, turn: TurnInput, facts: Facts) -> Decision:
    """One event that ends the turn. A result over the payload limit fails the run: it would be the same on every replay."""
    if run is None or run.status is not RunStatus.RUNNING:
        return NOTHING
    return Decision(events=(_event_of(run, turn, facts),))


def _event_of(run: Run, turn: TurnInput, facts: Facts) -> RunEvent:
    match turn.outcome:
        case Waits(wait=wait, name=name):
            return _history_full(run, facts) or TurnEnded(observed_seq=turn.observed_seq, wait=wait, name=name)
        case Completes(result=result) if len(result.data) > facts.payload_bytes_max:
            message = f"the result has {len(result.data)} bytes, more than the limit of {facts.payload_bytes_max}"
            failure = Failure(kind="limit", message=message, details=None)
            return RunFailed(observed_seq=turn.observed_seq, failure=failure)
        case Completes(result=result):
            return RunCompleted(observed_seq=turn.observed_seq, result=result)
        case Fails(failure=failure):
            return RunFailed(observed_seq=turn.observed_seq, failure=failure)
        case Cancels(reason=reason) if run.cancel is None:
            message = f"raised aion_cancelled without having been asked to cancel: {reason}"
            return RunFailed(observed_seq=turn.observed_seq, failure=Failure(kind="crash", message=message, details=None))
        case Cancels(reason=reason):
            return RunCancelled(observed_seq=turn.observed_seq, reason=reason)
        case Blocks(expected=expected, found=found):
            return RunBlocked(expected=expected, found=found)
        case _:
            assert_never(turn.outcome)


def _history_full(run: Run, facts: Facts) -> RunBlocked | None:
    if run.seq < facts.history_events_max and run.history_bytes < facts.history_bytes_max:
        return None
    return RunBlocked(
        expected=f"at most {facts.history_events_max} events and {facts.history_bytes_max} bytes of history",
        found=f"{run.seq} events and {run.history_bytes} bytes",
    )
