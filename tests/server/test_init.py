"""`aion-server init` on the log's twin: once, again, with other values, twice at the same time, interrupted."""

import asyncio

import pytest

from aion_common.clock import SystemClock
from aion_common.cluster import join_cluster, verify_cluster
from aion_common.errors import AionError, Unavailable, WrongCluster
from aion_common.kafka.api import Topic, Write
from aion_common.kafka.topics import Topics
from aion_common.records.catalog import CatalogRecord, ClusterCreated
from aion_common.records.owners import Owner
from aion_common.settings import Settings
from aion_common.testing.memory_cluster import Fault, MemoryCluster
from aion_common.testing.memory_log import MemoryLog
from aion_common.wire import decode, encode, schemas
from aion_server.init import create

TOPICS = Topics("aion.")
CLOCK = SystemClock()


def asked(**settings: object) -> Settings:
    return Settings(**settings)  # type: ignore[arg-type]


def catalog_values(cluster: MemoryCluster) -> list[bytes | None]:
    return [record.value for record in cluster.records(TOPICS.catalog, 0)]


async def test_new_cluster_has_the_topics_and_says_so_in_its_first_record() -> None:
    log = MemoryLog()
    created = await create(log, asked(partitions=4), CLOCK)
    assert created.partitions == 4
    assert {topic.name: topic.partitions for topic in created.topics}[TOPICS.history] == 4
    assert {topic.name for topic in created.topics} | {TOPICS.tasks("default")} == set(log.cluster.topics)
    (value,) = catalog_values(log.cluster)
    assert value is not None
    record = decode(value)
    assert isinstance(record, CatalogRecord)
    assert record.event == created
    assert await verify_cluster(log, TOPICS) == created


async def test_second_init_changes_nothing() -> None:
    log = MemoryLog()
    first = await create(log, asked(partitions=4), CLOCK)
    before = {name: log.cluster.records(name, 0) for name in log.cluster.topics}
    assert await create(log, asked(partitions=4), CLOCK) == first
    assert await create(log, asked(), CLOCK) == first, "partitions not asked for are those of the cluster"
    assert {name: log.cluster.records(name, 0) for name in log.cluster.topics} == before


async def test_other_partition_count_is_refused_naming_both() -> None:
    log = MemoryLog()
    await create(log, asked(partitions=4), CLOCK)
    with pytest.raises(WrongCluster, match="created with 4 partitions, 8 were asked for"):
        await create(log, asked(partitions=8), CLOCK)


async def test_topics_that_exist_otherwise_are_refused_before_anything_is_recorded() -> None:
    log = MemoryLog()
    await log.create_topics([Topic(name=TOPICS.commands, partitions=2, replication=1)])
    with pytest.raises(WrongCluster, match=r"aion\.commands has 2 partitions instead of 4"):
        await create(log, asked(partitions=4), CLOCK)
    assert catalog_values(log.cluster) == []


async def test_schemas_are_published_under_their_fingerprints() -> None:
    log = MemoryLog()
    await create(log, asked(partitions=1), CLOCK)
    published = {record.key: record.value for record in log.cluster.records(TOPICS.schemas, 0)}
    assert published == {mark.encode(): text.encode() for mark, text in schemas().items()}


async def test_a_service_publishes_what_its_release_adds() -> None:
    log = MemoryLog()
    await create(log, asked(partitions=1), CLOCK)
    log.cluster.trim(TOPICS.schemas, 0, len(schemas()) - 1)
    await join_cluster(log, TOPICS)
    published = {record.key for record in log.cluster.records(TOPICS.schemas, 0)}
    assert published == {mark.encode() for mark in schemas()}


@pytest.mark.parametrize("value", [b"garbage", None, b'"string"'])
async def test_a_service_publishes_again_what_somebody_has_overwritten(value: bytes | None) -> None:
    log = MemoryLog()
    await create(log, asked(partitions=1), CLOCK)
    mark, text = next(iter(schemas().items()))
    sender = await log.sender()
    await sender.send(TOPICS.schemas, 0, [(mark.encode(), value)])
    await join_cluster(log, TOPICS)
    newest = {record.key: record.value for record in log.cluster.records(TOPICS.schemas, 0)}
    assert newest[mark.encode()] == text.encode()


async def test_inits_at_the_same_time_write_one_first_record() -> None:
    cluster = MemoryCluster()
    created: list[ClusterCreated] = []
    beaten: list[Unavailable] = []

    async def one() -> None:
        try:
            created.append(await create(MemoryLog(cluster), asked(partitions=3), CLOCK))
        except Unavailable as error:
            beaten.append(error)

    async with asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(one())
    assert len(catalog_values(cluster)) == 1
    assert len(created) + len(beaten) == 4
    assert created
    assert all("run this one again" in str(error) for error in beaten)


@pytest.mark.parametrize("fault", list(Fault))
async def test_init_with_an_unclear_commit_can_be_repeated(fault: Fault) -> None:
    log = MemoryLog()
    log.cluster.fail_next_append(TOPICS.catalog, 0, fault)
    with pytest.raises(AionError):
        await create(log, asked(partitions=2), CLOCK)
    created = await create(log, asked(partitions=2), CLOCK)
    assert len(catalog_values(log.cluster)) == 1
    assert await verify_cluster(log, TOPICS) == created


async def test_service_refuses_a_cluster_without_init() -> None:
    log = MemoryLog()
    with pytest.raises(WrongCluster, match="does not exist; run `aion-server init`"):
        await verify_cluster(log, TOPICS)
    await log.create_topics([Topic(name=TOPICS.catalog, partitions=1, replication=1)])
    with pytest.raises(WrongCluster, match="is empty; run `aion-server init`"):
        await verify_cluster(log, TOPICS)


async def test_service_refuses_topics_that_are_no_longer_as_created() -> None:
    log = MemoryLog()
    await create(log, asked(partitions=4), CLOCK)
    grown = log.cluster.topics[TOPICS.commands]
    log.cluster.topics[TOPICS.commands] = Topic(name=grown.name, partitions=6, replication=1)
    with pytest.raises(WrongCluster, match=r"aion\.commands was created with 4 partitions and now has 6"):
        await verify_cluster(log, TOPICS)
    del log.cluster.topics[TOPICS.commands]
    with pytest.raises(WrongCluster, match=r"aion\.commands was created with 4 partitions and now does not exist"):
        await verify_cluster(log, TOPICS)


async def test_foreign_first_record_is_refused() -> None:
    log = MemoryLog()
    await log.create_topics([Topic(name=TOPICS.catalog, partitions=1, replication=1)])
    value = encode(Owner(partition=0, owner_epoch=0, member="m", address="a:1"))
    producer = await log.transactional_producer("someone")
    await producer.commit([Write(topic=TOPICS.catalog, partition=0, key=None, value=value)])
    with pytest.raises(WrongCluster, match="is not ClusterCreated"):
        await verify_cluster(log, TOPICS)
