"""Take-over between members of a group that die, hang and come back, each a process of its own."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor

from aion_common.errors import Unavailable, WrongCluster
from aion_common.kafka.api import Log
from aion_common.kafka.assignor import STICKY, STOCK
from aion_common.kafka.client import connect
from aion_common.kafka.topics import Topics, wanted
from aion_server.broker import Broker
from kafka.processes import member
from support import eventually

SESSION_MS = 1_000
ALL = frozenset({0, 1, 2})


@pytest.fixture
def topics(topic_prefix: str, kafka_log: Log) -> Topics:
    """Created."""
    del kafka_log
    return Topics(topic_prefix)


async def test_partitions_of_a_killed_member_go_to_the_survivor(broker_bootstrap: str, topics: Topics) -> None:
    group = f"{topics.prefix}executors"
    async with member(broker_bootstrap, group, topics.commands, "a", SESSION_MS) as a:
        assert await a.told() == ALL
        async with member(broker_bootstrap, group, topics.commands, "b", SESSION_MS) as b:
            assert len(await a.told()) == 2
            assert len(await b.told()) == 1
            await a.kill()
            assert await b.told() == ALL


async def test_a_member_that_stops_for_good_leaves_its_partitions_at_once(kafka_log: Log, topics: Topics) -> None:
    group = f"{topics.prefix}executors"
    # Much longer than anybody waits for a test: nothing but the leave can move the partitions.
    session_ms = 1_000_000
    told: dict[str, list[frozenset[int]]] = {"a": [], "b": []}
    a = await kafka_log.membership(group, topics.commands, "a", session_ms, told["a"].append)
    b = await kafka_log.membership(group, topics.commands, "b", session_ms, told["b"].append)
    try:
        await eventually(lambda: bool(told["a"] and told["b"]) and told["a"][-1] | told["b"][-1] == ALL)
        await a.close()
        await eventually(lambda: told["b"][-1] == ALL)
    finally:
        await b.close()


async def test_a_static_member_that_restarts_at_once_keeps_its_partitions(broker_bootstrap: str, topics: Topics) -> None:
    group = f"{topics.prefix}executors"
    # Long enough that the restart always falls into the session.
    session_ms = 20_000
    async with member(broker_bootstrap, group, topics.commands, "a", session_ms) as a:
        assert await a.told() == ALL
        async with member(broker_bootstrap, group, topics.commands, "b", session_ms) as b:
            kept, others = await a.told(), await b.told()
            await b.kill()
            async with member(broker_bootstrap, group, topics.commands, "b", session_ms) as again:
                assert await again.told() == others
                async with member(broker_bootstrap, group, topics.commands, "c", session_ms) as c:
                    # The next thing `a` hears is this third member: the restart of `b` was no rebalance.
                    assert (await a.told()) < kept
                    assert await c.told() | await again.told() | (kept & others) <= ALL


async def test_a_member_that_hung_learns_that_its_place_is_lost(broker_bootstrap: str, topics: Topics) -> None:
    group = f"{topics.prefix}executors"
    async with member(broker_bootstrap, group, topics.commands, "a", SESSION_MS) as a:
        assert await a.told() == ALL
        async with member(broker_bootstrap, group, topics.commands, "b", SESSION_MS) as b:
            mine, others = await a.told(), await b.told()
            assert mine | others == ALL
            a.suspend()
            assert await b.told() == ALL
            a.resume()
            assert await a.told() == frozenset()
            assert await a.told() | await b.told() == ALL


async def test_a_session_time_out_that_the_cluster_does_not_permit_is_refused(kafka_log: Log, topics: Topics) -> None:
    with pytest.raises(WrongCluster, match=r"group\.min\.session\.timeout\.ms"):
        await kafka_log.membership("executors", topics.commands, "a", 20, lambda _: None)


@pytest.mark.parametrize("assignor", [RangePartitionAssignor, RoundRobinPartitionAssignor])
async def test_a_member_that_offers_stock_protocols_shares_a_group_with_a_stock_consumer(
    broker_bootstrap: str, topics: Topics, assignor: type
) -> None:
    group = f"{topics.prefix}workers"
    told: list[frozenset[int]] = []
    log = await connect(broker_bootstrap, protocols=(STICKY, *STOCK))
    ours = await log.membership(group, topics.commands, "ours", SESSION_MS, told.append)
    async with stock_consumer(broker_bootstrap, group, topics.commands, assignor) as stock:
        await eventually(lambda: stock() and told[-1] and stock() | told[-1] == ALL)
    await eventually(lambda: told[-1] == ALL)
    async with stock_consumer(broker_bootstrap, group, topics.commands, assignor) as stock:
        await eventually(lambda: stock() and told[-1] and stock() | told[-1] == ALL)
        await ours.close()
        await eventually(lambda: stock() == ALL)
        again = await log.membership(group, topics.commands, "ours", SESSION_MS, told.append)
        await eventually(lambda: stock() and told[-1] and stock() | told[-1] == ALL)
        await again.close()
    await log.close()


async def test_a_group_that_divides_by_another_protocol_is_named(broker_bootstrap: str, kafka_log: Log, topics: Topics) -> None:
    group = f"{topics.prefix}workers"
    async with stock_consumer(broker_bootstrap, group, topics.commands, RangePartitionAssignor) as stock:
        await eventually(lambda: stock() == ALL)
        with pytest.raises(Unavailable, match=f"group {group} has members that divide .* none of the protocols aion-sticky"):
            await kafka_log.membership(group, topics.commands, "a", SESSION_MS, lambda _: None)


@asynccontextmanager
async def stock_consumer(bootstrap: str, group: str, topic: str, assignor: type) -> AsyncIterator[Callable[[], frozenset[int]]]:
    """A consumer of aiokafka in the group; what it holds."""
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=bootstrap,
        group_id=group,
        partition_assignment_strategy=(assignor,),
        session_timeout_ms=SESSION_MS * 6,
        heartbeat_interval_ms=200,
    )
    await consumer.start()
    try:
        yield lambda: frozenset(place.partition for place in consumer.assignment())
    finally:
        await consumer.stop()


async def test_a_member_counts_its_place_as_lost_while_no_broker_answers(tmp_path: Path) -> None:
    broker = Broker(tmp_path)
    await broker.start()
    log = await connect(broker.bootstrap)
    topics = Topics("aion.")
    await log.create_topics(wanted(topics, partitions=3, replication=1, insync_min=1))
    told: list[frozenset[int]] = []
    membership = await log.membership("executors", topics.commands, "a", SESSION_MS, told.append)
    await broker.kill()
    await eventually(lambda: told == [ALL, frozenset()])
    with pytest.raises(Unavailable):
        await log.ping()
    await broker.start()
    await eventually(lambda: told[-1] == ALL)
    await membership.close()
    await log.close()
    await broker.stop()
