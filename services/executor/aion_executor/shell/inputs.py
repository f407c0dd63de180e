"""What one executor reads for all its partitions together: commands, reports of workers, and which task queues there are."""

import asyncio
from dataclasses import dataclass, field

from aion_common.kafka.api import Log
from aion_common.kafka.topics import Topics
from aion_executor.shell.commands import command_reader
from aion_executor.shell.queues import Queues
from aion_executor.shell.reading import InputReader
from aion_executor.shell.reports import report_reader


@dataclass(slots=True)
class Inputs:
    """`partitions`: of commands, results and history, in the whole cluster."""

    log: Log
    topics: Topics
    partitions: int
    commands: InputReader = field(init=False)
    reports: InputReader = field(init=False)
    queues: Queues = field(init=False)

    def __post_init__(self) -> None:
        self.commands = command_reader(self.log, self.topics, self.partitions)
        self.reports = report_reader(self.log, self.topics, self.partitions)
        self.queues = Queues(self.log, self.topics)

    async def run(self) -> None:
        """Read until cancelled. The cluster's silence is waited out."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.queues.run(), name="queues")
            tasks.create_task(self.commands.run(), name="commands")
            tasks.create_task(self.reports.run(), name="reports")
