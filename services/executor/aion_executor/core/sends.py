"""What the events of a run owe to workers: a pure function of the history, so that a new owner repeats it."""

from collections.abc import Callable, Sequence
from typing import assert_never

from aion_common.ids import RunId, workflow_key
from aion_common.records.common import Payload
from aion_common.records.events import (
    ActivityCancelled,
    ActivityCompleted,
    ActivityRetried,
    ActivityScheduled,
    ActivityTimedOut,
    HistoryRecord,
)
from aion_common.records.tasks import CancelTasks, Task
from aion_executor.core.activities import Activity, close_by, reports_start
from aion_executor.core.run import Run, is_open

InputOf = Callable[[RunId, int], Payload | None]
"""The input of the ActivityScheduled at this seq of a run."""


def to_workers(before: Run, record: HistoryRecord, after: Run, number: int, input_of: InputOf) -> Sequence[Task | CancelTasks]:
    """Tasks and cancellations that leave because of an event. `number`: the partition's."""
    match record.event:
        case ActivityScheduled(has_queue=True, activity=activity, input=payload):
            return (_task(after, activity, after.activities[activity], payload, number),)
        case ActivityCompleted():
            return ()
        case ActivityRetried(activity=activity):
            known = after.activities[activity]
            return (_task(after, activity, known, input_of(after.run_id, known.seq), number),)
        case ActivityCancelled(activity=activity) if _has_task(before, activity):
            return (_cancel(after, activity, None, "the run does not wait for it any more"),)
        case ActivityTimedOut(activity=activity, attempt=attempt, timeout=timeout):
            return (_cancel(after, activity, attempt, f"its {timeout.value} time is over"),)
        case _ if before.activities and not is_open(after):
            return (_cancel(after, None, None, f"the run is {after.status.value}"),)
        case _:
            return ()


def idempotency_key(run: Run, number: int) -> str:
    """The same for every attempt of an activity, and for no other activity."""
    return f"{run.run_id}/{number}"


def key_of(message: Task | CancelTasks) -> bytes:
    """Tasks, and the reports of them, stand under their workflow's key."""
    match message:
        case Task(namespace=namespace, workflow_id=workflow_id):
            return workflow_key(namespace, workflow_id)
        case CancelTasks(run_id=run_id):
            return run_id.encode()
        case _:
            assert_never(message)


def _has_task(run: Run, activity: int) -> bool:
    known = run.activities.get(activity)
    return known is not None and known.task_at is not None


def _task(run: Run, activity: int, known: Activity, payload: Payload | None, number: int) -> Task:
    return Task(
        namespace=run.namespace,
        workflow_id=run.workflow_id,
        run_id=run.run_id,
        workflow_type=run.workflow_type,
        activity=activity,
        activity_type=known.activity_type,
        attempt=known.attempt,
        idempotency_key=idempotency_key(run, activity),
        input=payload,
        heartbeat=known.heartbeat,
        scheduled_at=known.scheduled_at,
        close_by=close_by(known),
        start_to_close_ms=known.timeouts.start_to_close_ms,
        heartbeat_ms=known.timeouts.heartbeat_ms,
        report_started=reports_start(known.timeouts),
        results_partition=number,
    )


def _cancel(run: Run, activity: int | None, attempt: int | None, reason: str) -> CancelTasks:
    return CancelTasks(
        namespace=run.namespace,
        workflow_id=run.workflow_id,
        run_id=run.run_id,
        activity=activity,
        attempt=attempt,
        reason=reason,
    )
