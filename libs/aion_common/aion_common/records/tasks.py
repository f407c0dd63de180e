"""Between executors and workers: tasks in `aion.tasks.<queue>`, reports in `aion.results`, cancellation in `aion.control`.

The contract of workers in any language (docs/workers.md).
"""

from msgspec import Struct

from aion_common.ids import Namespace, RunId, WorkflowId, WorkflowType
from aion_common.records.common import Payload
from aion_common.records.events import Failure


class Task(Struct, frozen=True, kw_only=True, gc=False):
    """One attempt of an activity, for whichever worker of the queue reads it. Times in ms since the epoch.

    `idempotency_key`: the same for every attempt. `heartbeat`: the details that attempts before this one told last.
    `close_by`: nobody waits for the result after that. `report_started`: tell when work begins, a time-out counts from there.
    `results_partition`: of `aion.results`, where reports go under the key of this record.
    """

    namespace: Namespace
    workflow_id: WorkflowId
    run_id: RunId
    workflow_type: WorkflowType
    activity: int
    activity_type: str
    attempt: int
    idempotency_key: str
    input: Payload | None
    heartbeat: Payload | None
    scheduled_at: int
    close_by: int
    start_to_close_ms: int | None
    heartbeat_ms: int | None
    report_started: bool
    results_partition: int


class TaskStarted(Struct, frozen=True, kw_only=True, gc=False):
    """Work on the task began."""


class TaskHeartbeat(Struct, frozen=True, kw_only=True, gc=False):
    """Work goes on. `details`: given to the next attempt if this one fails."""

    details: Payload | None


class TaskCompleted(Struct, frozen=True, kw_only=True, gc=False):
    """The work is done."""

    result: Payload | None


class TaskFailed(Struct, frozen=True, kw_only=True, gc=False):
    """The work failed. `retryable` False: it would fail again."""

    failure: Failure
    retryable: bool


class TaskCancelled(Struct, frozen=True, kw_only=True, gc=False):
    """The worker stopped because it was told to."""


ReportBody = TaskStarted | TaskHeartbeat | TaskCompleted | TaskFailed | TaskCancelled


class TaskReport(Struct, frozen=True, kw_only=True, gc=False):
    """What a worker tells about a task. `worker`: a name of its own, for people."""

    namespace: Namespace
    workflow_id: WorkflowId
    run_id: RunId
    activity: int
    attempt: int
    worker: str
    body: ReportBody


class CancelTasks(Struct, frozen=True, kw_only=True, gc=False):
    """Nobody waits for results of the run's activity any more, or of all its activities (None), or of the one attempt:
    workers stop them."""

    namespace: Namespace
    workflow_id: WorkflowId
    run_id: RunId
    activity: int | None
    attempt: int | None
    reason: str
