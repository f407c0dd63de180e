"""What clients do when no broker answers: say so in time, and close in time."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from aion_common import limits
from aion_common.errors import AionError, Unavailable
from aion_common.kafka.api import Topic, Write
from aion_common.kafka.client import connect
from aion_server.broker import Broker, free_port

TOPIC = Topic(name="t", partitions=1, replication=1)


@pytest_asyncio.fixture
async def own_broker(tmp_path: Path) -> AsyncIterator[Broker]:
    """One that the test may stop; it runs again at the end if it was suspended."""
    broker = Broker(tmp_path)
    await broker.start()
    yield broker
    await broker.kill()


async def test_nobody_at_the_address_is_unavailable() -> None:
    with pytest.raises(Unavailable):
        await connect(f"127.0.0.1:{free_port()}")


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGSTOP])
async def test_everything_fails_and_closes_in_time(
    own_broker: Broker, end: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = await connect(own_broker.bootstrap)
    await log.create_topics([TOPIC])
    reader, sender = await log.reader("t"), await log.sender()
    reader.assign({0: 0})
    owner = await log.fenced_appender("t", 0, await log.claim("owner"))
    catalog = await log.transactional_producer("catalog")
    membership = await log.membership("group", "t", "member", 6_000, lambda _: None)
    await sender.send("t", 0, [(None, b"1")])
    await owner.append([(None, b"2")])
    await catalog.commit([Write(topic="t", partition=0, key=None, value=b"3")])
    assert await reader.read(wait_ms=5_000, records_max=1)
    monkeypatch.setattr(limits, "APPEND_MS", 300)
    monkeypatch.setattr(limits, "KAFKA_REQUEST_MS", 300)
    monkeypatch.setattr(limits, "KAFKA_CLOSE_MS", 300)
    assert own_broker.pid is not None
    os.kill(own_broker.pid, end)
    outcomes = await asyncio.gather(
        sender.send("t", 0, [(None, b"never")]),
        owner.append([(None, b"never")]),
        catalog.commit([Write(topic="t", partition=0, key=None, value=b"never")]),
        log.end_offset("t", 0),
        log.claim("owner"),
        log.ping(),
        log.sender(),
        log.describe_topics(["t"]),
        return_exceptions=True,
    )
    assert [outcome for outcome in outcomes if not isinstance(outcome, Unavailable)] == []
    for again in (owner.append([(None, b"never")]), catalog.commit([Write(topic="t", partition=0, key=None, value=b"x")])):
        with pytest.raises(AionError):
            await again
    assert set(await reader.read(wait_ms=50, records_max=10)) <= {0}
    waiting = asyncio.create_task(sender.send("t", 0, [(None, b"never")]))
    await asyncio.sleep(0)
    await asyncio.gather(reader.close(), sender.close(), owner.close(), catalog.close(), membership.close(), log.close())
    with pytest.raises(Unavailable):
        await waiting
