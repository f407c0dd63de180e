"""The workers of the task queues: processes that read tasks from where the group has come, and report at least once.

What they do with a task is drawn: most of them succeed, some fail, go silent, take too long with or without heartbeats, tell
twice, or tell again much later, when the attempt is an old one. A worker commits below its lowest unfinished task, so that
what it took with it is read again. The group may give a partition to another worker while the first one goes on.
"""

import asyncio
from dataclasses import dataclass, field
from random import Random

from aion_common.errors import Unavailable
from aion_common.kafka.api import LogRecord, Reader, Sender
from aion_common.kafka.topics import Topics
from aion_common.records.common import json_payload
from aion_common.records.events import Failure
from aion_common.records.tasks import (
    CancelTasks,
    ReportBody,
    Task,
    TaskCancelled,
    TaskCompleted,
    TaskFailed,
    TaskHeartbeat,
    TaskReport,
    TaskStarted,
)
from aion_common.wire import decode, encode
from simulation.network import SlowLog
from simulation.programs import SURE
from simulation.scheduler import VirtualLoop

READ_WAIT_MS = 400
BEAT_MS = 200
SILENT_MS = 3_000

Place = tuple[str, int]
"""Queue and partition of its topic."""


@dataclass(slots=True)
class Group:
    """What brokers know of the workers: `committed`: the next task of each place; `holder`: the worker of each place."""

    topics: Topics
    partitions: int
    workers: int
    committed: dict[Place, int] = field(default_factory=dict)
    holder: dict[Place, int] = field(default_factory=dict)
    are_calm: bool = False

    def places_of(self, number: int, queue: str) -> dict[int, int]:
        """The partitions that a worker holds, and where it goes on."""
        held = [part for part in range(self.partitions) if self.holder.get((queue, part), part % self.workers) == number]
        return {part: self.committed.get((queue, part), 0) for part in held}


@dataclass(slots=True)
class Worker:
    """One worker of all queues."""

    loop: VirtualLoop
    log: SlowLog
    group: Group
    number: int
    _unfinished: dict[Place, set[int]] = field(default_factory=dict)
    _read: dict[Place, int] = field(default_factory=dict)
    _work: dict[tuple[str, int, int], set[asyncio.Task[None]]] = field(default_factory=dict)

    @property
    def random(self) -> Random:
        """Of the seed."""
        return self.loop.random

    async def run(self, queues: tuple[str, ...]) -> None:
        """Its main task."""
        while True:
            try:
                sender = await self.log.sender()
                control = await self.log.reader(self.group.topics.control)
                control.assign({0: await self.log.end_offset(self.group.topics.control, 0)})
                break
            except Unavailable:
                await self.loop.passes(100)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._obey(control))
            for queue in queues:
                tasks.create_task(self._take(tasks, sender, queue))

    async def _obey(self, control: Reader) -> None:
        """Stop what nobody waits for."""
        while True:
            for records in (await control.read(wait_ms=READ_WAIT_MS * 10, records_max=100)).values():
                for record in records:
                    told = decode(record.value)
                    assert isinstance(told, CancelTasks)
                    for (run_id, activity, attempt), works in self._work.items():
                        named = told.activity in {None, activity} and told.attempt in {None, attempt}
                        if run_id == told.run_id and named:
                            for work in works:
                                work.cancel()

    async def _take(self, tasks: asyncio.TaskGroup, sender: Sender, queue: str) -> None:
        """Take the tasks of one queue, once it is there."""
        while True:
            try:
                reader = await self.log.reader(self.group.topics.tasks(queue))
                break
            except Unavailable:
                await self.loop.passes(500)
        held: dict[int, int] = {}
        while True:
            wanted = self.group.places_of(self.number, queue)
            if wanted.keys() != held.keys():
                held = wanted
                reader.assign(held)
            if not held:
                await self.loop.passes(READ_WAIT_MS)
                continue
            for part, records in (await reader.read(wait_ms=READ_WAIT_MS, records_max=20)).items():
                for record in records:
                    self._begin(tasks, sender, (queue, part), record)

    def _begin(self, tasks: asyncio.TaskGroup, sender: Sender, place: Place, record: LogRecord) -> None:
        task = decode(record.value)
        assert isinstance(task, Task)
        self._read[place] = record.offset + 1
        self._unfinished.setdefault(place, set()).add(record.offset)
        work = tasks.create_task(self._do(sender, task))
        works = self._work.setdefault((task.run_id, task.activity, task.attempt), set())
        works.add(work)

        def finished(_: object) -> None:
            works.discard(work)
            left = self._unfinished[place]
            left.discard(record.offset)
            if self.log.link.process.is_plugged and place[1] in self.group.places_of(self.number, place[0]):
                self.group.committed[place] = min(left, default=self._read[place])

        work.add_done_callback(finished)

    async def _do(self, sender: Sender, task: Task) -> None:
        """One task, from its start to its end."""
        calm, drawn = self.group.are_calm, self.random.random()
        try:
            if task.report_started and (calm or drawn > 0.02):
                await self._tell(sender, task, TaskStarted())
            if calm or drawn < 0.6:
                await self.loop.passes(self.random.random() * 30)
            elif drawn < 0.8:
                for _ in range(self.random.randrange(1, 20)):
                    await self._tell(sender, task, TaskHeartbeat(details=json_payload(b"%d" % self.random.randrange(100))))
                    await self.loop.passes(BEAT_MS)
            elif drawn < 0.88:
                await self.loop.passes(SILENT_MS)
        except asyncio.CancelledError:
            if self.random.random() < 0.5 or not self.log.link.process.is_plugged:
                raise
            await self._tell(sender, task, TaskCancelled())
            return
        body = self._end_of(task, calm)
        await self._tell(sender, task, body)
        if not calm and self.random.random() < 0.15:
            await self.loop.passes(self.random.random() ** 2 * SILENT_MS)
            await self._tell(sender, task, body if self.random.random() < 0.5 else TaskStarted())

    def _end_of(self, task: Task, calm: bool) -> ReportBody:
        drawn = 1.0 if calm else self.random.random()
        if drawn < 0.15:
            return TaskFailed(failure=Failure(kind="busy", message=f"attempt {task.attempt}", details=None), retryable=True)
        if drawn < 0.2 and task.activity_type != SURE:
            return TaskFailed(failure=Failure(kind="broken", message="never", details=None), retryable=drawn < 0.18)
        if drawn < 0.23:
            return TaskCancelled()
        return TaskCompleted(result=json_payload(b'"%d by %d"' % (task.attempt, self.number)))

    async def _tell(self, sender: Sender, task: Task, body: ReportBody) -> None:
        """Until it is acknowledged: perhaps twice."""
        report = TaskReport(
            namespace=task.namespace,
            workflow_id=task.workflow_id,
            run_id=task.run_id,
            activity=task.activity,
            attempt=task.attempt,
            worker=f"worker {self.number}",
            body=body,
        )
        key = f"{task.namespace}/{task.workflow_id}".encode()
        times = 2 if not self.group.are_calm and self.random.random() < 0.05 else 1
        while times:
            try:
                await sender.send(self.group.topics.results, task.results_partition, [(key, encode(report))])
            except Unavailable:
                await self.loop.passes(self.random.random() * 200)
                if not self.log.link.process.is_plugged:
                    return
            else:
                times -= 1
