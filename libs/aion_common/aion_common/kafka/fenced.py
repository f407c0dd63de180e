"""The owner's producer for one history partition: idempotent, not transactional, fenced by a transactional id's epoch.

It works as the (producer id, epoch) that a claim of a transactional id returned. From its first append on the broker
refuses every batch of an older epoch, so a previous owner is locked out without the price of a transaction (KIP-98
checks epochs of idempotent batches too). This file and `produce` are the only places that number batches themselves.
"""

import asyncio
from collections.abc import Callable, Sequence

from aiokafka.structs import TopicPartition

from aion_common import limits
from aion_common.errors import AionError, Unavailable
from aion_common.kafka.api import Appended, KeyValue, ProducerIdentity
from aion_common.kafka.brokers import Retry
from aion_common.kafka.courier import Courier
from aion_common.kafka.produce import seal, sequence_after


class KafkaFencedAppender:
    """See `FencedAppender`."""

    def __init__(self, courier: Courier, place: TopicPartition, identity: ProducerIdentity) -> None:
        self._courier = courier
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
        return await self.append_next(lambda: records)

    async def append_next(self, take: Callable[[], Sequence[KeyValue]]) -> Appended:
        """See `FencedAppender`."""
        if self._ended_by is not None:
            raise type(self._ended_by)(*self._ended_by.args)
        batch = _Batch(take, self._identity, self._sequence)
        # Holds unless the append is acknowledged, so it also covers a cancellation and a second append beside this one.
        self._ended_by = Unavailable("an append of unknown outcome went before")
        try:
            appended = await self._carried(batch)
        except AionError as cause:
            self._ended_by = cause
            raise
        except Exception:  # of `take`: nothing has left
            self._ended_by = None
            raise
        self._ended_by = None
        self._sequence = sequence_after(self._sequence, batch.count)
        return appended

    async def close(self) -> None:
        """See `FencedAppender`."""
        self._ended_by = self._ended_by or Unavailable("the appender is closed")

    async def _carried(self, batch: "_Batch") -> Appended:
        """The courier answers every load in bounded time, so the limit is looked at between two tries only."""
        until = asyncio.get_running_loop().time() + limits.APPEND_MS / 1000
        while isinstance(outcome := await self._courier.carry(self._place, batch.sealed), Retry):
            if asyncio.get_running_loop().time() >= until:
                raise Unavailable(f"append to {self._place.topic}/{self._place.partition}: {outcome}")
        if isinstance(outcome, Appended):
            return outcome
        raise outcome


class _Batch:
    """Sealed once, when it first leaves: each further try carries the same bytes."""

    def __init__(self, take: Callable[[], Sequence[KeyValue]], identity: ProducerIdentity, sequence: int) -> None:
        self._take = take
        self._identity = identity
        self._sequence = sequence
        self._content: bytes | None = None
        self.count = 0

    def sealed(self) -> bytes:
        """Its bytes. AssertionError when its records do not fit."""
        if self._content is None:
            records = self._take()
            self.count = len(records)
            self._content = seal(records, self._identity, self._sequence)
        return self._content
