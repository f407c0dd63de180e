"""How often a reader asks, and what it does with a poll that its broker still holds when something else is wanted.

Brokers hold empty polls for ten minutes here: whatever comes did not wait for the end of one.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

import pytest
import pytest_asyncio
from aiokafka.client import ConnectionGroup

from aion_common import limits
from aion_common.kafka.api import Log, Sender
from aion_common.kafka.brokers import Brokers
from aion_common.kafka.reader import KafkaReader
from aion_common.kafka.requests import FetchRequest
from aion_common.kafka.topics import Topics

FOREVER_MS = 600_000


class Counting(Brokers):
    """Real ones. `polls`: that left; `given_up`: connections that were ended because of one."""

    polls = 0
    given_up = 0

    async def send(self, node: int, request: object, group: ConnectionGroup = ConnectionGroup.DEFAULT) -> object:
        """See `Brokers`."""
        self.polls += isinstance(request, FetchRequest)
        return await super().send(node, request, group)

    def hang_up(self, node: int) -> None:
        """See `Brokers`."""
        self.given_up += 1
        super().hang_up(node)


@pytest.fixture(autouse=True)
def _polls_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "FETCH_WAIT_MS", FOREVER_MS)


@pytest.fixture
def topic(topic_prefix: str) -> str:
    """Of three partitions."""
    return Topics(topic_prefix).commands


@pytest_asyncio.fixture
async def sender(kafka_log: Log, topic: str) -> AsyncIterator[Sender]:
    """It has sent one record to each partition: leaders of a new topic refuse polls for a moment."""
    opened = await kafka_log.sender()
    for partition in range(3):
        await opened.send(topic, partition, [(None, b"before")])
    yield opened
    await opened.close()


@pytest_asyncio.fixture
async def brokers(sender: Sender, broker_bootstrap: str, topic: str) -> Counting:
    """As the reader's client, which the reader closes."""
    del sender
    client = Counting(broker_bootstrap, "aion-test", FOREVER_MS)
    await client.follow(topic)
    return client


@pytest_asyncio.fixture
async def reader(brokers: Counting, topic: str) -> AsyncIterator[KafkaReader]:
    """With nothing assigned."""
    opened = KafkaReader(brokers, topic)
    yield opened
    await opened.close()


async def asked(reader: KafkaReader, brokers: Counting) -> None:
    """Read nothing until a poll has left."""
    async with asyncio.timeout(30):
        while not brokers.polls:
            assert await reader.read(wait_ms=10, records_max=10) == {}


async def values(reader: KafkaReader) -> Mapping[int, list[bytes | None]]:
    """The next records. Fails where they do not come."""
    read = await reader.read(wait_ms=10_000, records_max=10)
    return {partition: [record.value for record in records] for partition, records in read.items()}


async def test_an_idle_reader_asks_once(reader: KafkaReader, brokers: Counting, sender: Sender, topic: str) -> None:
    reader.assign({0: 1, 1: 1})
    for _ in range(50):
        assert await reader.read(wait_ms=10, records_max=10) == {}
    assert (brokers.polls, brokers.given_up) == (1, 0)
    await sender.send(topic, 1, [(None, b"1")])
    assert await values(reader) == {1: [b"1"]}
    assert brokers.given_up == 0


def test_an_idle_leader_is_not_taken_for_a_silent_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert limits.FETCH_WAIT_MS <= limits.KAFKA_SILENCE_MS // 2


@pytest.mark.parametrize(
    ("change", "there"),
    [
        pytest.param(lambda reader: reader.assign({0: 1, 1: 1}), {1: [b"1"]}, id="another-partition"),
        pytest.param(lambda reader: reader.assign({1: 1}), {1: [b"1"]}, id="another-one-alone"),
        pytest.param(lambda reader: reader.assign({0: 0}), {0: [b"before"]}, id="another-offset"),
        pytest.param(lambda reader: reader.resume(2), {2: [b"2"]}, id="resumed"),
    ],
)
async def test_what_is_wanted_by_now_does_not_wait_for_the_end_of_a_poll_without_it(
    reader: KafkaReader,
    brokers: Counting,
    sender: Sender,
    topic: str,
    change: Callable[[KafkaReader], None],
    there: Mapping[int, list[bytes]],
) -> None:
    await sender.send(topic, 1, [(None, b"1")])
    await sender.send(topic, 2, [(None, b"2")])
    reader.assign({0: 1, 2: 1})
    reader.pause(2)
    await asked(reader, brokers)
    reading = asyncio.create_task(values(reader))
    await asyncio.sleep(0)
    change(reader)
    assert await reading == there
    assert brokers.given_up == 1


async def test_taking_a_partition_away_gives_up_nothing(
    reader: KafkaReader, brokers: Counting, sender: Sender, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "FETCH_GIVE_UP_MS", 0)
    reader.assign({0: 1, 1: 1, 2: 1})
    await asked(reader, brokers)
    reader.pause(2)
    assert await reader.read(wait_ms=10, records_max=10) == {}
    reader.assign({0: 1})
    for _ in range(10):
        assert await reader.read(wait_ms=10, records_max=10) == {}
    await sender.send(topic, 0, [(None, b"0")])
    assert await values(reader) == {0: [b"0"]}
    assert brokers.given_up == 0


async def test_a_poll_that_has_just_begun_is_waited_for(
    reader: KafkaReader, brokers: Counting, sender: Sender, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "FETCH_GIVE_UP_MS", FOREVER_MS)
    reader.assign({0: 1})
    await asked(reader, brokers)
    reader.assign({0: 1, 1: 1})
    for _ in range(10):
        assert await reader.read(wait_ms=10, records_max=10) == {}
    await sender.send(topic, 0, [(None, b"0")])
    assert await values(reader) == {0: [b"0"]}
    assert brokers.given_up == 0


async def test_a_poll_asks_for_what_is_wanted_when_it_leaves(
    reader: KafkaReader, brokers: Counting, sender: Sender, topic: str
) -> None:
    await sender.send(topic, 1, [(None, b"1")])
    reader.assign({0: 1})
    reading = asyncio.create_task(values(reader))
    # One turn until it reads, and one in which it makes the poll, whose own comes after this.
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert brokers.polls == 0
    reader.assign({1: 1})
    assert await reading == {1: [b"1"]}
    assert brokers.given_up == 0


async def test_closing_does_not_wait_for_a_poll(reader: KafkaReader, brokers: Counting) -> None:
    reader.assign({0: 1})
    await asked(reader, brokers)
    async with asyncio.timeout(limits.KAFKA_CLOSE_MS / 1000):
        await reader.close()
