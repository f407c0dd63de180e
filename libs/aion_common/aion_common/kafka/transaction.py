"""Transactions over several partitions: add the partitions, produce, end, wait until the markers are in the log.

No background work: a commit runs in its caller's task, and a cancelled one is just given up (the broker aborts it, or
it was complete). Any failure ends the producer: there is no way back to a known state but a new one.
"""

import asyncio
from collections.abc import Mapping, Sequence

from aiokafka.client import CoordinationType
from aiokafka.protocol.transaction import AddPartitionsToTxnRequest, EndTxnRequest
from aiokafka.structs import TopicPartition

from aion_common import limits
from aion_common.errors import AionError, Unavailable
from aion_common.kafka.api import Appended, ProducerIdentity, Write
from aion_common.kafka.brokers import Brokers, Retry
from aion_common.kafka.connection import (
    OPERATION_NOT_ATTEMPTED,
    check,
    close_client,
    coordinator_of,
    insist,
    leader_of,
)
from aion_common.kafka.produce import LATEST, list_offsets, produce, seal_writes, sequence_after

_COMMIT = True


class KafkaTransactionalProducer:
    """See `TransactionalProducer`. It owns the client."""

    def __init__(self, client: Brokers, transactional_id: str, identity: ProducerIdentity) -> None:
        self._client = client
        self._transactional_id = transactional_id
        self._identity = identity
        self._sequences: dict[TopicPartition, int] = {}
        self._ended_by: AionError | None = None

    @property
    def identity(self) -> ProducerIdentity:
        """What its transactions run as."""
        return self._identity

    async def commit(self, writes: Sequence[Write]) -> Mapping[tuple[str, int], int]:
        """See `TransactionalProducer`."""
        assert writes, "a transaction has writes"
        if self._ended_by is not None:
            raise type(self._ended_by)(*self._ended_by.args)
        records: dict[TopicPartition, list[Write]] = {}
        for write in writes:
            records.setdefault(TopicPartition(write.topic, write.partition), []).append(write)
        batches = {
            place: seal_writes(batch, self._identity, self._sequences.get(place, 0), self._transactional_id)
            for place, batch in records.items()
        }
        self._ended_by = Unavailable("a commit of unknown outcome went before")
        try:
            bases = await self._commit(batches, {place: len(batch) for place, batch in records.items()})
        except AionError as cause:
            self._ended_by = cause
            raise
        self._ended_by = None
        for place, batch in records.items():
            self._sequences[place] = sequence_after(self._sequences.get(place, 0), len(batch))
        return {(place.topic, place.partition): base for place, base in bases.items()}

    async def close(self) -> None:
        """See `TransactionalProducer`."""
        self._ended_by = self._ended_by or Unavailable("the producer is closed")
        await close_client(self._client)

    async def _commit(
        self, batches: Mapping[TopicPartition, bytes], counts: Mapping[TopicPartition, int]
    ) -> Mapping[TopicPartition, int]:
        what = f"transaction of {self._transactional_id}"
        acknowledged: dict[TopicPartition, int] = {}
        try:
            async with asyncio.timeout(limits.APPEND_MS / 1000):
                await insist(self._client, what, lambda: self._add(batches))
                await insist(self._client, what, lambda: self._produce(batches, acknowledged))
                await insist(self._client, what, self._end)
                ends = {place: base + counts[place] for place, base in acknowledged.items()}
                await insist(self._client, what, lambda: self._is_readable(ends))
        except TimeoutError as cause:
            raise Unavailable(f"{what}: not complete in time") from cause
        return acknowledged

    async def _add(self, batches: Mapping[TopicPartition, bytes]) -> None:
        topics: dict[str, list[int]] = {}
        for place in batches:
            topics.setdefault(place.topic, []).append(place.partition)
        response = await self._client.send(
            await self._coordinator(),
            AddPartitionsToTxnRequest(
                transactional_id=self._transactional_id,
                producer_id=self._identity.producer_id,
                producer_epoch=self._identity.producer_epoch,
                topics=list(topics.items()),
            ),
        )
        codes = [code for _, partitions in response.errors for _, code in partitions]
        # One refused partition makes the broker leave the others alone; the refusal is what matters.
        for code in sorted(codes, key=lambda code: code == OPERATION_NOT_ATTEMPTED):
            check(code, f"transaction of {self._transactional_id}")

    async def _produce(self, batches: Mapping[TopicPartition, bytes], acknowledged: dict[TopicPartition, int]) -> None:
        by_node: dict[int, dict[TopicPartition, bytes]] = {}
        for place, batch in batches.items():
            if place not in acknowledged:
                by_node.setdefault(await leader_of(self._client, place), {})[place] = batch
        outcomes = [await produce(self._client, node, its, self._transactional_id) for node, its in by_node.items()]
        refusals: list[Retry | AionError] = []
        for place, outcome in (pair for part in outcomes for pair in part.items()):
            if isinstance(outcome, Appended):
                acknowledged[place] = outcome.base_offset
            else:
                refusals.append(outcome)
        if refusals:
            raise min(refusals, key=lambda refusal: isinstance(refusal, Retry))

    async def _end(self) -> None:
        request = EndTxnRequest(
            transactional_id=self._transactional_id,
            producer_id=self._identity.producer_id,
            producer_epoch=self._identity.producer_epoch,
            transaction_result=_COMMIT,
        )
        response = await self._client.send(await self._coordinator(), request)
        check(response.error_code, f"commit of {self._transactional_id}")

    async def _is_readable(self, ends: Mapping[TopicPartition, int]) -> None:
        """The broker answers a commit before its markers are written; who reads the end offset then would miss it."""
        stable = await list_offsets(self._client, ends, LATEST)
        if any(stable[place] < end for place, end in ends.items()):
            raise Retry("the markers are not written yet")

    async def _coordinator(self) -> int:
        return await coordinator_of(self._client, CoordinationType.TRANSACTION, self._transactional_id)
