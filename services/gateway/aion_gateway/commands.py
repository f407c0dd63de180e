"""Sends wishes to `aion.commands` and `aion.catalog.commands` and waits for their answers.

A repeat with the same command id is harmless: it is decided once and gets the first answer. So whatever goes wrong on the
way is one thing for the caller: Unavailable, outcome unknown, safe to repeat. While the gateway drains, new work is refused
here, before anything is sent.
"""

import asyncio
from dataclasses import dataclass

from aion_common.errors import Unavailable
from aion_common.ids import CommandId, Namespace, WorkflowId, workflow_key
from aion_common.kafka.api import Sender
from aion_common.kafka.partitioner import partition_of
from aion_common.kafka.topics import Topics
from aion_common.records.catalog import CatalogCommand, CatalogCommandBody
from aion_common.records.commands import Command, CommandBody, StartRun
from aion_common.records.replies import Answer
from aion_common.wire import encode
from aion_gateway.drain import Drain
from aion_gateway.replies import Replies


@dataclass(frozen=True, slots=True, kw_only=True)
class Commands:
    """The way to owners and catalog. `partitions`: of `aion.commands`; `reply_wait_ms`: from the send to the answer."""

    sender: Sender
    topics: Topics
    replies: Replies
    drain: Drain
    partitions: int
    reply_wait_ms: int

    def partition_of(self, namespace: Namespace, workflow_id: WorkflowId) -> int:
        """The partition that a workflow belongs to."""
        return partition_of(workflow_key(namespace, workflow_id), self.partitions)

    async def ask_owner(
        self, command_id: CommandId, namespace: Namespace, workflow_id: WorkflowId, body: CommandBody
    ) -> Answer:
        """Send a command about a workflow id to its partition and wait for the answer. Raises Unavailable, KeyReused, and of a
        start ShuttingDown."""
        if isinstance(body, StartRun):
            self.drain.refuse_new_work()
        key = workflow_key(namespace, workflow_id)
        command = Command(
            command_id=command_id,
            namespace=namespace,
            workflow_id=workflow_id,
            reply_partition=self.replies.partition,
            body=body,
        )
        return await self._ask(self.topics.commands, partition_of(key, self.partitions), key, command)

    async def ask_catalog(self, command_id: CommandId, namespace: Namespace, body: CatalogCommandBody) -> Answer:
        """Send a command to the catalog and wait for the answer. Raises Unavailable, KeyReused, ShuttingDown."""
        self.drain.refuse_new_work()
        command = CatalogCommand(command_id=command_id, namespace=namespace, reply_partition=self.replies.partition, body=body)
        return await self._ask(self.topics.catalog_commands, 0, None, command)

    async def _ask(self, topic: str, partition: int, key: bytes | None, command: Command | CatalogCommand) -> Answer:
        about = command.workflow_id if isinstance(command, Command) else ""
        subject = (topic, type(command.body).__name__, about)
        try:
            async with asyncio.timeout(self.reply_wait_ms / 1000):
                await self.replies.tail.positioned()
                with self.replies.expecting(command.command_id, subject) as answer:
                    await self.sender.send(topic, partition, [(key, encode(command))])
                    return await asyncio.shield(answer)
        except TimeoutError as error:
            raise Unavailable(f"no answer came within {self.reply_wait_ms} ms") from error
