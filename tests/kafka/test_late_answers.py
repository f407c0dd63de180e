"""A leader that is silent, and answers when another one leads: here both are one broker, the old one behind a relay that holds
its answers back."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import pytest
from aiokafka.structs import TopicPartition

from aion_common import limits
from aion_common.kafka.api import Log
from aion_common.kafka.brokers import Brokers
from aion_common.kafka.connection import open_client
from aion_common.kafka.courier import Courier
from aion_common.kafka.fenced import KafkaFencedAppender
from aion_common.kafka.reader import KafkaReader
from aion_common.kafka.requests import FetchRequest
from aion_common.kafka.topics import Topics
from support import eventually

OLD_LEADER = 77
PLACE = 0


@dataclass(slots=True)
class Relay:
    """Passes requests on to the broker, and answers back while `is_open`. `held`: pieces of answers that had to wait, passed
    on meanwhile."""

    host: str
    port: int
    is_open: asyncio.Event = field(default_factory=asyncio.Event)
    waiting: int = 0
    held: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        there, back = await asyncio.open_connection(self.host, self.port)
        answers = asyncio.create_task(self._answers(there, writer))
        while piece := await reader.read(65536):
            back.write(piece)
        answers.cancel()
        for end in (back, writer):
            end.close()

    async def _answers(self, there: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await there.read(65536):
            had_to_wait = not self.is_open.is_set()
            self.waiting += had_to_wait
            await self.is_open.wait()
            writer.write(piece)
            self.held += had_to_wait


@asynccontextmanager
async def led_by_a_silent_one(bootstrap: str, place: TopicPartition) -> AsyncIterator[tuple[Brokers, Relay]]:
    """A client that believes so, connected to it. What it knew before stands in its picture again after the next refresh."""
    client = await open_client(bootstrap, "aion-test")
    await client.follow(place.topic)
    real = client.picture
    relay = Relay(*real.addresses[real.leaders[place]])
    server = await asyncio.start_server(relay.serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    client.picture = replace(
        real, addresses={**real.addresses, OLD_LEADER: (host, port)}, leaders={**real.leaders, place: OLD_LEADER}
    )
    relay.is_open.set()
    await client.send(OLD_LEADER, FetchRequest(place.topic, {}, wait_ms=0, bytes_max=1, partition_bytes_max=1))
    relay.is_open.clear()
    yield client, relay
    relay.is_open.set()
    server.close()


async def test_what_comes_late_from_an_old_leader_is_dropped(kafka_log: Log, broker_bootstrap: str, topic_prefix: str) -> None:
    place = TopicPartition(Topics(topic_prefix).history, PLACE)
    sender = await kafka_log.sender()
    await sender.send(place.topic, PLACE, [(None, b"%d" % number) for number in range(10)])
    async with led_by_a_silent_one(broker_bootstrap, place) as (client, relay):
        reader = KafkaReader(client, place.topic)
        reader.assign({PLACE: 0})
        seen: list[int] = []

        async def has(offset: int) -> bool:
            read = await reader.read(wait_ms=10, records_max=100)
            seen.extend(record.offset for record in read.get(PLACE, ()))
            return offset in seen

        async def is_asked() -> bool:
            return await has(-1) or relay.waiting > 0

        await eventually(is_asked)
        await client.refresh()
        await eventually(lambda: has(9))
        relay.is_open.set()
        await eventually(lambda: relay.held > 0)
        await sender.send(place.topic, PLACE, [(None, b"last")])
        await eventually(lambda: has(10))
        assert seen == list(range(11))
        await reader.close()
    await sender.close()


async def test_a_leader_that_is_silent_is_left_when_others_say_that_it_leads_no_more(
    kafka_log: Log, broker_bootstrap: str, topic_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "KAFKA_REQUEST_MS", 600_000)
    monkeypatch.setattr(limits, "APPEND_MS", 600_000)
    place = TopicPartition(Topics(topic_prefix).history, PLACE)
    identity = await kafka_log.claim(f"{topic_prefix}owner")
    async with asyncio.timeout(60), led_by_a_silent_one(broker_bootstrap, place) as (client, _):
        courier = Courier(client)
        owner = KafkaFencedAppender(courier, place, identity)
        assert (await owner.append([(None, b"1")])).base_offset == 0
        assert (await owner.append([(None, b"2")])).base_offset == 1
        await courier.close()
