"""Transactions that stay open until a test says so: by a second, independent client on real brokers."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Protocol

from aiokafka import AIOKafkaProducer

from aion_common.kafka.api import Write
from aion_common.testing.memory_cluster import MemoryCluster

Begin = Callable[[str, Sequence[Write]], Awaitable["OpenTransaction"]]


class OpenTransaction(Protocol):
    """Written, not ended."""

    async def commit(self) -> None:
        """Make its records readable."""

    async def abort(self) -> None:
        """Make its records vanish."""


class _KafkaTransaction:
    def __init__(self, producer: AIOKafkaProducer) -> None:
        self._producer = producer

    async def commit(self) -> None:
        await self._producer.commit_transaction()

    async def abort(self) -> None:
        await self._producer.abort_transaction()


@asynccontextmanager
async def kafka_transactions(bootstrap: str) -> AsyncIterator[Begin]:
    """Gives a function that writes in a transaction and leaves it open. All are ended by the test."""
    producers: list[AIOKafkaProducer] = []

    async def begin(transactional_id: str, writes: Sequence[Write]) -> OpenTransaction:
        producer = AIOKafkaProducer(bootstrap_servers=bootstrap, transactional_id=transactional_id)
        await producer.start()
        producers.append(producer)
        await producer.begin_transaction()
        for write in writes:
            await producer.send_and_wait(write.topic, write.value, key=write.key, partition=write.partition)
        return _KafkaTransaction(producer)

    try:
        yield begin
    finally:
        for producer in producers:
            await producer.stop()


def memory_transactions(cluster: MemoryCluster) -> Begin:
    """The same over a memory cluster."""

    async def begin(transactional_id: str, writes: Sequence[Write]) -> OpenTransaction:
        return cluster.begin(transactional_id, writes)

    return begin
