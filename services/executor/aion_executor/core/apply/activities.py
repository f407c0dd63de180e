"""Activities: what the run asked for, and what became of it."""

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


def scheduled(run: Run, event: ActivityScheduled, recorded_at: int) -> Run:
    """Attempt 1 begins, here and now."""
    return command_recorded(_with(run, event.activity, begun(event, run.seq, recorded_at)), event.turn)


def started(run: Run, event: ActivityStarted, recorded_at: int) -> Run:
    """Its time-outs count from here."""
    return _with(run, event.activity, replace(run.activities[event.activity], started_at=recorded_at))


def beaten(run: Run, beat: Heartbeat, recorded_at: int) -> Run:
    """A worker is still at it."""
    known = run.activities[beat.activity]
    details = known.heartbeat if beat.details is None else beat.details
    return _with(run, beat.activity, replace(known, beat_at=recorded_at, heartbeat=details))


def completed(run: Run, event: ActivityCompleted) -> Run:
    """An input."""
    return given_input(_without(run, event.activity), run.seq)


def attempt_ended(run: Run, event: ActivityFailed | ActivityTimedOut) -> Run:
    """An input if it was the last attempt."""
    if event.retry_at is None:
        return given_input(_without(run, event.activity), run.seq)
    known = run.activities[event.activity]
    waits = replace(known, attempt=event.attempt, task_at=None, started_at=None, beat_at=None, retry_at=event.retry_at)
    return _with(run, event.activity, waits)


def retried(run: Run, event: ActivityRetried, recorded_at: int) -> Run:
    """The next attempt begins."""
    again = replace(run.activities[event.activity], attempt=event.attempt, task_at=recorded_at, retry_at=None)
    return _with(run, event.activity, again)


def cancelled(run: Run, event: ActivityCancelled) -> Run:
    """It may have ended meanwhile."""
    return command_recorded(_without(run, event.activity), event.turn)


def _with(run: Run, number: int, activity: Activity) -> Run:
    return replace(run, activities={**run.activities, number: activity})


def _without(run: Run, number: int) -> Run:
    return replace(run, activities={other: known for other, known in run.activities.items() if other != number})
