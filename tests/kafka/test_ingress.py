"""The bridge over real brokers: what foreign clients may write there, and a death between the forwarding and the commit."""

import asyncio
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import MessageSizeTooLargeError
from aiokafka.record.util import calc_crc32c
from aiokafka.structs import TopicPartition

from aion_common.kafka.api import Log, LogRecord
from aion_common.kafka.connection import close_client, insist, leader_of, open_client
from aion_common.kafka.produce import Batch, init_producer_id, produce
from aion_common.kafka.topics import Topics
from aion_common.wire import decode
from aion_gateway.drain import Drain
from aion_gateway.ingress.bridge import GROUP, Bridge
from conftest import TEST_PARTITIONS
from kafka.bridges import forward_and_die
from support import committed, eventually

SESSION_MS = 1_000
START = b'{"type":"start","workflow_type":"order","workflow_id":"w"}'
SIGNAL = b'{"type":"signal","workflow_id":"w","name":"go"}'
IN_JSON = [("content-type", b"application/json")]


@pytest.fixture
def topics(topic_prefix: str, kafka_log: Log) -> Topics:
    """Created."""
    del kafka_log
    return Topics(topic_prefix)


@asynccontextmanager
async def bridging(log: Log, topics: Topics) -> AsyncIterator[None]:
    """A bridge that works until the block is left."""
    bridge = Bridge(log=log, topics=topics, gateway_id="g", partitions=TEST_PARTITIONS, session_ms=SESSION_MS)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(bridge.run(Drain()))
        yield
        running.cancel()


async def forwarded(log: Log, topics: Topics) -> list[str]:
    """Command ids, repeats included; those of one workflow in their order."""
    records: list[LogRecord] = []
    for partition in range(TEST_PARTITIONS):
        records.extend(await committed(log, topics.commands, partition))
    return [decode(record.value).command_id for record in records]


async def have_come(log: Log, topics: Topics, ids: Sequence[str]) -> None:
    """Wait until exactly these were forwarded."""

    async def are_there() -> bool:
        return await forwarded(log, topics) == ids

    await eventually(are_there)


@pytest.mark.parametrize("compression", [None, "gzip", "snappy", "lz4", "zstd"])
async def test_foreign_producers_compress_as_they_like(
    kafka_log: Log, topics: Topics, broker_bootstrap: str, compression: str | None
) -> None:
    async with AIOKafkaProducer(bootstrap_servers=broker_bootstrap, compression_type=compression) as producer:
        await producer.send_and_wait(topics.ingress, START, partition=0, headers=IN_JSON)
        for _ in range(20):
            await producer.send(topics.ingress, SIGNAL, partition=0, headers=IN_JSON)
    async with bridging(kafka_log, topics):
        await have_come(kafka_log, topics, [f"ingress/0/{offset}" for offset in range(21)])


async def test_what_would_unfold_to_more_than_a_batch_is_refused_by_the_broker(topics: Topics, broker_bootstrap: str) -> None:
    async with AIOKafkaProducer(
        bootstrap_servers=broker_bootstrap, compression_type="gzip", max_request_size=2**24
    ) as producer:
        with pytest.raises(MessageSizeTooLargeError):
            await producer.send_and_wait(topics.ingress, bytes(5_000_000), partition=0)


async def test_a_header_name_that_is_not_utf_8_disturbs_nobody(kafka_log: Log, topics: Topics, broker_bootstrap: str) -> None:
    place = TopicPartition(topics.ingress, 0)
    client = await open_client(broker_bootstrap, "foreign")
    try:
        identity = await insist(client, "a producer id", lambda: init_producer_id(client, None))
        batch = Batch(identity, 0, None)
        assert batch.add((None, START), (("??", b"1"), *((name, value) for name, value in IN_JSON)))
        for _ in range(3):
            assert batch.add((b"k", SIGNAL), (("ok", b"\xff"), ("???", b""), *((name, value) for name, value in IN_JSON)))
        content = bytearray(batch.seal().replace(b"???", b"\xff\xfe\xfd").replace(b"??", b"\xc3\x28"))
        struct.pack_into(">I", content, 17, calc_crc32c(bytes(content[21:])))

        async def append() -> None:
            outcome = (await produce(client, await leader_of(client, place), {place: bytes(content)}))[place]
            if isinstance(outcome, Exception):
                raise outcome

        await insist(client, "the batch", append)
    finally:
        await close_client(client)
    async with AIOKafkaProducer(bootstrap_servers=broker_bootstrap) as producer:
        await producer.send_and_wait(topics.ingress, SIGNAL, partition=0, headers=IN_JSON)
    async with bridging(kafka_log, topics):
        await have_come(kafka_log, topics, [f"ingress/0/{offset}" for offset in range(5)])


async def test_what_was_forwarded_and_not_committed_comes_again_with_the_same_ids(
    kafka_log: Log, topics: Topics, broker_bootstrap: str
) -> None:
    async with AIOKafkaProducer(bootstrap_servers=broker_bootstrap) as producer:
        for value in (START, SIGNAL, SIGNAL):
            await producer.send_and_wait(topics.ingress, value, partition=9, headers=IN_JSON)
    once = ["ingress/9/0", "ingress/9/1", "ingress/9/2"]
    assert await forward_and_die(broker_bootstrap, topics.prefix, TEST_PARTITIONS, SESSION_MS) == -9
    assert await forwarded(kafka_log, topics) == once
    async with bridging(kafka_log, topics):
        await have_come(kafka_log, topics, once * 2)
    member = await kafka_log.membership(topics.prefix + GROUP, topics.ingress, "who-asks", SESSION_MS, lambda _: None)
    assert await member.committed({9}) == {9: 3}
    await member.close()
    async with bridging(kafka_log, topics), AIOKafkaProducer(bootstrap_servers=broker_bootstrap) as producer:
        await producer.send_and_wait(topics.ingress, SIGNAL, partition=9, headers=IN_JSON)
        await have_come(kafka_log, topics, [*once * 2, "ingress/9/3"])
