"""Three brokers of which one hangs, dies, or comes back and does not know yet that it leads no more."""

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from aiokafka.client import CoordinationType

from aion_common import limits
from aion_common.kafka.api import Log
from aion_common.kafka.client import connect
from aion_common.kafka.connection import open_client
from aion_common.kafka.reader import KafkaReader
from kafka.load import Load
from kafka.members import Members, three_members
from support import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")

TRIES = 5
"""Of what depends on which broker is asked first."""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def members(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Members]:
    """One cluster for this file: each test leaves it whole."""
    async with three_members(Path(tmp_path_factory.mktemp("members"))) as cluster:
        yield cluster


@pytest_asyncio.fixture(loop_scope="session")
async def log(members: Members) -> AsyncIterator[Log]:
    """Connected to all of them."""
    connected = await connect(members.bootstrap)
    yield connected
    await connected.close()


async def test_an_address_that_accepts_and_says_nothing_does_not_use_up_the_time_of_the_others(members: Members) -> None:
    hanging = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    ports = [listening.getsockname()[1] for listening in hanging]
    bootstrap = ",".join([*(f"127.0.0.1:{port}" for port in ports), members.brokers[1].bootstrap])
    for _ in range(TRIES):
        connected = await connect(bootstrap)
        await connected.close()
    for listening in hanging:
        listening.close()


async def test_any_broker_that_lives_is_enough_to_connect_and_to_be_there(members: Members, log: Log) -> None:
    async with members.killed(2):
        for _ in range(TRIES):
            await log.ping()
            connected = await connect(members.bootstrap)
            await connected.close()


async def test_a_broker_that_hangs_is_not_waited_for_by_who_does_not_need_it(
    members: Members, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = await members.topic("not-needed")
    leader = await members.leader(topic)
    log = await connect(members.bootstrap)
    monkeypatch.setattr(limits, "APPEND_MS", 3_000)
    with members.stopped(leader % 3 + 1):
        for _ in range(TRIES):
            await log.ping()
            assert set(await log.describe_topics([topic])) == {topic}
            reader = await log.reader(topic)
            await reader.close()
    await log.close()


async def test_who_was_the_leader_is_not_believed_about_the_end(members: Members, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "KAFKA_REQUEST_MS", 30_000)
    monkeypatch.setattr(limits, "KAFKA_SILENCE_MS", 60_000)
    monkeypatch.setattr(limits, "APPEND_MS", 60_000)
    topic = await members.topic("end")
    log, other = await connect(members.bootstrap), await connect(members.bootstrap)
    sender = await other.sender()
    await sender.send(topic, 0, [(None, b"before")])
    assert await log.end_offset(topic, 0) == 1
    leader = await members.leader(topic)
    with members.stopped(leader):
        asked = asyncio.create_task(log.end_offset(topic, 0))
        await members.moved_from(leader, topic)
        # One that has not yet met the leader that stands still.
        fresh = await connect(members.bootstrap)
        await (await fresh.sender()).send(topic, 0, [(None, b"after")])
    assert await asked == 2
    for opened in (sender, fresh, log, other):
        await opened.close()


async def test_who_was_the_leader_is_not_believed_that_an_offset_is_not_in_the_log(
    members: Members, monkeypatch: pytest.MonkeyPatch, log: Log
) -> None:
    monkeypatch.setattr(limits, "KAFKA_REQUEST_MS", 30_000)
    monkeypatch.setattr(limits, "KAFKA_SILENCE_MS", 60_000)
    monkeypatch.setattr(limits, "APPEND_MS", 60_000)
    topic = await members.topic("range")
    leader = await members.leader(topic)
    client = await open_client(members.bootstrap, "aion-test")
    await client.follow(topic)
    reader = KafkaReader(client, topic)
    reader.assign({0: 2})
    before = client.picture
    with members.stopped(leader):
        await members.moved_from(leader, topic)
        sender = await log.sender()
        await sender.send(topic, 0, [(None, b"1"), (None, b"2")])
        client.picture = before
        assert await reader.read(wait_ms=100, records_max=1) == {}
    await sender.send(topic, 0, [(None, b"3")])
    read = await eventually(lambda: reader.read(wait_ms=100, records_max=10))
    assert [record.value for record in read[0]] == [b"3"]
    for opened in (sender, reader):
        await opened.close()


async def test_under_load_nothing_is_lost_or_doubled_when_a_broker_stands_still_and_goes_on(members: Members, log: Log) -> None:
    """The one that coordinates transactions; whatever it leads beside that goes with it."""
    topic = await members.topic("load", partitions=3)
    victim = await members.coordinator(CoordinationType.TRANSACTION, "catalog")
    load = Load(log, topic)
    async with load.running():
        await load.more(10)
        with members.stopped(victim):
            await members.moved_from(victim, topic, partitions=3)
        await load.more(10)
    await load.judge()
