"""A queue of tasks for the worker's tests, on either log: tasks go in, reports come out. And activities for them."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from msgspec import structs

from aion_common.clock import SystemClock
from aion_common.ids import Namespace, RunId, WorkflowId, WorkflowType, workflow_key
from aion_common.kafka.api import Log, LogRecord, Topic
from aion_common.kafka.topics import Topics
from aion_common.records.common import json_payload
from aion_common.records.tasks import CancelTasks, ReportBody, Task, TaskCompleted, TaskFailed, TaskReport
from aion_common.settings import Settings
from aion_common.wire import decode, encode
from aion_server.init import create
from support import committed, eventually

QUEUE = "q"
TASK_PARTITIONS = 2
AN_HOUR_MS = 3_600_000


@dataclass(kw_only=True)
class Queue:
    """Topics of one prefix on a log, with helpers. `run_ids` gives every task a run of its own."""

    log: Log
    prefix: str
    run_ids: "itertools.count[int]" = field(default_factory=itertools.count)

    @property
    def topics(self) -> Topics:
        return Topics(self.prefix)

    @property
    def tasks_topic(self) -> str:
        return self.topics.tasks(QUEUE)

    def task(self, activity_type: str, value: object = None, **changes: Any) -> Task:
        """A first attempt that nobody has waited for yet."""
        number = next(self.run_ids)
        now_ms = SystemClock().now_ms()
        task = Task(
            namespace=Namespace("default"),
            workflow_id=WorkflowId(f"w{number}"),
            run_id=RunId(f"{number:032x}"),
            workflow_type=WorkflowType("t"),
            activity=1,
            activity_type=activity_type,
            attempt=1,
            idempotency_key=f"{number:032x}/1",
            input=json_payload(json.dumps(value).encode()),
            heartbeat=None,
            scheduled_at=now_ms,
            close_by=now_ms + AN_HOUR_MS,
            start_to_close_ms=None,
            heartbeat_ms=None,
            report_started=False,
            results_partition=0,
        )
        return structs.replace(task, **changes)

    async def put(self, *tasks: Task, partition: int = 0) -> None:
        """Append the tasks as an executor does."""
        records = [(workflow_key(task.namespace, task.workflow_id), encode(task)) for task in tasks]
        await self.put_bytes(*records, partition=partition)

    async def put_bytes(self, *records: tuple[bytes, bytes], partition: int = 0) -> None:
        sender = await self.log.sender()
        await sender.send(self.tasks_topic, partition, records)
        await sender.close()

    async def cancel(self, task: Task, activity: int | None = None, attempt: int | None = None) -> None:
        """Say that nobody waits for the run's activities, or for one, or for one attempt."""
        wish = CancelTasks(
            namespace=task.namespace,
            workflow_id=task.workflow_id,
            run_id=task.run_id,
            activity=activity,
            attempt=attempt,
            reason="test",
        )
        sender = await self.log.sender()
        await sender.send(self.topics.control, 0, [(task.run_id.encode(), encode(wish))])
        await sender.close()

    async def records(self, partition: int = 0) -> list[LogRecord]:
        return await committed(self.log, self.topics.results, partition)

    async def reports(self, partition: int = 0) -> list[TaskReport]:
        """All until now."""
        return [decode(record.value) for record in await self.records(partition)]

    async def bodies(self, task: Task) -> list[ReportBody]:
        """What was reported of one task."""
        return [report.body for report in await self.reports(task.results_partition) if report.run_id == task.run_id]

    async def ends(self, *tasks: Task) -> list[ReportBody]:
        """The first terminal report of each, once all are there."""

        async def all_ends() -> list[ReportBody] | None:
            by_run: dict[str, ReportBody] = {}
            for partition in {task.results_partition for task in tasks}:
                for report in await self.reports(partition):
                    if not type(report.body).__name__.endswith(("Started", "Heartbeat")):
                        by_run.setdefault(report.run_id, report.body)
            found = [by_run[task.run_id] for task in tasks if task.run_id in by_run]
            return found if len(found) == len(tasks) else None

        ends = await eventually(all_ends, within_s=60)
        assert ends is not None
        return ends

    async def results(self, *tasks: Task) -> list[Any]:
        return [result_of(body) for body in await self.ends(*tasks)]


@asynccontextmanager
async def queue_on(log: Log, prefix: str) -> AsyncIterator[Queue]:
    """A cluster with a queue."""
    await create(log, Settings(topic_prefix=prefix, partitions=3), SystemClock())
    queue = Queue(log=log, prefix=prefix)
    await log.create_topics([Topic(name=queue.tasks_topic, partitions=TASK_PARTITIONS, replication=1)])
    yield queue


@asynccontextmanager
async def at_work(worker: Any, log: Log) -> AsyncIterator[asyncio.Event]:
    """The worker, over this log, until the block ends; then it drains. Gives what stops it."""
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(worker.serve(stop, log))
        try:
            yield stop
        finally:
            stop.set()


def result_of(body: ReportBody) -> Any:
    assert isinstance(body, TaskCompleted), body
    assert body.result is not None
    return json.loads(body.result.data)


def failure_of(body: ReportBody) -> tuple[str, str, bool]:
    """Kind, message, whether it is retryable."""
    assert isinstance(body, TaskFailed), body
    return body.failure.kind, body.failure.message, body.retryable


def details_of(body: ReportBody) -> Any:
    assert isinstance(body, TaskFailed), body
    return None if body.failure.details is None else json.loads(body.failure.details.data)
