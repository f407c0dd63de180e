"""What stands in the records of `aion_beam.frame_codec` about turns: inputs, requests, recorded turns. Pure.

Inputs and turns on their way to a VM become rows, the requests of a turn that come from one become `aion_common.turns`. The
SDK says only which options an activity has been given; what holds otherwise stands here and nowhere else.
"""

from collections.abc import Mapping, Sequence
from typing import Any, assert_never

from aion_beam.frames import Cancel, Input, PartOfTurn, Signal, Turn
from aion_common.limits import ACTIVITY_CLOSE_MS
from aion_common.records.common import ActivityTimeouts, Backoff, Payload, RetryPolicy, json_payload
from aion_common.records.events import (
    ActivityCancelled,
    ActivityCompleted,
    ActivityFailed,
    ActivityScheduled,
    ActivityTimedOut,
    TimerCancelled,
    TimerFired,
    TimerStarted,
    TurnCommand,
)
from aion_common.turns import CancelActivity, CancelTimer, Request, ScheduleActivity, StartTimer

DEFAULT_RETRY = RetryPolicy(
    attempts=None,
    backoff=Backoff.EXPONENTIAL,
    initial_ms=1_000,
    max_ms=100_000,
    jitter_percent=10,
    non_retryable=(),
)
"""Of an activity that was called without options about it."""

DEFAULT_TIMEOUTS = ActivityTimeouts(
    schedule_to_start_ms=None,
    start_to_close_ms=None,
    schedule_to_close_ms=ACTIVITY_CLOSE_MS,
    heartbeat_ms=None,
)
"""As above."""

_BACKOFFS: Mapping[str, Backoff] = {backoff.value: backoff for backoff in Backoff}

_NO_PAYLOAD = b"null"


def payload_text(payload: Payload | None) -> bytes:
    """The bytes that workflow code sees: the payload's, whatever their content type; `null` when there is none."""
    return _NO_PAYLOAD if payload is None else payload.data


def turn_row(turn: Turn | PartOfTurn) -> list[object]:
    """A turn, or the part of one, for START and HISTORY."""
    inputs = [input_row(one) for one in turn.inputs]
    if isinstance(turn, PartOfTurn):
        return [turn.observed_seq, turn.now_ms, inputs, (), ("more",)]
    end = None if turn.end is None else ("wait", turn.end.kind.value, turn.end.name)
    return [turn.observed_seq, turn.now_ms, inputs, [_command_row(command) for command in turn.commands], end]


def input_row(one: Input) -> tuple[object, ...]:
    """An input, for recorded turns and DELIVER."""
    match one:
        case ActivityCompleted(activity=activity, result=result):
            return "activity", activity, "completed", payload_text(result)
        case Signal(name=name, payload=payload):
            return "signal", name, payload
        case TimerFired(timer=timer):
            return "timer", timer
        case ActivityFailed(activity=activity, failure=failure):
            details = None if failure.details is None else failure.details.data
            return "activity", activity, "failed", failure.kind, failure.message, details
        case ActivityTimedOut(activity=activity, timeout=timeout):
            return "activity", activity, "timed_out", timeout.value
        case Cancel(reason=reason):
            return "cancel", reason
        case _:
            assert_never(one)


def _command_row(command: TurnCommand) -> tuple[object, ...]:
    match command:
        case ActivityScheduled(activity=activity, activity_type=activity_type, queue=queue):
            return "activity", activity, activity_type, queue
        case TimerStarted(timer=timer):
            return "timer", timer
        case TimerCancelled(timer=timer):
            return "cancel_timer", timer
        case ActivityCancelled(activity=activity):
            return "cancel_activity", activity
        case _:
            assert_never(command)


def requests_of(rows: Sequence[Any]) -> tuple[Request, ...]:
    """The requests of WAITING. Raises ValueError, TypeError or KeyError for what is none."""
    return tuple([_request(row) for row in rows])


def _request(row: Sequence[Any]) -> Request:
    word = row[0]
    if word == "activity":
        _, activity, activity_type, queue, text, options = row
        return ScheduleActivity(
            activity=activity,
            activity_type=activity_type,
            queue=queue,
            input=json_payload(text),
            retry=_retry(options) if options else DEFAULT_RETRY,
            timeouts=_timeouts(options) if options else DEFAULT_TIMEOUTS,
        )
    if word == "timer":
        _, timer, delay_ms = row
        return StartTimer(timer=timer, delay_ms=delay_ms)
    _, number = row
    if word == "cancel_timer":
        return CancelTimer(timer=number)
    if word == "cancel_activity":
        return CancelActivity(activity=number)
    raise ValueError(f"no request is called {word}")


def _retry(options: dict[str, Any]) -> RetryPolicy:
    if not _RETRY_WORDS.isdisjoint(options):
        return RetryPolicy(
            attempts=options.get("attempts"),
            backoff=_BACKOFFS[options.get("backoff", DEFAULT_RETRY.backoff)],
            initial_ms=options.get("initial", DEFAULT_RETRY.initial_ms),
            max_ms=options.get("max", DEFAULT_RETRY.max_ms),
            jitter_percent=options.get("jitter", DEFAULT_RETRY.jitter_percent),
            non_retryable=tuple(options.get("non_retryable", ())),
        )
    return DEFAULT_RETRY


_RETRY_WORDS = frozenset(("attempts", "backoff", "initial", "max", "jitter", "non_retryable"))


def _timeouts(options: dict[str, Any]) -> ActivityTimeouts:
    return ActivityTimeouts(
        schedule_to_start_ms=options.get("schedule_to_start"),
        start_to_close_ms=options.get("start_to_close"),
        schedule_to_close_ms=options.get("schedule_to_close", ACTIVITY_CLOSE_MS),
        heartbeat_ms=options.get("heartbeat"),
    )
