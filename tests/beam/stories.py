"""What a run does, delivery by delivery, live and again from every prefix of its history."""

import json
from collections.abc import Sequence
from typing import assert_never

from msgspec.structs import replace

from aion_beam.frames import CaughtUp, Completed, Failed, Input, Outcome, Turn, Wait, Waiting
from aion_common.records.common import json_payload
from aion_common.records.events import (
    ActivityCancelled,
    ActivityCompleted,
    ActivityFailed,
    ActivityScheduled,
    ActivityTimedOut,
    Failure,
    TimeoutKind,
    TimerCancelled,
    TimerFired,
    TimerStarted,
    TurnCommand,
)
from aion_common.turns import CancelActivity, CancelTimer, Request, ScheduleActivity, StartTimer
from beam.bench import Bench, turn

Shown = object
"""An outcome as the tests write it down: of a wait its text and requests, of an end the value."""


async def story(bench: Bench, function: str, argument: bytes, *deliveries: Sequence[Input]) -> list[Shown]:
    """What the run told: first by itself, then after each delivery. Fails when any replay tells something else."""
    lived = await _live(bench, function, argument, deliveries)
    turns = recorded_turns(lived, deliveries)
    for upto in range(1, len(lived)):
        again = bench.start(function, argument, *turns[:upto])
        assert await bench.next(again) == CaughtUp(activation=again)
        for n in range(upto, len(lived)):
            bench.pool.deliver(again, 10 * n, 10_000 * n, deliveries[n - 1])
            assert _of(0, await bench.next(again)) == _of(0, lived[n])
        live = turn(10 * upto, *deliveries[upto - 1])
        at_once = bench.start(function, argument, *turns[:upto], live)
        assert _of(0, await bench.next(at_once)) == _of(0, lived[upto])
    return [shown(outcome) for outcome in lived]


async def _live(bench: Bench, function: str, argument: bytes, deliveries: Sequence[Sequence[Input]]) -> list[Outcome]:
    run = bench.start(function, argument)
    lived = [await bench.next(run)]
    for n, inputs in enumerate(deliveries, 1):
        assert isinstance(lived[-1], Waiting), f"the run waits before delivery {n}: {lived[-1]}"
        bench.pool.deliver(run, 10 * n, 10_000 * n, inputs)
        lived.append(await bench.next(run))
    return lived


def recorded_turns(lived: Sequence[Outcome], deliveries: Sequence[Sequence[Input]]) -> list[Turn]:
    """The turns that ended in a wait, as a history has them."""
    turns = []
    for n, outcome in enumerate(lived):
        if isinstance(outcome, Waiting):
            inputs = deliveries[n - 1] if n else ()
            end = Wait(kind=outcome.kind, name=outcome.name)
            begun = turn(10 * n if n else 1, *inputs, end=end)
            turns.append(replace(begun, commands=commands_of(outcome.requests)))
    return turns


def commands_of(requests: Sequence[Request]) -> tuple[TurnCommand, ...]:
    """The events that the core makes of a turn's requests, as far as a replay cares."""
    return tuple(_command_of(request) for request in requests)


def _command_of(request: Request) -> TurnCommand:
    match request:
        case StartTimer(timer=timer, delay_ms=delay_ms):
            return TimerStarted(timer=timer, fire_at=delay_ms, turn=None)
        case CancelTimer(timer=timer):
            return TimerCancelled(timer=timer, turn=None)
        case CancelActivity(activity=activity):
            return ActivityCancelled(activity=activity, turn=None)
        case ScheduleActivity():
            return ActivityScheduled(
                activity=request.activity,
                activity_type=request.activity_type,
                queue=request.queue,
                input=request.input,
                retry=request.retry,
                timeouts=request.timeouts,
                turn=None,
            )
        case _:
            assert_never(request)


def _of(activation: int, outcome: Outcome) -> Outcome:
    return replace(outcome, activation=activation)


def shown(outcome: Outcome) -> Shown:
    match outcome:
        case Waiting():
            return [outcome.name or "receive", *(_words(request) for request in outcome.requests)]
        case Completed(json=text):
            return json.loads(text)
        case Failed():
            return f"{outcome.kind}: {outcome.message}"
        case _:
            return type(outcome).__name__


def _words(request: Request) -> str:
    match request:
        case StartTimer(timer=timer, delay_ms=delay_ms):
            return f"timer {timer} {delay_ms}"
        case CancelTimer(timer=timer):
            return f"cancel timer {timer}"
        case ScheduleActivity(activity=activity, activity_type=activity_type):
            return f"call {activity} {activity_type}"
        case CancelActivity(activity=activity):
            return f"cancel call {activity}"
        case _:
            assert_never(request)


def fired(timer: int) -> TimerFired:
    return TimerFired(timer=timer)


def done(activity: int, result: bytes | None = b"1") -> ActivityCompleted:
    payload = None if result is None else json_payload(result)
    return ActivityCompleted(activity=activity, attempt=1, result=payload)


def failed(activity: int, kind: str = "declined", details: bytes | None = None) -> ActivityFailed:
    payload = None if details is None else json_payload(details)
    return ActivityFailed(
        activity=activity, attempt=1, failure=Failure(kind=kind, message="no", details=payload), retry_at=None
    )


def timed_out(activity: int, kind: TimeoutKind) -> ActivityTimedOut:
    return ActivityTimedOut(activity=activity, attempt=1, timeout=kind, retry_at=None)
