"""Where a worker's tasks are executed: a bounded number at once, each in an asyncio task of its own, so none waits for another.

A task's record is finished when its report is acknowledged, or when nobody waits for one. Tasks that end in the same turn of
the event loop are reported together. What is here already, under way or just ended, is not executed again when it is read
again: after partitions came back, or when it was sent twice.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

import structlog
from prometheus_client import Counter

from aion_common.clock import Clock
from aion_common.kafka.deadletters import Unusable
from aion_common.metrics import SKIPPED_RECORDS, WORKER_RUNNING, WORKER_TASKS
from aion_common.records.tasks import CancelTasks, ReportBody, Task, TaskCancelled, TaskCompleted, TaskFailed
from aion_worker import bounds
from aion_worker.activity import Activity
from aion_worker.attempt import Attempt
from aion_worker.deadlines import Deadlines
from aion_worker.outcome import failure
from aion_worker.progress import Recent
from aion_worker.reports import LastReports, Reports
from aion_worker.threads import Threads

logger = structlog.get_logger()

Finish = Callable[[], None]
"""Tells that a record need not be read again."""

Identity = tuple[str, int, int, int]
"""Run, activity, attempt, and when it was scheduled: what is sent twice has the same."""

_NAMED_MAX = 20


@dataclass(slots=True, kw_only=True)
class _Job:
    """`finish`: one for each record of the task that was read."""

    identity: Identity
    task: Task
    finish: list[Finish]
    attempt: Attempt | None = None
    runner: asyncio.Task[None] | None = None


@dataclass(slots=True)
class _Parcel:
    """Jobs that have ended, and their last reports, which go to one partition together."""

    jobs: list[_Job] = field(default_factory=list)
    reports: list[LastReports] = field(default_factory=list)
    report_bytes: int = 0

    def add(self, job: _Job, reports: LastReports) -> None:
        self.jobs.append(job)
        self.reports.append(reports)
        self.report_bytes += sum(len(value) for value in reports.values)


@dataclass(slots=True)
class Bench:
    """`activities`: by name. Everything is called on the event loop, `begin` and `bury` only while there is room."""

    activities: Mapping[str, Activity[..., object]]
    room_max: int
    reports: Reports
    clock: Clock
    group: asyncio.TaskGroup
    changed: asyncio.Event
    """Set whenever something ended."""
    threads: Threads = field(default_factory=Threads)
    _deadlines: Deadlines = field(default_factory=Deadlines)
    _under_way: dict[Identity, _Job] = field(default_factory=dict)
    _parcels: dict[int, _Parcel] = field(default_factory=dict)
    """Those that take more, by their partition of results."""
    _burials: set[asyncio.Task[None]] = field(default_factory=set)
    _ended: Recent[Identity] = field(default_factory=Recent)
    _cancelled: Recent[tuple[str, int | None, int | None]] = field(default_factory=Recent)

    @property
    def room(self) -> int:
        """How many more may begin now."""
        return self.room_max - len(self._under_way) - len(self._burials)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is under way."""
        return not self._under_way and not self._burials

    def begin(self, task: Task, finish: Finish) -> None:
        """Execute the task, unless it is here already; `finish` is called when it has ended."""
        identity = (task.run_id, task.activity, task.attempt, task.scheduled_at)
        known = self._under_way.get(identity)
        if known is not None:
            known.finish.append(finish)
        elif identity in self._ended:
            finish()
        else:
            job = _Job(identity=identity, task=task, finish=[finish])
            self._under_way[identity] = job
            job.runner = self.group.create_task(self._work(job))
            WORKER_RUNNING.inc()

    def bury(self, record: Unusable, finish: Finish) -> None:
        """Pass a record over that is no task; its copy goes to the dead letters."""
        SKIPPED_RECORDS.labels("tasks").inc()
        logger.error("task not readable", partition=record.partition, offset=record.offset, reason=record.reason)
        burial = self.group.create_task(self._bury(record, finish))
        self._burials.add(burial)
        burial.add_done_callback(self._buried)

    def cancel(self, wish: CancelTasks) -> None:
        """Stop what nobody waits for, and do not begin it later. A repeat is harmless."""
        self._cancelled.add((wish.run_id, wish.activity, wish.attempt))
        for job in self._under_way.values():
            if job.attempt is not None and self._is_cancelled(job.task):
                job.attempt.cancel()

    def abandon(self) -> None:
        """Give up what is under way, without a report and without finishing it: another worker executes it again."""
        for job in self._under_way.values():
            logger.warning("task abandoned", activity_type=job.task.activity_type, run_id=job.task.run_id)
            if job.attempt is not None:
                job.attempt.abandon()
            if job.runner is not None:
                job.runner.cancel()
        for burial in self._burials:
            burial.cancel()
        # What is given up takes nothing along.
        self._parcels.clear()

    async def _work(self, job: _Job) -> None:
        try:
            reports = self.reports.last(job.task, await self._execute(job))
        except BaseException:
            self._leave([job])
            raise
        if not reports.values:
            self._finish([job])
            self._leave([job])
            return
        partition = job.task.results_partition
        parcel = self._parcels.get(partition)
        if parcel is not None and parcel.report_bytes < bounds.WORKER_PARCEL_BYTES:
            parcel.add(job, reports)
            return
        parcel = self._parcels[partition] = _Parcel()
        parcel.add(job, reports)
        await self._deliver(partition, parcel)

    async def _deliver(self, partition: int, parcel: _Parcel) -> None:
        """The first of a parcel delivers it, together with all that end in the same turn of the event loop."""
        try:
            await asyncio.sleep(0)
            self._close(partition, parcel)
            await self.reports.insist(partition, parcel.reports)
            self._finish(parcel.jobs)
        finally:
            self._close(partition, parcel)
            self._leave(parcel.jobs)

    def _close(self, partition: int, parcel: _Parcel) -> None:
        if self._parcels.get(partition) is parcel:
            del self._parcels[partition]

    def _finish(self, jobs: Sequence[_Job]) -> None:
        for job in jobs:
            self._ended.add(job.identity)
            for finish in job.finish:
                finish()

    def _leave(self, jobs: Sequence[_Job]) -> None:
        for job in jobs:
            del self._under_way[job.identity]
        WORKER_RUNNING.dec(len(jobs))
        self.changed.set()

    async def _execute(self, job: _Job) -> Sequence[ReportBody]:
        """What is to be reported."""
        task = job.task
        activity = self.activities.get(task.activity_type)
        now_ms = self.clock.now_ms()
        if now_ms >= task.close_by or self._is_cancelled(task):
            _counter("" if activity is None else activity.name, "unwanted").inc()
            return ()
        if activity is None:
            unknown = self._unknown(task)
            _log_failure(task, unknown)
            return (unknown,)
        job.attempt = attempt = Attempt(task, activity, now_ms, self.threads, self._deadlines)
        if not attempt.must_be_accompanied:
            body = await attempt.run()
        else:
            companion = self.group.create_task(attempt.accompany(lambda told: self.reports.tell(task, told)))
            try:
                body = await attempt.run()
            finally:
                companion.cancel()
        _counter(activity.name, _word(body)).inc()
        if isinstance(body, TaskFailed):
            _log_failure(task, body)
        return () if body is None else (*attempt.untold(body), body)

    def _unknown(self, task: Task) -> TaskFailed:
        known = sorted(self.activities)
        more = f" and {len(known) - _NAMED_MAX} more" if len(known) > _NAMED_MAX else ""
        names = ", ".join(known[:_NAMED_MAX]) + more
        _counter("", "unknown").inc()
        message = f"this worker has no activity {task.activity_type!r}; it has {names}"
        return failure("unknown_activity", message, retryable=True)

    def _is_cancelled(self, task: Task) -> bool:
        run, activity, wishes = task.run_id, task.activity, self._cancelled
        return (run, None, None) in wishes or (run, activity, None) in wishes or (run, activity, task.attempt) in wishes

    async def _bury(self, record: Unusable, finish: Finish) -> None:
        await self.reports.bury(record)
        finish()

    def _buried(self, burial: asyncio.Task[None]) -> None:
        self._burials.discard(burial)
        self.changed.set()


@cache
def _counter(activity_type: str, outcome: str) -> Counter:
    """Looked up once for each activity of the worker and each outcome."""
    return WORKER_TASKS.labels(activity_type, outcome)


def _log_failure(task: Task, failed: TaskFailed) -> None:
    logger.warning(
        "activity failed",
        activity_type=task.activity_type,
        workflow_id=task.workflow_id,
        run_id=task.run_id,
        attempt=task.attempt,
        kind=failed.failure.kind,
        reason=failed.failure.message,
        retryable=failed.retryable,
    )


def _word(body: ReportBody | None) -> str:
    match body:
        case TaskCompleted():
            return "completed"
        case TaskFailed(retryable=retryable):
            return "failed" if retryable else "failed for good"
        case TaskCancelled():
            return "cancelled"
        case _:
            return "too late"
