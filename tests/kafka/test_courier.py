"""What shares a produce request, and that nobody who shares one pays for another's bug, delay or end."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from dataclasses import dataclass, field, replace

import pytest
import pytest_asyncio
from aiokafka.client import ConnectionGroup
from aiokafka.structs import TopicPartition

from aion_common.errors import Unavailable
from aion_common.kafka.api import Appended, KeyValue, Log, ProducerIdentity
from aion_common.kafka.brokers import Brokers, Retry
from aion_common.kafka.connection import insist
from aion_common.kafka.courier import Courier
from aion_common.kafka.fenced import KafkaFencedAppender
from aion_common.kafka.produce import Outcome, init_producer_id, seal
from aion_common.kafka.requests import ProduceRequest
from aion_common.kafka.sender import KafkaSender
from aion_common.kafka.topics import Topics
from aion_common.limits import BATCH_BYTES_MAX, BATCHES_PER_REQUEST_MAX, KAFKA_REQUEST_MS
from conftest import TEST_PARTITIONS
from support import committed, eventually

FIRST = b"first of all"
NOWHERE = 77
"""A broker that does not exist."""


class Watched(Brokers):
    """A client whose produce requests are counted, and wait while the gate is closed. `losses`: so many of their answers get
    lost. `looks` at the cluster wait while it has no view. `has_gone`: nobody answers."""

    def __init__(self, bootstrap: str) -> None:
        super().__init__(bootstrap, "aion-test", KAFKA_REQUEST_MS)
        self.gate = asyncio.Event()
        self.gate.set()
        self.view = asyncio.Event()
        self.view.set()
        self.looks = 0
        self.requests = 0
        self.losses = 0
        self.has_gone = False

    async def refresh(self) -> None:
        """See `Brokers`."""
        self.looks += 1
        await self.view.wait()
        await super().refresh()

    async def send(self, node: int, request: object, group: ConnectionGroup = ConnectionGroup.DEFAULT) -> object:
        """See `Brokers`."""
        if self.has_gone:
            raise Retry("nobody answers")
        if isinstance(request, ProduceRequest):
            self.requests += 1
            await self.gate.wait()
        answer = await super().send(node, request, group)
        if isinstance(request, ProduceRequest) and self.losses:
            self.losses -= 1
            raise Retry("the answer got lost")
        return answer

    async def any_answer(self, request: object, nodes: Collection[int] | None = None) -> object:
        """See `Brokers`."""
        if self.has_gone:
            raise Retry("nobody answers")
        return await super().any_answer(request, nodes)


@dataclass(slots=True)
class Bench:
    """A courier, and what it asked for in order."""

    client: Watched
    courier: Courier
    identity: ProducerIdentity
    topic: str
    asked: list[bytes] = field(default_factory=list)
    sequences: dict[int, int] = field(default_factory=dict)

    def place(self, partition: int) -> TopicPartition:
        """A partition of the history."""
        return TopicPartition(self.topic, partition)

    def batch(self, partition: int, value: bytes) -> Callable[[], bytes]:
        """Sealed when asked for."""

        def take() -> bytes:
            self.asked.append(value)
            sequence = self.sequences.get(partition, 0)
            self.sequences[partition] = sequence + 1
            return seal([(b"", value)], self.identity, sequence)

        return take

    def believe(self, partition: int, leader: int) -> None:
        """That this broker leads the partition, until the client looks again."""
        picture = self.client.picture
        self.client.picture = replace(picture, leaders={**picture.leaders, self.place(partition): leader})


async def outcomes(*carried: asyncio.Future[Outcome]) -> list[Outcome]:
    """In order. Fails when one does not come."""
    async with asyncio.timeout(30):
        return await asyncio.gather(*carried)


async def appended(courier: Courier, place: TopicPartition, batch: bytes) -> None:
    """Once the batch is appended."""
    while not isinstance(await courier.carry(place, lambda: batch), Appended):
        pass


@pytest_asyncio.fixture
async def bench(kafka_log: Log, broker_bootstrap: str, topic_prefix: str) -> AsyncIterator[Bench]:
    """Over the topics of the prefix, which `kafka_log` made."""
    del kafka_log
    client = Watched(broker_bootstrap)
    await client.refresh()
    identity = await insist(client, "a producer id", lambda: init_producer_id(client, None))
    topic = Topics(topic_prefix).history
    await client.follow(topic)
    courier = Courier(client)
    bench = Bench(client, courier, identity, topic)
    for number in range(TEST_PARTITIONS):
        # A leader may not know a topic that is so new.
        await appended(courier, bench.place(number), bench.batch(number, FIRST)())
    client.requests = 0
    bench.asked.clear()
    yield bench
    await courier.close()


async def test_what_is_ready_together_leaves_in_one_request(bench: Bench) -> None:
    carried = [bench.courier.carry(bench.place(number), bench.batch(number, b"%d" % number)) for number in range(3)]
    assert all(isinstance(outcome, Appended) and outcome.base_offset == 1 for outcome in await outcomes(*carried))
    assert bench.client.requests == 1


async def test_what_comes_while_a_request_is_on_its_way_leaves_with_the_next_and_is_sealed_then(bench: Bench) -> None:
    bench.client.gate.clear()
    first = bench.courier.carry(bench.place(0), bench.batch(0, b"first"))
    await eventually(lambda: bench.client.requests == 1)
    later = [bench.courier.carry(bench.place(number), bench.batch(number, b"later")) for number in (1, 2)]
    await asyncio.sleep(0)
    assert bench.asked == [b"first"]
    bench.client.gate.set()
    assert all(isinstance(outcome, Appended) for outcome in await outcomes(first, *later))
    assert bench.client.requests == 2


async def test_batches_of_one_partition_keep_their_order(bench: Bench, kafka_log: Log) -> None:
    carried = [bench.courier.carry(bench.place(0), bench.batch(0, value)) for value in (b"1", b"2", b"3")]
    offsets = [outcome.base_offset for outcome in await outcomes(*carried) if isinstance(outcome, Appended)]
    assert offsets == [1, 2, 3]
    assert [record.value for record in await committed(kafka_log, bench.topic, 0)] == [FIRST, b"1", b"2", b"3"]


async def test_a_request_carries_so_many_batches_at_most(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aion_common.limits.BATCHES_PER_REQUEST_MAX", 2)
    assert BATCHES_PER_REQUEST_MAX > 2
    carried = [bench.courier.carry(bench.place(number), bench.batch(number, b"v")) for number in range(3)]
    assert all(isinstance(outcome, Appended) for outcome in await outcomes(*carried))
    assert bench.client.requests == 2


async def test_a_bug_of_one_does_not_keep_the_batches_of_others(bench: Bench) -> None:
    def broken() -> bytes:
        raise ValueError("a bug")

    bad = bench.courier.carry(bench.place(0), broken)
    good = bench.courier.carry(bench.place(1), bench.batch(1, b"v"))
    with pytest.raises(ValueError, match="a bug"):
        await outcomes(bad)
    assert isinstance((await outcomes(good))[0], Appended)


async def test_who_has_gone_before_the_request_leaves_is_not_asked(bench: Bench) -> None:
    bench.courier.carry(bench.place(0), bench.batch(0, b"gone")).cancel()
    empty = bench.courier.carry(bench.place(1), lambda: None)
    assert isinstance(await bench.courier.carry(bench.place(2), bench.batch(2, b"there")), Appended)
    assert empty.cancelled()
    assert bench.asked == [b"there"]


async def test_the_end_of_the_courier_answers_all(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aion_common.limits.KAFKA_CLOSE_MS", 10)
    bench.client.gate.clear()
    on_its_way = bench.courier.carry(bench.place(0), bench.batch(0, b"v"))
    await eventually(lambda: bench.client.requests == 1)
    waiting = bench.courier.carry(bench.place(1), bench.batch(1, b"v"))
    await bench.courier.close()
    after = bench.courier.carry(bench.place(2), bench.batch(2, b"v"))
    assert all(isinstance(outcome, Unavailable) for outcome in await outcomes(on_its_way, waiting, after))


async def test_what_waits_leaves_when_all_that_went_before_is_gone(bench: Bench) -> None:
    gone = bench.courier.carry(bench.place(0), lambda: None)
    later = bench.courier.carry(bench.place(0), bench.batch(0, b"later"))
    assert isinstance(await later, Appended)
    assert gone.cancelled()


async def test_a_place_that_does_not_exist_is_answered(bench: Bench) -> None:
    [outcome] = await outcomes(bench.courier.carry(TopicPartition(f"{bench.topic}.none", 0), bench.batch(0, b"v")))
    assert isinstance(outcome, Retry)
    assert bench.asked == []


async def test_what_waits_for_a_leader_or_for_a_new_look_is_answered_at_the_end_of_the_courier(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aion_common.limits.KAFKA_CLOSE_MS", 10)
    bench.client.view.clear()
    bench.client.looks = 0
    bench.believe(0, NOWHERE)
    came_back = bench.courier.carry(bench.place(0), bench.batch(0, b"v"))
    without_leader = bench.courier.carry(TopicPartition(f"{bench.topic}.none", 0), bench.batch(1, b"v"))
    await eventually(lambda: bench.client.looks == 2)
    await bench.courier.close()
    first, second = await outcomes(came_back, without_leader)
    assert isinstance(first, Retry)
    assert isinstance(second, Unavailable)


async def test_a_batch_comes_back_with_a_fresh_picture_of_who_leads(bench: Bench) -> None:
    content = bench.batch(0, b"v")()
    bench.believe(0, NOWHERE)
    [came_back] = await outcomes(bench.courier.carry(bench.place(0), lambda: content))
    assert isinstance(came_back, Retry)
    [again] = await outcomes(bench.courier.carry(bench.place(0), lambda: content))
    assert isinstance(again, Appended)


async def test_an_append_whose_answer_got_lost_is_repeated_as_it_was(bench: Bench, kafka_log: Log) -> None:
    owner = KafkaFencedAppender(bench.courier, bench.place(0), await kafka_log.claim(f"{bench.topic}.owner"))
    decided: list[KeyValue] = []

    def take() -> Sequence[KeyValue]:
        decided.append((b"", b"%d" % len(decided)))
        return tuple(decided)

    bench.client.losses = 1
    assert (await owner.append_next(take)).base_offset == 1
    assert (await owner.append([(b"", b"next")])).base_offset == 2
    assert [record.value for record in await committed(kafka_log, bench.topic, 0)] == [FIRST, b"0", b"next"]


async def test_sends_whose_answer_got_lost_are_repeated_as_they_were(bench: Bench, kafka_log: Log) -> None:
    sender = KafkaSender(bench.courier, bench.identity)
    topic = bench.topic.replace("history", "commands")
    bench.client.losses = 1
    bench.client.gate.clear()
    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        first = tasks.create_task(sender.send(topic, 0, [(None, b"1")]))
        await eventually(lambda: bench.client.requests == 1)
        second = tasks.create_task(sender.send(topic, 0, [(None, b"2")]))
        bench.client.gate.set()
    assert (first.result(), second.result()) == (0, 1)
    await sender.close()
    assert [record.value for record in await committed(kafka_log, topic, 0)] == [b"1", b"2"]


async def test_what_is_sent_after_a_batch_of_unknown_outcome_is_taken(
    bench: Bench, kafka_log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its sequence numbers may be used or not: only another producer id goes on."""
    sender = KafkaSender(bench.courier, bench.identity)
    topic = bench.topic.replace("history", "commands")
    await sender.send(topic, 0, [(None, b"before")])
    with monkeypatch.context() as impatient:
        impatient.setattr("aion_common.limits.APPEND_MS", 300)
        bench.client.has_gone = True
        with pytest.raises(Unavailable):
            await sender.send(topic, 0, [(None, b"never came")])
    bench.client.has_gone = False
    assert await sender.send(topic, 0, [(None, b"after")]) == 1
    await sender.close()
    assert [record.value for record in await committed(kafka_log, topic, 0)] == [b"before", b"after"]


