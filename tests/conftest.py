"""Fixtures of all floors: one real broker per test session, a connected log with fresh topics per test, and its twin.

Nothing is started for tests that do not ask. `AION_TEST_BOOTSTRAP` names a running cluster to use instead of an own
broker, `--broker=testcontainers` takes one from a container.
"""

import os
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from aion_common.kafka.api import Log
from aion_common.kafka.client import connect
from aion_common.kafka.topics import Topics, wanted
from aion_common.testing.memory_log import MemoryLog
from aion_server.broker import Broker

TEST_PARTITIONS = 3
"""Of commands and history in the tests' topics."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Where the broker comes from."""
    parser.addoption("--broker", choices=("child", "testcontainers"), default="child", help="child process or container")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def broker_bootstrap(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """Bootstrap address of the session's broker."""
    given = os.environ.get("AION_TEST_BOOTSTRAP")
    if given:
        yield given
    elif request.config.getoption("--broker") == "testcontainers":
        from testcontainers.kafka import KafkaContainer  # noqa: PLC0415 - asks for a container engine when imported

        with KafkaContainer().with_kraft() as container:
            yield container.get_bootstrap_server()
    else:
        broker = Broker(Path(tmp_path_factory.mktemp("broker")))
        await broker.start()
        yield broker.bootstrap
        await broker.stop()


@pytest.fixture
def topic_prefix() -> str:
    """Unique for the test, so that tests share a broker without seeing one another."""
    return f"t{uuid.uuid4().hex[:12]}."


@pytest_asyncio.fixture
async def kafka_log(broker_bootstrap: str, topic_prefix: str) -> AsyncIterator[Log]:
    """Connected to the broker; the topics of the prefix are there."""
    log = await connect(broker_bootstrap, client_id="aion-test")
    try:
        await log.create_topics(wanted(Topics(topic_prefix), partitions=TEST_PARTITIONS, replication=1, insync_min=1))
        yield log
    finally:
        await log.close()


@pytest_asyncio.fixture
async def memory_log(topic_prefix: str) -> MemoryLog:
    """A memory cluster of its own, with the topics of the prefix."""
    log = MemoryLog()
    await log.create_topics(wanted(Topics(topic_prefix), partitions=TEST_PARTITIONS, replication=1, insync_min=1))
    return log
