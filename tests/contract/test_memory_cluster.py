"""What tests may do to the log in memory, beyond what brokers do by themselves."""

import pytest

from aion_common.errors import Fenced, Unavailable
from aion_common.kafka.api import OffsetOutOfRange, ProducerIdentity, Write
from aion_common.kafka.topics import Topics
from aion_common.testing.memory_cluster import Fault, StillClock
from aion_common.testing.memory_log import MemoryLog
from support import committed, read_to


@pytest.fixture
def topics(topic_prefix: str) -> Topics:
    """On the memory log."""
    return Topics(topic_prefix)


@pytest.mark.parametrize(("fault", "there"), [(Fault.APPLIED, [b"1"]), (Fault.NOT_APPLIED, [])])
async def test_an_append_of_unknown_outcome_was_applied_or_not(
    memory_log: MemoryLog, topics: Topics, fault: Fault, there: list[bytes]
) -> None:
    owner = await memory_log.fenced_appender(topics.history, 0, await memory_log.claim("executor.0"))
    memory_log.cluster.fail_next_append(topics.history, 0, fault)
    for _ in range(2):
        with pytest.raises(Unavailable):
            await owner.append([(b"", b"1")])
    assert [r.value for r in memory_log.cluster.records(topics.history, 0)] == there
    again = await memory_log.fenced_appender(topics.history, 0, await memory_log.claim("executor.0"))
    assert (await again.append([(b"", b"2")])).base_offset == len(there)


@pytest.mark.parametrize(("fault", "there"), [(Fault.APPLIED, [b"x"]), (Fault.NOT_APPLIED, [])])
async def test_a_commit_of_unknown_outcome_was_applied_whole_or_not_at_all(
    memory_log: MemoryLog, topics: Topics, fault: Fault, there: list[bytes]
) -> None:
    producer = await memory_log.transactional_producer("catalog")
    memory_log.cluster.fail_next_append(topics.catalog, 0, fault)
    writes = [Write(topic=topic, partition=0, key=None, value=b"x") for topic in (topics.catalog, topics.routes)]
    for _ in range(2):
        with pytest.raises(Unavailable):
            await producer.commit(writes)
    for topic in (topics.catalog, topics.routes):
        assert [r.value for r in await committed(memory_log, topic, 0)] == there


async def test_a_sender_goes_on_after_an_unknown_outcome(memory_log: MemoryLog, topics: Topics) -> None:
    sender = await memory_log.sender()
    await sender.send(topics.commands, 0, [(None, b"1")])
    memory_log.cluster.fail_next_append(topics.commands, 0, Fault.APPLIED)
    with pytest.raises(Unavailable):
        await sender.send(topics.commands, 0, [(None, b"2")])
    assert await sender.send(topics.commands, 0, [(None, b"2")]) == 2


async def test_a_cluster_that_is_switched_off_answers_nobody(memory_log: MemoryLog, topics: Topics) -> None:
    sender, reader = await memory_log.sender(), await memory_log.reader(topics.commands)
    await sender.send(topics.commands, 0, [(None, b"1")])
    reader.assign({0: 0})
    memory_log.cluster.reachable = False
    with pytest.raises(Unavailable):
        await memory_log.ping()
    with pytest.raises(Unavailable):
        await sender.send(topics.commands, 0, [(None, b"2")])
    assert await reader.read(wait_ms=0, records_max=10) == {}
    memory_log.cluster.reachable = True
    assert [r.value for r in await read_to(reader, 0, 1)] == [b"1"]


async def test_a_forgotten_transactional_id_gets_another_producer_id(memory_log: MemoryLog) -> None:
    first = await memory_log.claim("executor.0")
    assert await memory_log.claim("executor.0") == ProducerIdentity(producer_id=first.producer_id, producer_epoch=1)
    memory_log.cluster.forget_producer("executor.0")
    forgotten = await memory_log.claim("executor.0")
    assert forgotten.producer_id != first.producer_id
    assert forgotten.producer_epoch == 0


async def test_what_was_trimmed_is_out_of_range(memory_log: MemoryLog, topics: Topics) -> None:
    sender, reader = await memory_log.sender(), await memory_log.reader(topics.commands)
    await sender.send(topics.commands, 0, [(None, b"1"), (None, b"2")])
    memory_log.cluster.trim(topics.commands, 0, 1)
    assert await memory_log.beginning_offset(topics.commands, 0) == 1
    reader.assign({0: 0})
    with pytest.raises(OffsetOutOfRange):
        await reader.read(wait_ms=0, records_max=10)
    assert [r.value for r in await committed(memory_log, topics.commands, 0)] == [b"2"]


async def test_a_vanished_member_is_told_nothing_and_loses_its_partitions(memory_log: MemoryLog, topics: Topics) -> None:
    told: dict[str, list[frozenset[int]]] = {"a": [], "b": []}
    for name, tell in told.items():
        await memory_log.membership("executors", topics.commands, name, 6_000, tell.append)
    memory_log.cluster.vanish("executors", topics.commands, "a")
    assert told == {
        "a": [frozenset({0, 1, 2}), frozenset({0, 1})],
        "b": [frozenset({2}), frozenset({0, 1, 2})],
    }


async def test_two_processes_share_a_cluster_and_its_clock(memory_log: MemoryLog, topics: Topics) -> None:
    clock = StillClock(5)
    memory_log.cluster.clock = clock
    other = MemoryLog(memory_log.cluster)
    old = await memory_log.fenced_appender(topics.history, 0, await memory_log.claim("executor.0"))
    new = await other.fenced_appender(topics.history, 0, await other.claim("executor.0"))
    assert (await old.append([(b"", b"1")])).timestamp_ms == 5
    clock.time_ms = 6
    assert (await new.append([(b"", b"2")])).timestamp_ms == 6
    with pytest.raises(Fenced):
        await old.append([(b"", b"3")])