async def test_a_send_that_fits_nowhere_is_its_senders_bug_and_changes_nothing(bench: Bench, kafka_log: Log) -> None:
    sender = KafkaSender(bench.courier, bench.identity)
    topic = bench.topic.replace("history", "commands")
    before = await sender.send(topic, 0, [(None, b"before")])
    with pytest.raises(AssertionError):
        await sender.send(topic, 0, [(None, bytes(BATCH_BYTES_MAX))])
    assert await sender.send(topic, 0, [(None, b"after")]) == before + 1
    await sender.close()
    assert [record.value for record in await committed(kafka_log, topic, 0)] == [b"before", b"after"]


async def test_a_sender_whose_courier_is_closed_says_so_at_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aion_common.limits.APPEND_MS", 600_000)
    sender = KafkaSender(bench.courier, bench.identity)
    await bench.courier.close()
    async with asyncio.timeout(30):
        with pytest.raises(Unavailable):
            await sender.send(bench.topic, 0, [(None, b"v")])
    await sender.close()


async def test_sends_fail_in_time_while_no_producer_id_is_to_be_had(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aion_common.limits.APPEND_MS", 300)
    sender = KafkaSender(bench.courier, bench.identity)
    bench.client.has_gone = True
    async with asyncio.timeout(60):
        for _ in range(3):
            with pytest.raises(Unavailable):
                await sender.send(bench.topic, 0, [(None, b"v")])
    await sender.close()
