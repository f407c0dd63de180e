"""A cluster of three brokers for tests that stop and kill its members, and bring them back."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TypeVar

from aiokafka.client import CoordinationType
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.structs import TopicPartition

from aion_common.kafka.api import Topic
from aion_common.kafka.client import connect
from aion_common.kafka.connection import close_client, coordinator_of, insist, leader_of, open_client
from aion_server.broker import SESSION_MS, Broker, seats
from support import eventually

T = TypeVar("T")

MEMBERS = 3


class Members:
    """The brokers, by node id."""

    def __init__(self, brokers: dict[int, Broker]) -> None:
        self.brokers = brokers

    @property
    def bootstrap(self) -> str:
        """The addresses of all."""
        return ",".join(broker.bootstrap for broker in self.brokers.values())

    async def topic(self, name: str, partitions: int = 1) -> str:
        """Create it, with a copy at each member, all in sync: who was stopped before may take a moment."""
        log = await connect(self.bootstrap)
        try:
            await log.create_topics([Topic(name=name, partitions=partitions, replication=MEMBERS)])
        finally:
            await log.close()
        await eventually(lambda: self._is_in_sync(name), within_s=60)
        return name

    async def leader(self, topic: str, partition: int = 0) -> int:
        """Who leads the partition now."""
        return await self._asked(lambda client: leader_of(client, TopicPartition(topic, partition)))

    async def coordinator(self, kind: CoordinationType, key: str) -> int:
        """Who coordinates the group or transactional id now."""
        return await self._asked(lambda client: coordinator_of(client, kind, key))

    async def moved_from(self, node: int, topic: str, partitions: int = 1) -> None:
        """Wait until it leads no partition of the topic."""

        async def moved() -> bool:
            return node not in [await self.leader(topic, partition) for partition in range(partitions)]

        await eventually(moved, within_s=60)

    @contextmanager
    def stopped(self, node: int) -> Iterator[None]:
        """SIGSTOP, then SIGCONT."""
        pid = self.brokers[node].pid
        assert pid is not None, "the broker runs"
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    @asynccontextmanager
    async def killed(self, node: int) -> AsyncIterator[None]:
        """kill -9, then a start."""
        await self.brokers[node].kill()
        try:
            yield
        finally:
            await self.brokers[node].start()

    async def _is_in_sync(self, topic: str) -> bool:
        described = await self._asked(lambda client: client.any_answer(MetadataRequest([topic])))
        return all(len(each["isr"]) == MEMBERS for one in described.to_object()["topics"] for each in one["partitions"])

    async def _asked(self, question: Callable[..., Awaitable[T]]) -> T:
        client = await open_client(self.bootstrap, "aion-test")
        try:
            return await insist(client, "a question", lambda: question(client))
        finally:
            await close_client(client)


@asynccontextmanager
async def three_members(folder: Path, session_ms: int = SESSION_MS) -> AsyncIterator[Members]:
    """A new cluster, killed at the end: members that stop together wait for one another in vain."""
    brokers = {seat.node_id: Broker(folder / f"broker-{seat.node_id}", seat=seat) for seat in seats(MEMBERS, session_ms)}
    try:
        await asyncio.gather(*(broker.start() for broker in brokers.values()))
        yield Members(brokers)
    finally:
        for broker in brokers.values():
            await broker.kill()
