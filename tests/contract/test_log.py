"""What a log promises, held by the client over a real broker and by its twin in memory alike."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import pytest
import pytest_asyncio

from aion_common import limits
from aion_common.errors import Fenced, Unavailable, WrongCluster
from aion_common.kafka.api import PRODUCER_EPOCH_MAX, KeyValue, Log, OffsetOutOfRange, ProducerIdentity, Reader, Topic, Write
from aion_common.kafka.topics import Topics, ensure, wanted
from aion_common.testing.memory_log import MemoryLog
from contract.open_transactions import Begin, kafka_transactions, memory_transactions
from support import committed, eventually, read_to


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """One of the two logs, and the topics on it."""

    log: Log
    topics: Topics
    begin: Begin

    def name(self, name: str) -> str:
        """Of a group or a transactional id: this test's own."""
        return f"{self.topics.prefix}{name}"

    def write(self, partition: int, value: bytes) -> Write:
        """A record of a transaction for commands."""
        return Write(topic=self.topics.commands, partition=partition, key=b"k", value=value)


@pytest_asyncio.fixture
async def memory_bench(memory_log: MemoryLog, topic_prefix: str) -> Bench:
    """The twin."""
    return Bench(log=memory_log, topics=Topics(topic_prefix), begin=memory_transactions(memory_log.cluster))


@pytest_asyncio.fixture
async def kafka_bench(kafka_log: Log, topic_prefix: str, broker_bootstrap: str) -> AsyncIterator[Bench]:
    """The real one."""
    async with kafka_transactions(broker_bootstrap) as begin:
        yield Bench(log=kafka_log, topics=Topics(topic_prefix), begin=begin)


@pytest.fixture(params=["memory", "kafka"])
def bench(request: pytest.FixtureRequest) -> Bench:
    """Each in turn."""
    chosen: Bench = request.getfixturevalue(f"{request.param}_bench")
    return chosen


async def send(bench: Bench, *values: bytes, partition: int = 0) -> int:
    """Append to commands with a sender of its own."""
    sender = await bench.log.sender()
    try:
        return await sender.send(bench.topics.commands, partition, [(b"k", value) for value in values])
    finally:
        await sender.close()


async def commands_reader(bench: Bench, positions: dict[int, int]) -> Reader:
    """A reader of commands, assigned."""
    reader = await bench.log.reader(bench.topics.commands)
    reader.assign(positions)
    return reader


# Sending and reading


async def test_a_new_partition_is_empty(bench: Bench) -> None:
    await bench.log.ping()
    assert await bench.log.beginning_offset(bench.topics.commands, 0) == 0
    assert await bench.log.end_offset(bench.topics.commands, 0) == 0
    reader = await commands_reader(bench, {0: 0, 1: 0})
    assert await reader.read(wait_ms=0, records_max=10) == {}
    assert reader.position(0) == 0
    await reader.close()


async def test_what_was_sent_is_read_in_order_with_keys_values_and_time(bench: Bench) -> None:
    sender = await bench.log.sender()
    assert await sender.send(bench.topics.commands, 1, [(b"a", b"1"), (None, b"2")]) == 0
    assert await sender.send(bench.topics.commands, 1, [(b"gone", None)]) == 2
    await sender.close()
    records = await committed(bench.log, bench.topics.commands, 1)
    assert [(r.offset, r.key, r.value, r.headers) for r in records] == [
        (0, b"a", b"1", ()),
        (1, None, b"2", ()),
        (2, b"gone", None, ()),
    ]
    assert records[0].timestamp_ms > 0
    assert records[0].timestamp_ms <= records[2].timestamp_ms


async def test_many_tasks_send_at_once_and_each_is_told_its_offset(bench: Bench) -> None:
    sender = await bench.log.sender()
    places = [(n % 3, n) for n in range(90)]
    bases = await asyncio.gather(
        *(
            sender.send(bench.topics.commands, partition, [(b"k", b"%d.%d" % (n, i)) for i in range(3)])
            for partition, n in places
        )
    )
    await sender.close()
    for partition in range(3):
        values = [r.value for r in await committed(bench.log, bench.topics.commands, partition)]
        assert len(values) == 90
        for (place, n), base in zip(places, bases, strict=True):
            if place == partition:
                assert values[base : base + 3] == [b"%d.%d" % (n, i) for i in range(3)]
    assert [bases[n] for n in range(0, 90, 3)] == sorted(bases[n] for n in range(0, 90, 3))


