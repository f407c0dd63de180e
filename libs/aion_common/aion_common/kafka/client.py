"""The log over real brokers: `connect` gives the `Log` that services work with.

Every reader, transactional producer and member it makes has connections of its own, so that a long-poll never stands in the
way of an append; senders and fenced appenders share a courier. The log itself keeps one connection for short questions.
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence

from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.structs import TopicPartition

from aion_common import limits
from aion_common.errors import Unavailable
from aion_common.kafka import admin
from aion_common.kafka.api import (
    FencedAppender,
    Log,
    Membership,
    OnAssigned,
    ProducerIdentity,
    Reader,
    Sender,
    Topic,
    TransactionalProducer,
)
from aion_common.kafka.assignor import STICKY
from aion_common.kafka.brokers import Brokers, Retry
from aion_common.kafka.connection import close_client, confirm_leader, insist, leader_of, open_client
from aion_common.kafka.courier import Courier
from aion_common.kafka.fenced import KafkaFencedAppender
from aion_common.kafka.membership import KafkaMembership, Place
from aion_common.kafka.produce import EARLIEST, LATEST, init_producer_id, list_offsets
from aion_common.kafka.reader import KafkaReader
from aion_common.kafka.sender import KafkaSender
from aion_common.kafka.transaction import KafkaTransactionalProducer


async def connect(bootstrap: str, *, client_id: str = "aion", protocols: Sequence[str] = (STICKY,)) -> Log:
    """Connect to the cluster. `bootstrap`: host:port, several separated by commas. `protocols`: by which the groups of its
    memberships may divide, see `assignor`. Raises Unavailable."""
    return KafkaLog(bootstrap, client_id, await open_client(bootstrap, client_id), protocols)


class KafkaLog:
    """See `Log`. It owns the client."""

    def __init__(self, bootstrap: str, client_id: str, client: Brokers, protocols: Sequence[str] = (STICKY,)) -> None:
        self._protocols = protocols
        self._bootstrap = bootstrap
        self._client_id = client_id
        self._client = client
        self._courier: Courier | None = None
        self._opening = asyncio.Lock()

    async def end_offset(self, topic: str, partition: int) -> int:
        """See `Log`."""
        return await self._offset(TopicPartition(topic, partition), LATEST)

    async def beginning_offset(self, topic: str, partition: int) -> int:
        """See `Log`."""
        return await self._offset(TopicPartition(topic, partition), EARLIEST)

    async def offset_at(self, topic: str, partition: int, time_ms: int) -> int | None:
        """See `Log`."""
        offset = await self._offset(TopicPartition(topic, partition), time_ms)
        return None if offset < 0 else offset

    async def delete_records(self, topic: str, partition: int, before_offset: int) -> None:
        """See `Log`."""
        place = TopicPartition(topic, partition)
        what = f"deletion in {topic}/{partition}"
        await insist(self._client, what, lambda: admin.delete_records(self._client, place, before_offset))

    async def reader(self, topic: str) -> Reader:
        """See `Log`."""
        return KafkaReader(await self._client_for(TopicPartition(topic, 0)), topic)

    async def sender(self) -> Sender:
        """See `Log`."""
        courier = await self._opened_courier()
        identity = await insist(courier.client, "a producer id", lambda: init_producer_id(courier.client, None))
        return KafkaSender(courier, identity)

    async def claim(self, transactional_id: str) -> ProducerIdentity:
        """See `Log`."""
        what = f"claim of {transactional_id}"
        return await insist(self._client, what, lambda: init_producer_id(self._client, transactional_id))

    async def fenced_appender(self, topic: str, partition: int, identity: ProducerIdentity) -> FencedAppender:
        """See `Log`."""
        return KafkaFencedAppender(await self._opened_courier(), TopicPartition(topic, partition), identity)

    async def transactional_producer(self, transactional_id: str) -> TransactionalProducer:
        """See `Log`."""
        client = await self._open()
        what = f"claim of {transactional_id}"
        try:
            identity = await insist(client, what, lambda: init_producer_id(client, transactional_id))
        except BaseException:
            await close_client(client)
            raise
        return KafkaTransactionalProducer(client, transactional_id, identity)

    async def membership(self, group: str, topic: str, member_id: str, session_ms: int, on_assigned: OnAssigned) -> Membership:
        """See `Log`."""
        place = Place(group=group, topic=topic, member_id=member_id, session_ms=session_ms, protocols=self._protocols)
        membership = KafkaMembership(self._bootstrap, self._client_id, place, on_assigned)
        await membership.start()
        return membership

    async def describe_topics(self, names: Collection[str]) -> Mapping[str, Topic]:
        """See `Log`."""
        return await insist(self._client, "topics", lambda: admin.describe_topics(self._client, names))

    async def topics_beginning(self, name: str) -> Mapping[str, int]:
        """See `Log`."""
        return await insist(self._client, "topics", lambda: admin.topics_beginning(self._client, name))

    async def create_topics(self, topics: Sequence[Topic]) -> None:
        """See `Log`."""
        names = [topic.name for topic in topics]
        await insist(self._client, "topics", lambda: admin.create_topics(self._client, topics))
        await insist(self._client, "topics", lambda: admin.all_there(self._client, names))

    async def ping(self) -> None:
        """See `Log`. One try, for who asks wants to know how it is now."""
        try:
            async with asyncio.timeout(limits.KAFKA_REQUEST_MS / 1000):
                await self._client.any_answer(MetadataRequest([]))
        except (Retry, TimeoutError) as cause:
            raise Unavailable(f"no answer from {self._bootstrap}: {cause}") from cause

    async def close(self) -> None:
        """See `Log`."""
        async with self._opening:
            if self._courier is not None:
                await self._courier.close()
        await close_client(self._client)

    async def _opened_courier(self) -> Courier:
        async with self._opening:
            if self._courier is None:
                self._courier = Courier(await self._open())
            return self._courier

    async def _open(self) -> Brokers:
        return await open_client(self._bootstrap, self._client_id)

    async def _client_for(self, place: TopicPartition) -> Brokers:
        """A client of its own that knows the leader already: the first append or read need not ask for it."""
        client = await self._open()
        try:
            await insist(client, place.topic, lambda: leader_of(client, place))
        except BaseException:
            await close_client(client)
            raise
        return client

    async def _offset(self, place: TopicPartition, moment: int) -> int:
        async def ask() -> int:
            leader = await leader_of(self._client, place)
            offsets = await list_offsets(self._client, [place], moment)
            await confirm_leader(self._client, place, leader)
            return offsets[place]

        return await insist(self._client, f"offset of {place.topic}/{place.partition}", ask)
