"""What a worker says: reports into `aion.results`, under the key of their task and into the partition that it names."""

import asyncio
from dataclasses import dataclass

from aion_common.clock import Clock
from aion_common.errors import Unavailable
from aion_common.ids import workflow_key
from aion_common.kafka.api import Sender
from aion_common.kafka.deadletters import Unusable, dead_letter
from aion_common.kafka.topics import Topics
from aion_common.records.tasks import ReportBody, Task, TaskReport
from aion_common.wire import encode
from aion_worker import bounds


@dataclass(frozen=True, slots=True, kw_only=True)
class Reports:
    """`worker`: what it calls itself."""

    sender: Sender
    topics: Topics
    clock: Clock
    worker: str

    async def tell(self, task: Task, *bodies: ReportBody) -> None:
        """Append the reports in this order, once. Raises Unavailable."""
        key = workflow_key(task.namespace, task.workflow_id)
        records = [
            TaskReport(
                namespace=task.namespace,
                workflow_id=task.workflow_id,
                run_id=task.run_id,
                activity=task.activity,
                attempt=task.attempt,
                worker=self.worker,
                body=body,
            )
            for body in bodies
        ]
        await self.sender.send(self.topics.results, task.results_partition, [(key, encode(record)) for record in records])

    async def insist(self, task: Task, *bodies: ReportBody) -> None:
        """As `tell`, again until it is acknowledged, or until nobody waits for it any more. A repeat is harmless."""
        while bodies and self.clock.now_ms() < task.close_by:
            try:
                await self.tell(task, *bodies)
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
