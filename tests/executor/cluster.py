"""Executors over a log that a test shares with them: everything real but the VMs, the store's disk and, if wanted, Kafka."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from aion_common.clock import Clock, SystemClock
from aion_common.ids import workflow_key
from aion_common.kafka.api import Log
from aion_common.kafka.partitioner import partition_of
from aion_common.kafka.topics import Topics
from aion_common.records.commands import CatalogMarker, Command
from aion_common.records.events import HistoryRecord
from aion_common.records.replies import Answer, Reply
from aion_common.wire import decode, encode
from aion_executor.shell.executor import Executor
from aion_executor.shell.inputs import Inputs
from aion_executor.shell.ownership import Claimant, Stores
from aion_executor.store.api import Tables
from aion_executor.store.behind import WriteBehind
from aion_executor.store.memory import MemoryTables
from executor.auto_vms import AutoVms
from support import committed, eventually


@dataclass(slots=True)
class MemoryDisk:
    """Stores that survive a restart of their executor. `waits`: rows are written behind."""

    folders: dict[Path, MemoryTables] = field(default_factory=dict)
    make: Callable[[], MemoryTables] = MemoryTables
    waits: bool = False

    def stores(self) -> Stores:
        """As `Claimant` wants them."""
        return Stores(open=self._open, delete=self._delete)

    def _open(self, folder: Path) -> Tables:
        below = self.folders.setdefault(folder, self.make())
        return WriteBehind(below) if self.waits else below

    def _delete(self, folder: Path) -> None:
        self.folders.pop(folder, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A log with its topics, and what clients do to it."""

    log: Log
    topics: Topics
    partitions: int
    clock: Clock = field(default_factory=SystemClock)

    def claimant(self, member: str, disk: MemoryDisk) -> Claimant:
        """Who takes partitions over."""
        return Claimant(
            log=self.log,
            topics=self.topics,
            member=member,
            clock=self.clock,
            stores=disk.stores(),
            folder=Path(member),
        )

    @asynccontextmanager
    async def executor(self, member: str, disk: MemoryDisk) -> AsyncIterator[Executor]:
        """A running executor; leaving the block is its sudden end, as far as the log can tell."""
        sender = await self.log.sender()
        inputs = Inputs(self.log, self.topics, self.partitions)
        await inputs.queues.look()
        executor = Executor(
            claimant=self.claimant(member, disk),
            address=f"{member}:1",
            session_ms=1_500,
            sender=sender,
            connect=AutoVms,
            inputs=inputs,
        )
        try:
            async with asyncio.TaskGroup() as tasks:
                running = [tasks.create_task(inputs.run()), tasks.create_task(executor.run())]
                yield executor
                for task in running:
                    task.cancel()
        finally:
            await sender.close()

    async def owned(self, executor: Executor) -> None:
        """Wait until the executor owns everything."""
        await eventually(lambda: len(executor.owned()) == self.partitions)

    async def send(self, *wishes: Command | CatalogMarker) -> None:
        """Write commands to their partitions, markers to all."""
        sender = await self.log.sender()
        for wish in wishes:
            match wish:
                case Command():
                    key = workflow_key(wish.namespace, wish.workflow_id)
                    await sender.send(self.topics.commands, partition_of(key, self.partitions), [(key, encode(wish))])
                case CatalogMarker():
                    for partition in range(self.partitions):
                        await sender.send(self.topics.commands, partition, [(b"", encode(wish))])
        await sender.close()

    async def answers(self) -> dict[str, list[Answer]]:
        """Every answer in partition 3 of the replies, by command id."""
        found: dict[str, list[Answer]] = {}
        for record in await committed(self.log, self.topics.replies, 3):
            reply: Reply = decode(record.value)
            found.setdefault(reply.command_id, []).append(reply.answer)
        return found

    async def answer(self, command_id: str) -> Answer:
        """The answer of a command, once it is there."""

        async def first() -> list[Answer]:
            return (await self.answers()).get(command_id, [])

        return (await eventually(first))[0]

    async def history(self, partition: int) -> list[HistoryRecord]:
        """A partition's history, decoded."""
        return [decode(record.value) for record in await committed(self.log, self.topics.history, partition)]

    async def histories(self) -> list[HistoryRecord]:
        """All of them."""
        return [record for partition in range(self.partitions) for record in await self.history(partition)]
