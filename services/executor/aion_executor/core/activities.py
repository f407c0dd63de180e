"""An activity that a run waits for: where it stands, when time does something to it, and when it is tried again."""

from blake3 import blake3
from msgspec import Struct

from aion_common.ids import RunId
from aion_common.records.common import ActivityTimeouts, Backoff, Payload, RetryPolicy
from aion_common.records.events import ActivityScheduled, TimeoutKind

DOUBLINGS_MAX = 40
"""A pause that doubled so often is over every `max_ms`."""


class Activity(Struct, frozen=True, kw_only=True, array_like=True, gc=False):
    """`seq`: of its ActivityScheduled. `task_at`: when the task of the present attempt was owed; None: the next one begins at
    `retry_at`. `started_at`, `beat_at`: what a worker told of this attempt. `heartbeat`: the newest details, of any attempt."""

    seq: int
    activity_type: str
    queue: str
    attempt: int
    scheduled_at: int
    task_at: int | None
    retry: RetryPolicy
    timeouts: ActivityTimeouts
    retry_at: int | None = None
    started_at: int | None = None
    beat_at: int | None = None
    heartbeat: Payload | None = None


def begun(event: ActivityScheduled, seq: int, now_ms: int) -> Activity:
    """Attempt 1, here and now; without a queue there is no task."""
    return Activity(
        seq=seq,
        activity_type=event.activity_type,
        queue=event.queue,
        attempt=1,
        scheduled_at=now_ms,
        task_at=now_ms if event.has_queue else None,
        retry_at=None if event.has_queue else now_ms,
        retry=event.retry,
        timeouts=event.timeouts,
    )


def close_by(activity: Activity) -> int:
    """When it is given up, whatever its attempts do."""
    return activity.scheduled_at + activity.timeouts.schedule_to_close_ms


def next_time(activity: Activity) -> tuple[int, TimeoutKind | None]:
    """When time does something to it next, and what: the time-out that is over then; None: the next attempt begins."""
    limits = activity.timeouts
    first: tuple[int, TimeoutKind | None] = close_by(activity), TimeoutKind.SCHEDULE_TO_CLOSE
    if activity.task_at is None:
        assert activity.retry_at is not None, "an activity without a task waits for its next attempt"
        return _sooner(first, activity.retry_at, None)
    if activity.started_at is None:
        if limits.schedule_to_start_ms is not None:
            first = _sooner(first, activity.task_at + limits.schedule_to_start_ms, TimeoutKind.SCHEDULE_TO_START)
        return first
    if limits.start_to_close_ms is not None:
        first = _sooner(first, activity.started_at + limits.start_to_close_ms, TimeoutKind.START_TO_CLOSE)
    if limits.heartbeat_ms is not None:
        alive_at = max(activity.started_at, activity.beat_at or 0)
        first = _sooner(first, alive_at + limits.heartbeat_ms, TimeoutKind.HEARTBEAT)
    return first


def _sooner(first: tuple[int, TimeoutKind | None], time_ms: int, kind: TimeoutKind | None) -> tuple[int, TimeoutKind | None]:
    return first if first[0] <= time_ms else (time_ms, kind)


def reports_start(timeouts: ActivityTimeouts) -> bool:
    """Whether some time-out counts from the start of work, or until it."""
    return not (timeouts.schedule_to_start_ms is timeouts.start_to_close_ms is timeouts.heartbeat_ms is None)


def retry_at(run_id: RunId, number: int, activity: Activity, now_ms: int) -> int | None:
    """When the attempt after the present one begins if this one failed now; None: there is none. Jitter comes from the ids, so
    that whoever decides it says the same."""
    policy = activity.retry
    if policy.attempts is not None and activity.attempt >= policy.attempts:
        return None
    at = now_ms + _pause_ms(policy, activity.attempt, f"{run_id}/{number}/{activity.attempt}")
    return at if at < close_by(activity) else None


def _pause_ms(policy: RetryPolicy, failed: int, seed: str) -> int:
    match policy.backoff:
        case Backoff.FIXED:
            pause_ms = policy.initial_ms
        case Backoff.LINEAR:
            pause_ms = policy.initial_ms * failed
        case Backoff.EXPONENTIAL:
            pause_ms = policy.initial_ms << min(failed - 1, DOUBLINGS_MAX)
    pause_ms = min(pause_ms, policy.max_ms)
    dice = int.from_bytes(blake3(seed.encode()).digest(length=4), "big")
    return pause_ms - (pause_ms * policy.jitter_percent * dice // (100 << 32))
