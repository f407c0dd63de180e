"""Reading commands: each record reaches the loop that owns its partition, once, in order, and no faster than it decides."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from aion_common.clock import SystemClock
from aion_common.errors import Unavailable
from aion_common.kafka.api import LogRecord, OffsetOutOfRange, Reader, Write
from aion_common.kafka.topics import Topics, wanted
from aion_common.limits import COMMAND_BYTES_MAX, DEAD_LETTER_BYTES_MAX, NAME_BYTES_MAX
from aion_common.testing.memory_cluster import MemoryCluster
from aion_common.testing.memory_log import MemoryLog
from aion_common.wire import encode
from aion_executor.core.inputs import UnreadableInput
from aion_executor.shell import reading
from aion_executor.shell.commands import command_reader, parse
from aion_executor.shell.partition_loop import FromLog
from aion_executor.shell.reading import InputReader
from executor.given import start
from support import eventually

TOPICS = Topics("t.")
UNKNOWN = b"\xc3\x0112345678"
"""A value of a schema that nobody has published."""


@dataclass(slots=True)
class Loop:
    """A target that keeps what it is offered; `decided` of it are not waiting any more."""

    offsets: list[int] = field(default_factory=list)
    decided: int = 0
    failures: list[Exception] = field(default_factory=list)
    backlogs: list[int] = field(default_factory=list)

    def offer(self, inputs: Sequence[FromLog]) -> int:
        self.offsets.extend(given.offset for given in inputs)
        return self.waiting()

    def waiting(self) -> int:
        return len(self.offsets) - self.decided

    def backlog_offered(self) -> None:
        self.backlogs.append(len(self.offsets))

    def fail(self, error: Exception) -> None:
        self.failures.append(error)


@dataclass(frozen=True, slots=True)
class Bench:
    """A log with commands, and a reader of them."""

    log: MemoryLog
    reader: InputReader

    async def write(self, partition: int, *values: bytes) -> None:
        sender = await self.log.sender()
        await sender.send(TOPICS.commands, partition, [(b"k", value) for value in values])
        await sender.close()


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    log = MemoryLog(MemoryCluster(SystemClock()))
    await log.create_topics(wanted(TOPICS, partitions=2, replication=1, insync_min=1))
    yield Bench(log, command_reader(log, TOPICS, 2))
    await log.close()


def some(number: int) -> list[bytes]:
    """Readable commands."""
    return [encode(start(f"c{position}", "park")) for position in range(number)]


@contextmanager
def learning_held(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[asyncio.Event, asyncio.Event]]:
    """Learning schemas says when it begins, and waits until it may end."""
    begun, may_end = asyncio.Event(), asyncio.Event()

    async def learn(*_: object) -> None:
        begun.set()
        await may_end.wait()

    monkeypatch.setattr(reading, "learn_published", learn)
    yield begun, may_end


async def test_new_loop_gets_its_partition_from_its_own_offset_whatever_was_read_before(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, before, after = Loop(), Loop(), Loop()
    await bench.write(1, *some(3))
    await bench.write(0, UNKNOWN)
    bench.reader.attach(0, other, 0)
    bench.reader.attach(1, before, 2)
    with learning_held(monkeypatch) as (begun, may_end):
        running = asyncio.create_task(bench.reader.run())
        await begun.wait()
        bench.reader.detach(1)
        bench.reader.attach(1, after, 0)
        may_end.set()
        await eventually(lambda: len(after.offsets) >= 3)
    running.cancel()
    assert after.offsets[:3] == [0, 1, 2]
    assert set(other.offsets) == {0}


async def test_what_was_read_for_the_loop_before_is_not_counted_for_the_new_one(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, after = Loop(), Loop()
    await bench.write(1, UNKNOWN, *some(2))
    bench.reader.attach(1, before, 0)
    with learning_held(monkeypatch) as (begun, may_end):
        running = asyncio.create_task(bench.reader.run())
        await begun.wait()
        bench.reader.detach(1)
        bench.reader.attach(1, after, 0)
        may_end.set()
        await eventually(lambda: after.offsets == [0, 1, 2])
    running.cancel()
    assert before.offsets == []


async def test_partition_that_goes_away_while_another_is_parsed_harms_nobody(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    stays, goes = Loop(), Loop()
    await bench.write(1, *some(1))
    await bench.write(0, UNKNOWN)
    bench.reader.attach(0, stays, 0)
    bench.reader.attach(1, goes, 0)
    with learning_held(monkeypatch) as (begun, may_end):
        running = asyncio.create_task(bench.reader.run())
        await begun.wait()
        bench.reader.detach(1)
        may_end.set()
        await bench.write(0, *some(2))
        await eventually(lambda: stays.offsets[-2:] == [1, 2])
    assert not running.done()
    running.cancel()


async def test_loop_that_does_not_keep_up_is_not_offered_more(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "INPUTS_WAITING_MAX", 10)
    monkeypatch.setattr(reading, "READ_RECORDS_MAX", 4)
    slow, quick = Loop(), Loop()
    await bench.write(0, *some(40))
    bench.reader.attach(0, slow, 0)
    bench.reader.attach(1, quick, 0)
    running = asyncio.create_task(bench.reader.run())
    await eventually(lambda: len(slow.offsets) > 10)
    await bench.write(1, *some(5))
    await eventually(lambda: len(quick.offsets) == 5)
    assert len(slow.offsets) <= 10 + 4
    slow.decided = len(slow.offsets)
    await eventually(lambda: len(slow.offsets) > 14)
    running.cancel()


async def test_commands_that_are_gone_stop_their_partition_alone(bench: Bench) -> None:
    trimmed, other = Loop(), Loop()
    await bench.write(0, *some(5))
    await bench.write(1, *some(2))
    bench.log.cluster.trim(TOPICS.commands, 0, 3)
    bench.reader.attach(0, trimmed, 1)
    bench.reader.attach(1, other, 0)
    running = asyncio.create_task(bench.reader.run())
    await eventually(lambda: trimmed.failures and other.offsets == [0, 1])
    running.cancel()
    (failure,) = trimmed.failures
    assert isinstance(failure, OffsetOutOfRange)


async def test_commands_behind_one_that_could_not_be_parsed_yet_are_read_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = 0

    async def learn(*_: object) -> None:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise Unavailable("no leader")

    monkeypatch.setattr(reading, "learn_published", learn)
    loop = Loop()
    await bench.write(0, encode(start("a", "park")), UNKNOWN, encode(start("b", "park")))
    bench.reader.attach(0, loop, 0)
    running = asyncio.create_task(bench.reader.run())
    await eventually(lambda: tries)
    await bench.write(0, encode(start("c", "park")))
    await eventually(lambda: 3 in loop.offsets)
    running.cancel()
    assert loop.offsets == [0, 1, 2, 3]


async def test_schemas_are_read_once_however_many_records_name_schemas_of_nobody(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = Loop()
    sender = await bench.log.sender()
    await sender.send(TOPICS.schemas, 0, [(b"k", b"{}")])
    await sender.close()
    await bench.write(0, *[UNKNOWN] * 20)
    opened: list[str] = []
    reader_of = bench.log.reader

    async def reader(topic: str) -> Reader:
        opened.append(topic)
        return await reader_of(topic)

    monkeypatch.setattr(bench.log, "reader", reader)
    bench.reader.attach(0, loop, 0)
    running = asyncio.create_task(bench.reader.run())
    await eventually(lambda: len(loop.offsets) == 20)
    running.cancel()
    assert opened == [TOPICS.commands, TOPICS.schemas]


async def test_backlog_is_told_when_all_of_it_was_offered_and_not_before(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "READ_RECORDS_MAX", 1)
    loop = Loop()
    await bench.write(0, *some(3))
    producer = await bench.log.transactional_producer("catalog")
    await producer.commit([Write(topic=TOPICS.commands, partition=0, key=None, value=some(1)[0])])
    end = await bench.log.end_offset(TOPICS.commands, 0)
    assert end == 5, "the end of a transaction takes an offset of its own"
    bench.reader.attach(0, loop, 0, end)
    running = asyncio.create_task(bench.reader.run())
    await eventually(lambda: loop.backlogs)
    assert loop.backlogs == [4]
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_empty_backlog_is_told_too(bench: Bench) -> None:
    loop = Loop()
    bench.reader.attach(0, loop, 0, 0)
    running = asyncio.create_task(bench.reader.run())
    assert await eventually(lambda: loop.backlogs) == [0]
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def test_dead_letter_of_a_large_record_is_cut_and_says_so() -> None:
    content = bytes(COMMAND_BYTES_MAX + 1)
    read = parse(LogRecord(offset=0, timestamp_ms=0, key=b"k" * 1_000, value=content), 0, 1)
    assert isinstance(read, UnreadableInput)
    assert (len(read.value or b""), read.value_bytes) == (DEAD_LETTER_BYTES_MAX, len(content))
    assert len(read.key or b"") == NAME_BYTES_MAX
