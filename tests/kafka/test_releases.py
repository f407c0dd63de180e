"""What the system stands on, with the releases of Kafka that people run: fencing, the flip, graceful leave.

The whole suite runs with the newest release. The tests imported here find the `broker_bootstrap` of this file.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from aion_common.errors import Fenced
from aion_common.kafka.api import Log, Write
from aion_common.kafka.topics import Topics
from aion_server.broker import OLDER_KAFKA_VERSIONS, Broker
from conftest import TEST_PARTITIONS
from kafka.test_fencing import (  # noqa: F401
    test_a_zombie_with_an_independent_client_is_refused,
    test_an_old_owner_is_refused_after_the_new_owner_epoch_only,
    test_an_old_owner_is_refused_when_the_new_one_has_another_producer_id,
    test_no_append_of_an_old_owner_lands_behind_the_new_owner_epoch,
)
from kafka.test_membership import (  # noqa: F401
    test_a_member_that_stops_for_good_leaves_its_partitions_at_once,
    topics,
)
from support import committed


@pytest_asyncio.fixture(scope="module", loop_scope="session", params=OLDER_KAFKA_VERSIONS)
async def broker_bootstrap(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """A broker of each older release."""
    broker = Broker(Path(tmp_path_factory.mktemp("broker")), version=request.param)
    await broker.start()
    yield broker.bootstrap
    await broker.stop()


async def test_a_flip_is_in_all_partitions_or_in_none(kafka_log: Log, topic_prefix: str) -> None:
    commands = Topics(topic_prefix).commands
    transactional_id = f"{topic_prefix}catalog"

    def flip(value: bytes) -> list[Write]:
        partitions = range(TEST_PARTITIONS)
        return [Write(topic=commands, partition=partition, key=None, value=value) for partition in partitions]

    first = await kafka_log.transactional_producer(transactional_id)
    await first.commit(flip(b"v1"))
    second = await kafka_log.transactional_producer(transactional_id)
    with pytest.raises(Fenced):
        await first.commit(flip(b"lost"))
    await second.commit(flip(b"v2"))
    await first.close()
    await second.close()
    for partition in range(TEST_PARTITIONS):
        assert [record.value for record in await committed(kafka_log, commands, partition)] == [b"v1", b"v2"]
