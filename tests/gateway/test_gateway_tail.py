"""Following a topic: each record once, in order, through outages, bad records, trimmed logs and deaf readers."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from aion_common import limits
from aion_common.errors import Unavailable
from aion_common.kafka.api import LogRecord, Reader, Write
from aion_common.kafka.topics import wanted
from aion_common.testing.memory_cluster import MemoryCluster
from aion_common.testing.memory_log import MemoryLog
from aion_gateway.app import create_app
from aion_gateway.gateway import open_gateway
from aion_gateway.tail import Place, Tail
from gateway.scripted import Executors, owner_record
from gateway.world import TOPICS, surroundings


class DeafReader:
    """Is assigned and asked, and never hears anything."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reader, name)

    async def read(self, *, wait_ms: int, records_max: int) -> Mapping[int, Sequence[LogRecord]]:
        """Silence, whatever is there."""
        del wait_ms, records_max
        return {}


class DeafLog(MemoryLog):
    """Its first readers are deaf."""

    deaf_readers = 0

    async def reader(self, topic: str) -> Reader:
        """See `Log`."""
        reader = await super().reader(topic)
        if self.deaf_readers:
            self.deaf_readers -= 1
            return DeafReader(reader)
        return reader


@asynccontextmanager
async def tailing(log: MemoryLog, *, from_end: bool = False) -> AsyncIterator[tuple[Tail, list[int]]]:
    """A follower of the owners, and the owner epochs it has taken."""
    taken: list[int] = []
    tail = Tail(
        log,
        TOPICS,
        Place(topic=TOPICS.owners, partition=0, from_end=from_end),
        lambda record: taken.append(record.owner_epoch),
    )
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(tail.run())
        yield tail, taken
        running.cancel()


async def write(log: MemoryLog, *epochs: int) -> None:
    """Append owners with these epochs."""
    await (await log.sender()).send(TOPICS.owners, 0, [owner_record(0, epoch, "member", "host:1") for epoch in epochs])


@pytest.fixture(autouse=True)
def _in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TAIL_RETRY_MS", "TAIL_CHECK_MS", "TAIL_STUCK_MS"):
        monkeypatch.setattr(limits, name, 0)


async def cluster_log() -> DeafLog:
    """The log of a new cluster."""
    log = DeafLog(MemoryCluster())
    await log.create_topics(wanted(TOPICS, partitions=1, replication=1, insync_min=1))
    return log


async def test_what_was_there_and_what_comes_is_taken_once_in_order() -> None:
    log = await cluster_log()
    await write(log, 1, 2)
    async with tailing(log) as (tail, taken):
        await tail.caught_up()
        assert taken == [1, 2]
        await write(log, 3)
        await tail.caught_up()
        assert taken == [1, 2, 3]


async def test_from_the_end_only_what_comes_is_taken() -> None:
    log = await cluster_log()
    await write(log, 1, 2)
    async with tailing(log, from_end=True) as (tail, taken):
        await tail.positioned()
        await write(log, 3)
        await tail.caught_up()
        assert taken == [3]


async def test_catching_up_passes_the_end_of_a_transaction() -> None:
    log = await cluster_log()
    key, value = owner_record(0, 1, "member", "host:1")
    producer = await log.transactional_producer("id")
    async with tailing(log) as (tail, taken):
        await producer.commit([Write(topic=TOPICS.owners, partition=0, key=key, value=value)])
        await tail.caught_up()
        assert taken == [1]


async def test_what_cannot_be_read_is_passed_over() -> None:
    log = await cluster_log()
    await write(log, 1)
    await (await log.sender()).send(TOPICS.owners, 0, [(b"0", b"nonsense"), (b"0", None), (b"0", b"\xc3\x01" + b"x" * 9)])
    await write(log, 2)
    async with tailing(log) as (tail, taken):
        await tail.caught_up()
        assert taken == [1, 2]


async def test_a_follower_begins_when_kafka_comes() -> None:
    log = await cluster_log()
    await write(log, 1)
    log.cluster.reachable = False
    async with tailing(log) as (tail, taken):
        with pytest.raises(Unavailable):
            await log.ping()
        assert not tail.is_positioned
        log.cluster.reachable = True
        await tail.positioned()
        await tail.caught_up()
        assert taken == [1]


async def test_a_follower_goes_on_after_an_outage() -> None:
    log = await cluster_log()
    async with tailing(log) as (tail, taken):
        await tail.caught_up()
        log.cluster.reachable = False
        with pytest.raises(Unavailable):
            await tail.caught_up()
        log.cluster.reachable = True
        await write(log, 1)
        await tail.caught_up()
        assert taken == [1]


async def test_records_deleted_before_they_were_read_are_passed_over() -> None:
    log = await cluster_log()
    async with tailing(log) as (tail, taken):
        await tail.caught_up()
        await write(log, 1, 2, 3)
        log.cluster.trim(TOPICS.owners, 0, 2)
        await tail.caught_up()
        assert taken == [3]


async def test_a_deaf_reader_is_replaced() -> None:
    log = await cluster_log()
    log.deaf_readers = 2
    await write(log, 1)
    async with tailing(log) as (tail, taken):
        await tail.caught_up()
        assert taken == [1]
        assert not tail.is_stuck


async def test_a_follower_whom_new_readers_do_not_help_is_stuck() -> None:
    log = await cluster_log()
    log.deaf_readers = 10**9
    await write(log, 1)
    async with tailing(log) as (tail, _):
        while not tail.is_stuck:
            await log.ping()


async def test_a_gateway_with_a_stuck_follower_is_not_healthy() -> None:
    log = await cluster_log()
    log.deaf_readers = 10**9
    await write(log, 1)
    around = surroundings(log, Executors())
    async with around.client, open_gateway(around) as gateway:
        transport = httpx.ASGITransport(app=create_app(gateway))
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as http:
            while (answer := await http.get("/healthz")).is_success:
                await log.ping()
            assert (answer.status_code, answer.json()["reasons"]) == (503, ["owners are not read any more"])
