"""The owner's producer for one history partition: idempotent, not transactional, fenced by a transactional id's epoch.

It works as the (producer id, epoch) that a claim of a transactional id returned. From its first append on the broker
refuses every batch of an older epoch, so a previous owner is locked out without the price of a transaction (KIP-98
checks epochs of idempotent batches too). This file and `produce` are the only places that number batches themselves.
"""

from collections.abc import Sequence

from aiokafka.structs import TopicPartition

from aion_common.errors import AionError, Unavailable
from aion_common.kafka.api import Appended, KeyValue, ProducerIdentity
from aion_common.kafka.brokers import Brokers
from aion_common.kafka.connection import close_client, insist, leader_of
from aion_common.kafka.produce import produce, seal, sequence_after


class KafkaFencedAppender:
    """See `FencedAppender`. It owns the client."""

    def __init__(self, client: Brokers, place: TopicPartition, identity: ProducerIdentity) -> None:
        self._client = client
        self._place = place
        self._identity = identity
        self._sequence = 0
        self._ended_by: AionError | None = None

    @property
    def identity(self) -> ProducerIdentity:
        """What it appends as."""
        return self._identity

    async def append(self, records: Sequence[KeyValue]) -> Appended:
        """See `FencedAppender`."""
        if self._ended_by is not None:
            raise type(self._ended_by)(*self._ended_by.args)
        batch = seal(records, self._identity, self._sequence)
        # Holds unless the append is acknowledged, so it also covers a cancellation and a second append beside this one.
        self._ended_by = Unavailable("an append of unknown outcome went before")
        try:
            appended = await insist(
                self._client, f"append to {self._place.topic}/{self._place.partition}", lambda: self._try(batch)
            )
        except AionError as cause:
            self._ended_by = cause
            raise
        self._ended_by = None
        self._sequence = sequence_after(self._sequence, len(records))
        return appended

    async def close(self) -> None:
        """See `FencedAppender`."""
        self._ended_by = self._ended_by or Unavailable("the appender is closed")
        await close_client(self._client)

    async def _try(self, batch: bytes) -> Appended:
        node = await leader_of(self._client, self._place)
        outcome = (await produce(self._client, node, {self._place: batch}))[self._place]
        if isinstance(outcome, Appended):
            return outcome
        raise outcome