async def test_a_send_larger_than_a_batch_arrives_whole_and_in_order(bench: Bench) -> None:
    large = [bytes([n]) * (limits.BATCH_BYTES_MAX // 3) for n in range(8)]
    assert await send(bench, b"before") == 0
    assert await send(bench, *large) == 1
    assert [r.value for r in await committed(bench.log, bench.topics.commands, 0)] == [b"before", *large]


async def test_a_read_waits_for_the_next_record(bench: Bench) -> None:
    reader = await commands_reader(bench, {0: 0, 2: 0})
    reading = asyncio.create_task(reader.read(wait_ms=20_000, records_max=10))
    await send(bench, b"late", partition=2)
    read = await reading
    assert {partition: [r.value for r in records] for partition, records in read.items()} == {2: [b"late"]}
    await reader.close()


async def test_a_read_returns_at_most_what_was_asked_for(bench: Bench) -> None:
    await send(bench, *(b"%d" % n for n in range(10)))
    reader = await commands_reader(bench, {0: 0})
    read = await eventually(lambda: reader.read(wait_ms=1_000, records_max=4))
    assert [r.offset for r in read[0]] == [0, 1, 2, 3]
    assert reader.position(0) == 4
    assert [r.offset for r in await read_to(reader, 0, 10)] == [4, 5, 6, 7, 8, 9]
    await reader.close()


async def test_a_paused_partition_is_silent_until_it_is_resumed(bench: Bench) -> None:
    await send(bench, b"a", partition=0)
    await send(bench, b"b", partition=1)
    reader = await commands_reader(bench, {0: 0, 1: 0})
    reader.pause(0)
    assert await eventually(lambda: reader.read(wait_ms=1_000, records_max=10)) == {
        1: await committed(bench.log, bench.topics.commands, 1)
    }
    await send(bench, b"c", partition=1)
    read = await eventually(lambda: reader.read(wait_ms=1_000, records_max=10))
    assert {partition: [r.value for r in records] for partition, records in read.items()} == {1: [b"c"]}
    assert reader.position(0) == 0
    reader.resume(0)
    assert [r.value for r in await read_to(reader, 0, 1)] == [b"a"]
    await reader.close()


async def test_headers_travel_with_records(bench: Bench) -> None:
    sender = await bench.log.sender()
    headers = (("aion-reason", "grüße".encode()), ("empty", b""))
    await sender.send(bench.topics.commands, 0, [(b"k", b"1"), (b"k", b"2")], headers)
    await sender.close()
    producer = await bench.log.transactional_producer(bench.name("headers"))
    await producer.commit([Write(topic=bench.topics.commands, partition=0, key=b"k", value=b"3", headers=headers)])
    await producer.close()
    assert [r.headers for r in await committed(bench.log, bench.topics.commands, 0)] == [headers] * 3


async def test_deleted_records_are_gone_and_the_rest_stays(bench: Bench) -> None:
    await send(bench, b"0", b"1", b"2")
    await bench.log.delete_records(bench.topics.commands, 0, 2)
    assert await bench.log.beginning_offset(bench.topics.commands, 0) == 2
    await bench.log.delete_records(bench.topics.commands, 0, 1)
    reader = await commands_reader(bench, {0: 2})
    assert [r.value for r in await read_to(reader, 0, 3)] == [b"2"]
    reader.assign({0: 0})
    with pytest.raises(OffsetOutOfRange):
        await read_to(reader, 0, 3)
    await reader.close()
    with pytest.raises(Unavailable):
        await bench.log.delete_records(bench.topics.commands, 0, 4)


async def test_offset_at_a_time_is_that_of_the_first_record_since(bench: Bench) -> None:
    assert await bench.log.offset_at(bench.topics.commands, 0, 0) is None
    await send(bench, b"0", b"1")
    (first, *_) = await committed(bench.log, bench.topics.commands, 0)
    assert await bench.log.offset_at(bench.topics.commands, 0, first.timestamp_ms) == 0
    assert await bench.log.offset_at(bench.topics.commands, 0, first.timestamp_ms + 3_600_000) is None


# Assignments


async def test_a_reassigned_reader_starts_exactly_at_its_new_offsets(bench: Bench) -> None:
    await send(bench, *(b"%d" % n for n in range(50)))
    await send(bench, *(b"%d" % n for n in range(50)), partition=1)
    reader = await commands_reader(bench, {0: 0, 1: 0})
    for turn in range(60):
        await reader.read(wait_ms=20, records_max=3)
        first = (turn * 7) % 50
        reader.assign({turn % 2: first})
        if turn % 3 == 0:
            read = await eventually(lambda: reader.read(wait_ms=1_000, records_max=5))
            assert list(read) == [turn % 2]
            assert read[turn % 2][0].offset == first
    await reader.close()


async def test_an_assignment_ends_a_waiting_read_of_the_old_one(bench: Bench) -> None:
    await send(bench, b"there", partition=1)
    reader = await commands_reader(bench, {0: 0})
    reading = asyncio.create_task(reader.read(wait_ms=20_000, records_max=10))
    await asyncio.sleep(0)
    reader.assign({1: 0})
    assert [r.value for r in (await reading)[1]] == [b"there"]
    await reader.close()


@pytest.mark.parametrize("turns", range(5))
async def test_whenever_an_assignment_comes_nothing_of_the_old_one_is_read(bench: Bench, turns: int) -> None:
    await send(bench, *(b"%d" % n for n in range(10)))
    await send(bench, *(b"%d" % n for n in range(10)), partition=1)
    reader = await commands_reader(bench, {0: 7, 1: 7})
    reading = asyncio.create_task(reader.read(wait_ms=20_000, records_max=10))
    for _ in range(turns):
        await asyncio.sleep(0)
    was_answered = reading.done()
    reader.assign({0: 2})
    read = await reading
    if was_answered:
        read = await eventually(lambda: reader.read(wait_ms=1_000, records_max=10))
    assert list(read) == [0]
    assert read[0][0].offset == 2
    await reader.close()


async def test_an_offset_that_is_not_in_the_log_is_an_error_until_assigned_anew(bench: Bench) -> None:
    await send(bench, b"only")
    reader = await commands_reader(bench, {0: 7})
    with pytest.raises(OffsetOutOfRange) as raised:
        await eventually(lambda: reader.read(wait_ms=1_000, records_max=10))
    assert (raised.value.partition, raised.value.offset) == (0, 7)
    with pytest.raises(OffsetOutOfRange):
        await reader.read(wait_ms=1_000, records_max=10)
    reader.assign({0: 0})
    assert [r.value for r in await read_to(reader, 0, 1)] == [b"only"]
    await reader.close()


# Transactions


async def test_a_commit_writes_all_partitions_and_is_readable_when_it_returns(bench: Bench) -> None:
    producer = await bench.log.transactional_producer(bench.name("catalog"))
    for turn in range(3):
        bases = await producer.commit([bench.write(0, b"x"), bench.write(1, b"y"), bench.write(0, b"z")])
        assert bases == {(bench.topics.commands, 0): 3 * turn, (bench.topics.commands, 1): 2 * turn}
        assert await bench.log.end_offset(bench.topics.commands, 0) == 3 * turn + 3
    await producer.close()
    assert [(r.offset, r.value) for r in await committed(bench.log, bench.topics.commands, 0)] == [
        (0, b"x"),
        (1, b"z"),
        (3, b"x"),
        (4, b"z"),
        (6, b"x"),
        (7, b"z"),
    ]


async def test_a_reader_reaches_an_end_behind_a_commit_or_an_abort(bench: Bench) -> None:
    await send(bench, b"first")
    reader = await commands_reader(bench, {0: 0})
    aborted = await bench.begin(bench.name("aborted"), [bench.write(0, b"never")])
    await aborted.abort()
    end = await eventually(lambda: _end_if(bench, 3))
    assert [r.value for r in await read_to(reader, 0, end)] == [b"first"]
    assert reader.position(0) == end
    kept = await bench.begin(bench.name("kept"), [bench.write(0, b"second")])
    await kept.commit()
    end = await eventually(lambda: _end_if(bench, 5))
    assert [r.value for r in await read_to(reader, 0, end)] == [b"second"]
    await reader.close()


async def _end_if(bench: Bench, expected: int) -> int:
    end = await bench.log.end_offset(bench.topics.commands, 0)
    return end if end == expected else 0


async def test_an_open_transaction_ends_what_can_be_read(bench: Bench) -> None:
    opened = await bench.begin(bench.name("open"), [bench.write(0, b"open")])
    await send(bench, b"behind")
    assert await bench.log.end_offset(bench.topics.commands, 0) == 0
    await send(bench, b"elsewhere", partition=1)
    reader = await commands_reader(bench, {0: 0, 1: 0})
    read = await eventually(lambda: reader.read(wait_ms=1_000, records_max=10))
    assert {partition: [r.value for r in records] for partition, records in read.items()} == {1: [b"elsewhere"]}
    await opened.commit()
    await eventually(lambda: _end_if(bench, 3))
    assert [r.value for r in await read_to(reader, 0, 3)] == [b"open", b"behind"]
    await reader.close()


async def test_interleaved_transactions_show_only_what_was_committed(bench: Bench) -> None:
    kept = await bench.begin(bench.name("kept"), [bench.write(0, b"a"), bench.write(0, b"b")])
    dropped = await bench.begin(bench.name("dropped"), [bench.write(0, b"x"), bench.write(1, b"y")])
    await send(bench, b"plain")
    await dropped.abort()
    await kept.commit()
    await eventually(lambda: _end_if(bench, 6))
    assert [r.value for r in await committed(bench.log, bench.topics.commands, 0)] == [b"a", b"b", b"plain"]


async def test_a_new_producer_of_the_id_fences_the_old_one(bench: Bench) -> None:
    old = await bench.log.transactional_producer(bench.name("catalog"))
    await old.commit([bench.write(0, b"old")])
    new = await bench.log.transactional_producer(bench.name("catalog"))
    assert new.identity.producer_id == old.identity.producer_id
    assert new.identity.producer_epoch == old.identity.producer_epoch + 1
    with pytest.raises(Fenced):
        await old.commit([bench.write(0, b"zombie")])
    await new.commit([bench.write(0, b"new")])
    await old.close()
    await new.close()
    assert [r.value for r in await committed(bench.log, bench.topics.commands, 0)] == [b"old", b"new"]


async def test_a_claim_aborts_what_the_previous_holder_left_open(bench: Bench) -> None:
    await bench.begin(bench.name("owner"), [bench.write(0, b"never")])
    new = await bench.log.transactional_producer(bench.name("owner"))
    await new.commit([bench.write(0, b"new")])
    await new.close()
    assert [r.value for r in await committed(bench.log, bench.topics.commands, 0)] == [b"new"]


# Fenced appends


async def test_an_append_tells_its_base_offset_and_time(bench: Bench) -> None:
    identity = await bench.log.claim(bench.name("executor.0"))
    owner = await bench.log.fenced_appender(bench.topics.history, 0, identity)
    assert owner.identity == identity
    first = await owner.append([(b"k", b"1"), (b"k", b"2")])
    second = await owner.append([(b"k", b"3")])
    await owner.close()
    assert (first.base_offset, second.base_offset) == (0, 2)
    records = await committed(bench.log, bench.topics.history, 0)
    assert [r.value for r in records] == [b"1", b"2", b"3"]
    assert [r.timestamp_ms for r in records] == [first.timestamp_ms, first.timestamp_ms, second.timestamp_ms]


async def test_what_an_append_takes_is_asked_for_once_and_a_bug_there_changes_nothing(bench: Bench) -> None:
    owner = await bench.log.fenced_appender(bench.topics.history, 0, await bench.log.claim(bench.name("executor.0")))
    open_: list[KeyValue] = []

    def take() -> Sequence[KeyValue]:
        open_.append((b"", b"as it left"))
        return tuple(open_)

    def broken() -> Sequence[KeyValue]:
        raise ValueError("a bug")

    appending = asyncio.ensure_future(owner.append_next(take))
    open_.append((b"", b"decided before it left"))
    assert (await appending).base_offset == 0
    with pytest.raises(ValueError, match="a bug"):
        await owner.append_next(broken)
    assert (await owner.append([(b"", b"after")])).base_offset == 2
    await owner.close()
    values = [record.value for record in await committed(bench.log, bench.topics.history, 0)]
    assert values == [b"decided before it left", b"as it left", b"after"]


async def test_an_old_owner_is_refused_from_the_new_owners_first_append_on(bench: Bench) -> None:
    old = await bench.log.fenced_appender(bench.topics.history, 0, await bench.log.claim(bench.name("executor.0")))
    await old.append([(b"", b"old")])
    new = await bench.log.fenced_appender(bench.topics.history, 0, await bench.log.claim(bench.name("executor.0")))
    await old.append([(b"", b"not fenced yet")])
    await new.append([(b"", b"new")])
    for _ in range(2):
        with pytest.raises(Fenced):
            await old.append([(b"", b"zombie")])
    await new.append([(b"", b"newer")])
    await old.close()
    await new.close()
    values = [r.value for r in await committed(bench.log, bench.topics.history, 0)]
    assert values == [b"old", b"not fenced yet", b"new", b"newer"]


async def test_owners_of_other_partitions_are_not_disturbed(bench: Bench) -> None:
    owners = [
        await bench.log.fenced_appender(bench.topics.history, p, await bench.log.claim(bench.name(f"executor.{p}")))
        for p in range(2)
    ]
    await owners[0].append([(b"", b"0")])
    await owners[1].append([(b"", b"1")])
    claimed = await bench.log.fenced_appender(bench.topics.history, 0, await bench.log.claim(bench.name("executor.0")))
    await claimed.append([(b"", b"0 again")])
    assert (await owners[1].append([(b"", b"1 again")])).base_offset == 1
    for appender in (*owners, claimed):
        await appender.close()


async def test_an_owner_with_a_forgotten_producer_id_is_fenced_by_its_highest_epoch(bench: Bench) -> None:
    old = await bench.log.fenced_appender(bench.topics.history, 0, await bench.log.claim(bench.name("executor.0")))
    await old.append([(b"", b"old")])
    other = await bench.log.claim(bench.name("another id, as after the broker forgot the first"))
    assert other.producer_id != old.identity.producer_id
    new = await bench.log.fenced_appender(bench.topics.history, 0, other)
    await new.append([(b"", b"does not fence")])
    await old.append([(b"", b"still accepted")])
    highest = ProducerIdentity(producer_id=old.identity.producer_id, producer_epoch=PRODUCER_EPOCH_MAX)
    fence = await bench.log.fenced_appender(bench.topics.history, 0, highest)
    assert (await fence.append([(b"", b"fence")])).base_offset == 3
    with pytest.raises(Fenced):
        await old.append([(b"", b"zombie")])
    await new.append([(b"", b"goes on")])
    for appender in (old, new, fence):
        await appender.close()


async def test_records_that_do_not_fit_into_one_batch_are_a_bug_and_change_nothing(bench: Bench) -> None:
    owner = await bench.log.fenced_appender(bench.topics.history, 0, await bench.log.claim(bench.name("executor.0")))
    half = bytes(limits.BATCH_BYTES_MAX // 2)
    with pytest.raises(AssertionError):
        await owner.append([(b"", half), (b"", half)])
    with pytest.raises(AssertionError):
        await owner.append([(b"", bytes(limits.BATCH_BYTES_MAX))])
    with pytest.raises(AssertionError):
        await owner.append([])
    assert (await owner.append([(b"", half)])).base_offset == 0
    await owner.close()


async def test_fencing_a_forgotten_owner_may_be_repeated(bench: Bench) -> None:
    """By a claimant that takes the place of one that died right behind it. To the broker that is the same batch once more."""
    forgotten = await bench.log.claim(bench.name("executor.0"))
    old = await bench.log.fenced_appender(bench.topics.history, 0, forgotten)
    await old.append([(b"", b"old")])
    highest = ProducerIdentity(producer_id=forgotten.producer_id, producer_epoch=PRODUCER_EPOCH_MAX)
    offsets = []
    for value in (b"fence", b"repeated"):
        fence = await bench.log.fenced_appender(bench.topics.history, 0, highest)
        offsets.append((await fence.append([(b"", value)])).base_offset)
        await fence.close()
    with pytest.raises(Fenced):
        await old.append([(b"", b"zombie")])
    await old.close()
    assert offsets == [1, 1]
    assert [r.value for r in await committed(bench.log, bench.topics.history, 0)] == [b"old", b"fence"]


async def test_a_cancelled_append_ends_the_appender(bench: Bench) -> None:
    owner = await bench.log.fenced_appender(bench.topics.history, 0, await bench.log.claim(bench.name("executor.0")))
    appending = asyncio.create_task(owner.append([(b"", b"perhaps")]))
    await asyncio.sleep(0)
    appending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await appending
    with pytest.raises(Unavailable):
        await owner.append([(b"", b"never")])
    await owner.close()
    assert [r.value for r in await committed(bench.log, bench.topics.history, 0)] in ([], [b"perhaps"])


# Topics


async def test_the_table_is_created_once_and_found_as_wanted(bench: Bench) -> None:
    table = wanted(bench.topics, partitions=3, replication=1, insync_min=1)
    await ensure(bench.log, table)
    await ensure(bench.log, table)
    found = await bench.log.describe_topics([topic.name for topic in table] + ["missing"])
    assert {name: topic.partitions for name, topic in found.items()} == {topic.name: topic.partitions for topic in table}
    assert found[bench.topics.history].configs["message.timestamp.type"] == "LogAppendTime"


async def test_a_topic_that_is_not_as_wanted_is_named(bench: Bench) -> None:
    with pytest.raises(WrongCluster, match=r"history has 3 partitions instead of 4"):
        await ensure(bench.log, wanted(bench.topics, partitions=4, replication=1, insync_min=1))
    odd = Topic(name=bench.topics.routes, partitions=1, replication=1, configs={"cleanup.policy": "delete"})
    with pytest.raises(WrongCluster, match=r"routes has cleanup.policy=compact instead of delete"):
        await ensure(bench.log, (odd,))


# Membership


async def test_members_divide_the_partitions_and_keep_what_they_can(bench: Bench) -> None:
    told: dict[str, list[frozenset[int]]] = {"a": [], "b": []}
    a = await bench.log.membership(bench.name("executors"), bench.topics.commands, "a", 6_000, told["a"].append)
    assert await eventually(lambda: told["a"][-1:]) == [frozenset({0, 1, 2})]
    b = await bench.log.membership(bench.name("executors"), bench.topics.commands, "b", 6_000, told["b"].append)
    await eventually(lambda: told["b"] and told["a"][-1] | told["b"][-1] == {0, 1, 2} and len(told["a"][-1]) == 2)
    assert not told["a"][-1] & told["b"][-1]
    assert all(told["a"]), "a rebalance takes nothing away that the member keeps"
    await a.close()
    await b.close()


async def test_a_member_that_joins_again_is_told_its_place_anew(bench: Bench) -> None:
    told: list[frozenset[int]] = []
    member = await bench.log.membership(bench.name("executors"), bench.topics.commands, "a", 6_000, told.append)
    await member.rejoin()
    await eventually(lambda: len(told) == 2)
    assert told == [frozenset({0, 1, 2})] * 2
    await member.close()
    await member.close()


async def test_a_member_that_closes_leaves_its_partitions_to_the_others(bench: Bench) -> None:
    told: dict[str, list[frozenset[int]]] = {"a": [], "b": [], "a again": []}
    group, commands = bench.name("executors"), bench.topics.commands
    a = await bench.log.membership(group, commands, "a", 60_000, told["a"].append)
    b = await bench.log.membership(group, commands, "b", 60_000, told["b"].append)
    await eventually(lambda: len(told["a"][-1]) == 2 and told["b"])
    calls = len(told["a"])
    await a.close()
    await eventually(lambda: told["b"][-1] == {0, 1, 2})
    assert len(told["a"]) == calls, "whoever has left is told nothing"
    again = await bench.log.membership(group, commands, "a", 60_000, told["a again"].append)
    await eventually(lambda: told["a again"] and told["a again"][-1] | told["b"][-1] == {0, 1, 2})
    await again.close()
    await b.close()


async def test_a_group_remembers_how_far_its_members_came(bench: Bench) -> None:
    group, commands = bench.name("bridge"), bench.topics.commands
    member = await bench.log.membership(group, commands, "a", 6_000, lambda _: None)
    assert await member.committed({0, 1}) == {}
    await member.commit({0: 5, 2: 7})
    await member.commit({0: 6})
    assert await member.committed({0, 1, 2}) == {0: 6, 2: 7}
    await member.close()
    again = await bench.log.membership(group, commands, "b", 6_000, lambda _: None)
    assert await again.committed({0, 1}) == {0: 6}
    await again.close()


async def test_a_member_that_left_cannot_set_its_group_back(bench: Bench) -> None:
    group, commands = bench.name("bridge"), bench.topics.commands
    left = await bench.log.membership(group, commands, "a", 6_000, lambda _: None)
    await left.commit({0: 5})
    await left.close()
    member = await bench.log.membership(group, commands, "b", 6_000, lambda _: None)
    await member.commit({0: 9})
    with pytest.raises(Unavailable):
        await left.commit({0: 5})
    assert await member.committed({0}) == {0: 9}
    await member.close()


async def test_a_member_whose_place_was_taken_cannot_set_its_group_back(bench: Bench) -> None:
    group, commands = bench.name("bridge"), bench.topics.commands
    old = await bench.log.membership(group, commands, "a", 6_000, lambda _: None)
    new = await bench.log.membership(group, commands, "a", 6_000, lambda _: None)
    await new.commit({0: 9})
    with pytest.raises(Unavailable):
        await old.commit({0: 5})
    assert await new.committed({0}) == {0: 9}
    await new.close()
    await old.close()
