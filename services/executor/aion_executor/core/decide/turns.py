"""Ends of turns: what a VM proposes becomes a fact, unless the run has been closed or blocked meanwhile."""

from collections.abc import Sequence
from typing import assert_never

from aion_common.records.events import (
    ActivityCancelled,
    ActivityScheduled,
    Failure,
    RunBlocked,
    RunCancelled,
    RunCompleted,
    RunEvent,
    RunFailed,
    TimerCancelled,
    TimerStarted,
    TurnCommand,
    TurnEnded,
)
from aion_common.turns import CancelActivity, CancelTimer, Request, ScheduleActivity, StartTimer
from aion_executor.core.activities import begun
from aion_executor.core.decide.activities import no_queue
from aion_executor.core.decision import NOTHING, Decision
from aion_executor.core.facts import Facts
from aion_executor.core.inputs import Blocks, Cancels, Completes, End, Fails, TurnInput, Waits
from aion_executor.core.run import Run, RunStatus

EVENT_BYTES = 512
"""What the event of a request takes beside its input: a key, ids and an activity's policy."""


def end_turn(run: Run | None, turn: TurnInput, facts: Facts) -> Decision:
    """What the turn asked for, and its end. When it ends the run, nobody is there any more to see what it asked for. A result
    over the payload limit fails the run: it would be the same on every replay."""
    if run is None or run.status is not RunStatus.RUNNING:
        return NOTHING
    match turn.outcome:
        case Waits(wait=wait, name=name):
            ended = TurnEnded(observed_seq=turn.observed_seq, wait=wait, name=name)
            return Decision(events=_too_much(run, turn.requests, facts) or _waiting(run, turn.requests, ended, facts))
        case outcome:
            return Decision(events=(_end_of(run, outcome, turn, facts),))


def _waiting(run: Run, requests: Sequence[Request], ended: TurnEnded, facts: Facts) -> tuple[RunEvent, ...]:
    if not requests:
        return (ended,)
    *others, last = requests
    commands = [*(_command(one, None, facts) for one in others), _command(last, ended, facts)]
    given_up = {one.activity for one in requests if isinstance(one, CancelActivity)}
    scheduled = (one for one in commands if isinstance(one, ActivityScheduled) and one.activity not in given_up)
    unheard = (one for one in scheduled if not one.has_queue)
    return (*commands, *(no_queue(run, one.activity, begun(one, 0, facts.now_ms), 1, facts) for one in unheard))


def _command(request: Request, ended: TurnEnded | None, facts: Facts) -> TurnCommand:
    match request:
        case StartTimer(timer=timer, delay_ms=delay_ms):
            return TimerStarted(timer=timer, fire_at=facts.now_ms + delay_ms, turn=ended)
        case CancelTimer(timer=timer):
            return TimerCancelled(timer=timer, turn=ended)
        case ScheduleActivity():
            return ActivityScheduled(
                activity=request.activity,
                activity_type=request.activity_type,
                queue=request.queue,
                input=request.input,
                retry=request.retry,
                timeouts=request.timeouts,
                turn=ended,
                has_queue=request.queue in facts.queues,
            )
        case CancelActivity(activity=activity):
            return ActivityCancelled(activity=activity, turn=ended)
        case _:
            assert_never(request)


def _end_of(run: Run, outcome: End, turn: TurnInput, facts: Facts) -> RunEvent:
    match outcome:
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
            assert_never(outcome)


def _too_much(run: Run, requests: Sequence[Request], facts: Facts) -> tuple[RunEvent, ...]:
    """Nothing, unless the run is over a limit: then it is blocked, its history as it was."""
    if run.seq >= facts.history_events_max or run.history_bytes >= facts.history_bytes_max:
        most = f"at most {facts.history_events_max} events and {facts.history_bytes_max} bytes of history"
        return (RunBlocked(expected=most, found=f"{run.seq} events and {run.history_bytes} bytes"),)
    if not requests:
        return ()
    waits = len(run.timers) + len(run.activities) + len(requests)
    if waits > facts.waits_max:
        return (RunBlocked(expected=f"at most {facts.waits_max} open timers and activities", found=str(waits)),)
    size = sum(_request_bytes(request) for request in requests)
    if size > facts.decision_bytes_max:
        return (RunBlocked(expected=f"at most {facts.decision_bytes_max} bytes asked for in a turn", found=str(size)),)
    return ()


def _request_bytes(request: Request) -> int:
    own = len(request.input.data) if isinstance(request, ScheduleActivity) and request.input is not None else 0
    return own + EVENT_BYTES
