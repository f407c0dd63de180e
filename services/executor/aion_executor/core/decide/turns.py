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
from aion_executor.core.run import Run, is_running

RECORD_BYTES = 115
"""Of an event beside what the request itself holds and the ids of the run, which stand in its record and in its key. As
`aion_rows.erl` counts, so that no turn is too large here which its VM let pass."""


def end_turn(run: Run | None, turn: TurnInput, facts: Facts) -> Decision:
    """What the turn asked for, and its end. When it ends the run, nobody is there any more to see what it asked for. A result
    over the payload limit fails the run: it would be the same on every replay."""
    if run is None or not is_running(run):
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
    commands = [*[_command(one, None, facts) for one in others], _command(last, ended, facts)]
    unheard = [one for one in commands if isinstance(one, ActivityScheduled) and not one.has_queue]
    if not unheard:
        return tuple(commands)
    given_up = {one.activity for one in requests if isinstance(one, CancelActivity)}
    waited_for = [one for one in unheard if one.activity not in given_up]
    return (*commands, *[no_queue(run, one.activity, begun(one, 0, facts.now_ms), 1, facts) for one in waited_for])


def _command(request: Request, ended: TurnEnded | None, facts: Facts) -> TurnCommand:
    match request:
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
        case StartTimer(timer=timer, delay_ms=delay_ms):
            return TimerStarted(timer=timer, fire_at=facts.now_ms + delay_ms, turn=ended)
        case CancelTimer(timer=timer):
            return TimerCancelled(timer=timer, turn=ended)
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
    if waits > facts.waits_max and (waits := _waits_behind(run, requests)) > facts.waits_max:
        return (RunBlocked(expected=f"at most {facts.waits_max} open timers and activities", found=str(waits)),)
    size = _bytes_of(run, requests, facts)
    if size > facts.decision_bytes_max:
        return (RunBlocked(expected=f"at most {facts.decision_bytes_max} bytes asked for in a turn", found=str(size)),)
    return ()


def _waits_behind(run: Run, requests: Sequence[Request]) -> int:
    """How many timers and activities are open when the turn has ended."""
    waits = {*run.timers, *run.activities}
    for request in requests:
        match request:
            case StartTimer(timer=number) | ScheduleActivity(activity=number):
                waits.add(number)
            case CancelTimer(timer=number) | CancelActivity(activity=number):
                waits.discard(number)
            case _:
                assert_never(request)
    return len(waits)


def _bytes_of(run: Run, requests: Sequence[Request], facts: Facts) -> int:
    """What the events of the requests take in the log at most."""
    ids = len(f"{run.namespace}{run.workflow_id}".encode())
    each = RECORD_BYTES + 2 * ids + len(run.run_id)
    return sum([each + _own_bytes(request, each, facts) for request in requests])


def _own_bytes(request: Request, each: int, facts: Facts) -> int:
    """What a request holds, and the failure of an activity whose queue is not there."""
    if not isinstance(request, ScheduleActivity):
        return 0
    texts = "".join([request.activity_type, request.queue, *request.retry.non_retryable]).encode()
    given = 0 if request.input is None else len(request.input.data)
    failed = 0 if request.queue in facts.queues else each + len(request.queue)
    return len(texts) + given + failed
