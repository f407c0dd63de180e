"""What workers report, and what time does to activities."""

from collections.abc import Sequence
from typing import assert_never

from msgspec.structs import replace

from aion_common.limits import NAME_BYTES_MAX, REASON_BYTES_MAX
from aion_common.records.events import (
    ActivityCompleted,
    ActivityFailed,
    ActivityRetried,
    ActivityStarted,
    ActivityTimedOut,
    Failure,
    RunEvent,
    TimeoutKind,
)
from aion_common.records.tasks import (
    TaskCancelled,
    TaskCompleted,
    TaskFailed,
    TaskHeartbeat,
    TaskReport,
    TaskStarted,
)
from aion_executor.core.activities import Activity, next_time, reports_start, retry_at
from aion_executor.core.decision import NOTHING, Decision
from aion_executor.core.facts import Facts
from aion_executor.core.run import Run

CANCELLED = "cancelled"
LIMIT = "limit"
UNKNOWN_QUEUE = "unknown_queue"
"""Kinds of failures that the engine itself tells."""


def concerned(run: Run | None, report: TaskReport) -> Activity | None:
    """The activity of the run whose present attempt the report is about; None: nobody waits for it."""
    if run is None or (run.namespace, run.workflow_id) != (report.namespace, report.workflow_id):
        return None
    known = run.activities.get(report.activity)
    is_present = known is not None and known.task_at is not None and known.attempt == report.attempt
    return known if is_present else None


def take_report(run: Run | None, report: TaskReport, facts: Facts) -> Decision:
    """An attempt began or ended. Heartbeats make no event of the run."""
    known = concerned(run, report)
    if run is None or known is None:
        return NOTHING
    number, attempt = report.activity, known.attempt
    match report.body:
        case TaskCompleted(result=result):
            if result is not None and len(result.data) > facts.payload_bytes_max:
                message = f"the result has {len(result.data)} bytes, more than the limit of {facts.payload_bytes_max}"
                return Decision(events=(_final(number, attempt, Failure(kind=LIMIT, message=message, details=None)),))
            return Decision(events=(ActivityCompleted(activity=number, attempt=attempt, result=result),))
        case TaskStarted():
            if known.started_at is not None or not reports_start(known.timeouts):
                return NOTHING
            return Decision(events=(ActivityStarted(activity=number, attempt=attempt, worker=report.worker),))
        case TaskHeartbeat():
            return NOTHING
        case TaskFailed(failure=failure, retryable=retryable):
            is_final = not retryable or failure.kind in known.retry.non_retryable
            again = None if is_final else retry_at(run.run_id, number, known, facts.now_ms)
            fitting = _fitting(failure, facts)
            return Decision(events=(ActivityFailed(activity=number, attempt=attempt, failure=fitting, retry_at=again),))
        case TaskCancelled():
            stopped = Failure(kind=CANCELLED, message="the worker stopped it", details=None)
            again = retry_at(run.run_id, number, known, facts.now_ms)
            return Decision(events=(ActivityFailed(activity=number, attempt=attempt, failure=stopped, retry_at=again),))
        case _:
            assert_never(report.body)


def come_due(run: Run, number: int, known: Activity, facts: Facts) -> Sequence[RunEvent]:
    """What time has done to an activity by now, if anything."""
    at, timeout = next_time(known)
    if at > facts.now_ms:
        return ()
    match timeout:
        case None if known.queue in facts.queues:
            return (ActivityRetried(activity=number, attempt=known.attempt + 1, heartbeat=known.heartbeat),)
        case None:
            return (no_queue(run, number, known, known.attempt + 1, facts),)
        case TimeoutKind.SCHEDULE_TO_START | TimeoutKind.SCHEDULE_TO_CLOSE:
            # Another attempt would wait in the same queue; the whole activity has no time for one.
            again = None
        case TimeoutKind.START_TO_CLOSE | TimeoutKind.HEARTBEAT:
            again = retry_at(run.run_id, number, known, facts.now_ms)
        case _:
            assert_never(timeout)
    return (ActivityTimedOut(activity=number, attempt=known.attempt, timeout=timeout, retry_at=again),)


def no_queue(run: Run, number: int, known: Activity, attempt: int, facts: Facts) -> ActivityFailed:
    """The attempt fails before anything is sent. Somebody may create the queue before the next one."""
    failure = Failure(kind=UNKNOWN_QUEUE, message=f"there is no task queue {known.queue!r}", details=None)
    again = retry_at(run.run_id, number, replace(known, attempt=attempt), facts.now_ms)
    return ActivityFailed(activity=number, attempt=attempt, failure=failure, retry_at=again)


def _fitting(failure: Failure, facts: Facts) -> Failure:
    """What workers write is bounded: the message is for people, and details over the limit are left out."""
    details = failure.details
    if details is not None and len(details.data) > facts.payload_bytes_max:
        details = None
    return Failure(kind=failure.kind[:NAME_BYTES_MAX], message=failure.message[:REASON_BYTES_MAX], details=details)


def _final(number: int, attempt: int, failure: Failure) -> ActivityFailed:
    return ActivityFailed(activity=number, attempt=attempt, failure=failure, retry_at=None)
