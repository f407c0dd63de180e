"""Activities: what the run asked for, and what became of it."""

from typing import assert_never

from msgspec.structs import replace

from aion_common.records.events import (
    ActivityCancelled,
    ActivityCompleted,
    ActivityFailed,
    ActivityRetried,
    ActivityScheduled,
    ActivityStarted,
    ActivityTimedOut,
    Heartbeat,
)
from aion_executor.core.activities import Activity, begun
from aion_executor.core.apply.turns import command_recorded, given_input
from aion_executor.core.run import Run

AttemptEvent = ActivityStarted | ActivityFailed | ActivityTimedOut | ActivityRetried | ActivityCancelled


def scheduled(run: Run, event: ActivityScheduled, recorded_at: int) -> Run:
    """The run calls an activity."""
    activity = begun(event, run.seq, recorded_at)
    return command_recorded(run, event.turn, activities={**run.activities, event.activity: activity})


def completed(run: Run, event: ActivityCompleted) -> Run:
    """A result is one more input, and the run does not wait any more."""
    return given_input(run, run.seq, activities=_without(run, event.activity))


def changed(run: Run, event: AttemptEvent, recorded_at: int) -> Run:
    """An attempt begins or fails, or the run does not wait any more: one that is cancelled may have ended meanwhile. Failures
    without another attempt are inputs."""
    number = event.activity
    match event:
        case ActivityStarted():
            return _with(run, number, replace(run.activities[number], started_at=recorded_at))
        case ActivityFailed(retry_at=None) | ActivityTimedOut(retry_at=None):
            return given_input(run, run.seq, activities=_without(run, number))
        case ActivityFailed() | ActivityTimedOut():
            known = run.activities[number]
            waits = replace(known, attempt=event.attempt, task_at=None, started_at=None, beat_at=None, retry_at=event.retry_at)
            return _with(run, number, waits)
        case ActivityRetried():
            again = replace(run.activities[number], attempt=event.attempt, task_at=recorded_at, retry_at=None)
            return _with(run, number, again)
        case ActivityCancelled():
            return command_recorded(run, event.turn, activities=_without(run, number))
        case _:
            assert_never(event)


def beaten(run: Run, beat: Heartbeat, recorded_at: int) -> Run:
    """A worker is still at it."""
    known = run.activities[beat.activity]
    details = known.heartbeat if beat.details is None else beat.details
    return _with(run, beat.activity, replace(known, beat_at=recorded_at, heartbeat=details))


def _with(run: Run, number: int, activity: Activity) -> Run:
    return replace(run, activities={**run.activities, number: activity})


def _without(run: Run, number: int) -> dict[int, Activity]:
    return {other: known for other, known in run.activities.items() if other != number}
