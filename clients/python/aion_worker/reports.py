"""What a worker says: reports into `aion.results`, under the key of their task and into the partition that it names."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from aion_common.clock import Clock
from aion_common.errors import Unavailable
from aion_common.ids import workflow_key
from aion_common.kafka.api import KeyValue, Sender
from aion_common.kafka.deadletters import Unusable, dead_letter
from aion_common.kafka.topics import Topics
from aion_common.records.tasks import ReportBody, Task, TaskReport
from aion_common.wire import encode
from aion_worker import bounds


@dataclass(frozen=True, slots=True, kw_only=True)
class LastReports:
    """What is to be said of one task at its end, encoded. `close_by`: nobody waits for it after that, in ms since the epoch."""

    key: bytes
    values: Sequence[bytes]
    close_by: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reports:
    """`worker`: what it calls itself."""

    sender: Sender
    topics: Topics
    clock: Clock
    worker: str

    async def tell(self, task: Task, body: ReportBody) -> None:
        """Append the report, once. Raises Unavailable."""
        await self.sender.send(self.topics.results, task.results_partition, [(_key(task), self._value(task, body))])

    def last(self, task: Task, bodies: Sequence[ReportBody]) -> LastReports:
        """What `insist` is to say of the task, in this order."""
        return LastReports(key=_key(task), values=[self._value(task, body) for body in bodies], close_by=task.close_by)

    async def insist(self, partition: int, tasks: Sequence[LastReports]) -> None:
        """Append the reports of all these tasks, again until they are acknowledged, but not for tasks that nobody waits for any
        more. A repeat is harmless."""
        while records := self._awaited(tasks):
            try:
                await self.sender.send(self.topics.results, partition, records)
            except Unavailable:
                await asyncio.sleep(bounds.WORKER_RETRY_MS / 1000)
            else:
                return

    async def bury(self, record: Unusable) -> None:
        """Append the copy of a record that could not be used, again until it is acknowledged."""
        letter = dead_letter(self.topics, record)
        while True:
            try:
                await self.sender.send(letter.topic, letter.partition, [(letter.key, letter.value)], letter.headers)
            except Unavailable:
                await asyncio.sleep(bounds.WORKER_RETRY_MS / 1000)
            else:
                return

    def _awaited(self, tasks: Sequence[LastReports]) -> list[KeyValue]:
        now_ms = self.clock.now_ms()
        return [(task.key, value) for task in tasks if now_ms < task.close_by for value in task.values]

    def _value(self, task: Task, body: ReportBody) -> bytes:
        return encode(
            TaskReport(
                namespace=task.namespace,
                workflow_id=task.workflow_id,
                run_id=task.run_id,
                activity=task.activity,
                attempt=task.attempt,
                worker=self.worker,
                body=body,
            )
        )


def _key(task: Task) -> bytes:
    return workflow_key(task.namespace, task.workflow_id)
