"""Calling activities as a worker does, without Kafka: input checked, context given, errors as the workflow would see them.

outcome = run(charge, {"order": 7}, attempt=2)
assert outcome.result == {"receipt": "r-7"}
"""

import asyncio
import json
from dataclasses import dataclass
from typing import Any

from aion_common.clock import SystemClock
from aion_common.ids import Namespace, RunId, WorkflowId, WorkflowType
from aion_common.records.common import Payload, json_payload
from aion_common.records.tasks import ReportBody, Task, TaskCompleted, TaskFailed
from aion_worker.activity import Activity
from aion_worker.attempt import Attempt
from aion_worker.deadlines import Deadlines
from aion_worker.json_values import json_of
from aion_worker.threads import Threads

_AN_HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """`kind`, `message` and `details` as the workflow gets them; `is_retryable`: whether another attempt would follow."""

    kind: str
    message: str
    details: Any
    is_retryable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of the call: a `result`, as parsed JSON; or `failed`; or it was cancelled. `heartbeat_details`: the newest
    that the activity told, or those it was given."""

    result: Any
    failed: Failed | None
    is_cancelled: bool
    heartbeat_details: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """In which an activity is called. `cancel_after_s`: nobody waits for the result any more so long after the call."""

    attempt: int = 1
    heartbeat_details: object = None
    idempotency_key: str = "run/1"
    cancel_after_s: float | None = None
    start_to_close_ms: int | None = None


def run(activity: Activity[..., Any], value: object = None, situation: Situation | None = None) -> Outcome:
    """Call the activity with this input, any value that becomes JSON. In `async` tests use `call`."""
    return asyncio.run(call(activity, value, situation))


async def call(activity: Activity[..., Any], value: object = None, situation: Situation | None = None) -> Outcome:
    """As `run`."""
    given = situation or Situation()
    task = task_of(activity.name, value, given)
    threads = Threads()
    attempt = Attempt(task, activity, SystemClock().now_ms(), threads, Deadlines())
    try:
        async with asyncio.TaskGroup() as group:
            companion = group.create_task(attempt.accompany(_hear))
            if given.cancel_after_s is not None:
                asyncio.get_running_loop().call_later(given.cancel_after_s, attempt.cancel)
            body = await attempt.run()
            companion.cancel()
    finally:
        threads.close()
    return _outcome(body, attempt.latest)


def task_of(activity_type: str, value: object, situation: Situation) -> Task:
    """The task that such a call would come from."""
    now_ms = SystemClock().now_ms()
    return Task(
        namespace=Namespace("default"),
        workflow_id=WorkflowId("workflow"),
        run_id=RunId("0" * 32),
        workflow_type=WorkflowType("workflow"),
        activity=1,
        activity_type=activity_type,
        attempt=situation.attempt,
        idempotency_key=situation.idempotency_key,
        input=json_payload(json_of(value)),
        heartbeat=None if situation.heartbeat_details is None else json_payload(json_of(situation.heartbeat_details)),
        scheduled_at=now_ms,
        close_by=now_ms + _AN_HOUR_MS,
        start_to_close_ms=situation.start_to_close_ms,
        heartbeat_ms=None,
        report_started=False,
        results_partition=0,
    )


async def _hear(_: ReportBody) -> None:
    return


def _outcome(body: ReportBody | None, heartbeat: Payload | None) -> Outcome:
    failed = result = None
    match body:
        case TaskCompleted(result=payload):
            result = _parsed(payload)
        case TaskFailed(failure=why, retryable=retryable):
            failed = Failed(kind=why.kind, message=why.message, details=_parsed(why.details), is_retryable=retryable)
    cancelled = failed is None and not isinstance(body, TaskCompleted)
    return Outcome(result=result, failed=failed, is_cancelled=cancelled, heartbeat_details=_parsed(heartbeat))


def _parsed(payload: Payload | None) -> Any:
    return None if payload is None else json.loads(payload.data)
