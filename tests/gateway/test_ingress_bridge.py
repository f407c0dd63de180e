"""The bridge over the log's twin: nothing lost, nothing early, order kept, whoever dies, hangs, drains or cannot write."""

import asyncio
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import structlog

from aion_common import limits
from aion_common.errors import Unavailable
from aion_common.ids import Namespace, WorkflowId, WorkflowType, workflow_key
from aion_common.kafka.api import KeyValue, LogRecord, Membership, ProducerIdentity, Reader, Write
from aion_common.kafka.partitioner import partition_of
from aion_common.kafka.topics import DEAD_LETTER_PARTITIONS, INGRESS_PARTITIONS, Topics, wanted
from aion_common.records.commands import Command, SignalRun
from aion_common.records.ingress import SignalWorkflow, StartWorkflow
from aion_common.testing.memory_cluster import Fault
from aion_common.testing.memory_log import MemoryLog
from aion_common.wire import decode, encode
from aion_common.wire.registry import resolve
from aion_gateway.drain import Drain
from aion_gateway.ingress.bridge import GROUP, Bridge
from gateway.ingress_records import JSON_HEADERS
from gateway.test_gateway_metrics import value as metric
from gateway.world import world as gateway_world
from support import eventually

PARTITIONS = 3
TOPICS = Topics("test.")
ORDER = WorkflowType("order")


def signal(workflow_id: str, name: str) -> KeyValue:
    """A record as a producer writes it, with a key that says nothing."""
    return b"any", encode(SignalWorkflow(workflow_id=WorkflowId(workflow_id), name=name))


def start(workflow_id: str) -> KeyValue:
    """Without a key."""
    return None, encode(StartWorkflow(workflow_type=ORDER, workflow_id=WorkflowId(workflow_id)))


@dataclass(slots=True)
class World:
    """A cluster; producers write with `produce`."""

    log: MemoryLog = field(default_factory=MemoryLog)

    async def produce(self, partition: int, *records: KeyValue) -> None:
        """As a foreign producer does."""
        sender = await self.log.sender()
        await sender.send(TOPICS.ingress, partition, records)

    def forwarded(self) -> list[Command]:
        """Every command, repeats included, in the order of its partition; keys as they must be."""
        commands = []
        for partition in range(PARTITIONS):
            for record in self.log.cluster.records(TOPICS.commands, partition):
                command = decode(record.value)
                assert record.key == workflow_key(command.namespace, command.workflow_id)
                assert partition == partition_of(record.key, PARTITIONS)
                commands.append(command)
        return commands

    def ids(self) -> list[str]:
        """Of the commands that were forwarded."""
        return [command.command_id for command in self.forwarded()]

    def letters(self) -> list[LogRecord]:
        """The dead letters."""
        return [
            record
            for partition in range(DEAD_LETTER_PARTITIONS)
            for record in self.log.cluster.records(TOPICS.deadletter, partition)
        ]

    def committed(self) -> dict[int, int]:
        """What the group remembers."""
        return self.log.cluster.group(TOPICS.prefix + GROUP, TOPICS.ingress).offsets

    def held(self, member_prefix: str) -> frozenset[int]:
        """The partitions of the members with such names."""
        group = self.log.cluster.group(TOPICS.prefix + GROUP, TOPICS.ingress)
        mine = [group.held(member) for member in group.members() if member.startswith(member_prefix)]
        return frozenset().union(*mine)


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """Whose bridges try again at once."""
    monkeypatch.setattr(limits, "INGRESS_RETRY_MS", 1)
    made = World()
    await made.log.create_topics(wanted(TOPICS, partitions=PARTITIONS, replication=1, insync_min=1))
    return made


def bridge(log: MemoryLog, gateway_id: str = "g") -> Bridge:
    """One gateway's."""
    return Bridge(log=log, topics=TOPICS, gateway_id=gateway_id, partitions=PARTITIONS, session_ms=6_000)


@asynccontextmanager
async def bridging(log: MemoryLog, gateway_id: str = "g") -> AsyncIterator[Drain]:
    """A bridge that works until the block is left."""
    drain = Drain()
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(bridge(log, gateway_id).run(drain))
        yield drain
        running.cancel()


async def test_records_become_commands_of_their_workflow_in_order_and_are_committed(world: World) -> None:
    await world.produce(0, start("a"), signal("a", "1"), signal("b", "1"), signal("a", "2"))
    async with bridging(world.log):
        await eventually(lambda: len(world.forwarded()) == 4)
        await world.produce(5, signal("c", "1"))
        await eventually(lambda: world.committed() == {0: 4, 5: 1})
    of_a = [command.command_id for command in world.forwarded() if command.workflow_id == "a"]
    assert of_a == ["ingress/0/0", "ingress/0/1", "ingress/0/3"]
    assert sorted(world.ids()) == ["ingress/0/0", "ingress/0/1", "ingress/0/2", "ingress/0/3", "ingress/5/0"]


async def test_what_cannot_be_used_is_a_dead_letter_and_the_rest_goes_on(world: World) -> None:
    sender = await world.log.sender()
    await sender.send(TOPICS.ingress, 2, [(b"key" * 100, b'{"type":"begin"}'), (None, None)], JSON_HEADERS)
    await sender.send(TOPICS.ingress, 2, [signal("w", "1"), (b"k", b"\xc3\x01" + bytes(8))])
    refused, forwarded = metric("aion_ingress_refused_total"), metric("aion_ingress_forwarded_total")
    async with bridging(world.log):
        await eventually(lambda: world.committed() == {2: 4})
    assert world.ids() == ["ingress/2/2"]
    told = {letter.headers[3][1]: dict(letter.headers) for letter in world.letters()}
    reasons = {offset: headers["aion-reason"].decode() for offset, headers in told.items()}
    assert reasons == {
        b"0": "invalid_argument: type: must be one of start, signal, cancel, terminate",
        b"1": "invalid_argument: value: there is none",
        b"3": f"invalid_argument: value: unknown schema fingerprint {'0' * 16}; docs/ingress.md says which schemas are taken",
    }
    assert {(headers["aion-topic"], headers["aion-partition"]) for headers in told.values()} == {(b"ingress", b"2")}
    first = next(letter for letter in world.letters() if dict(letter.headers)["aion-offset"] == b"0")
    assert (first.key, first.value) == ((b"key" * 100)[: limits.NAME_BYTES_MAX], b'{"type":"begin"}')
    assert metric("aion_ingress_refused_total") - refused == 3
    assert metric("aion_ingress_forwarded_total") - forwarded == 1


async def test_an_open_transaction_delays_its_partition_alone_and_an_aborted_one_starts_nothing(world: World) -> None:
    key, value = signal("w", "1")
    write = Write(topic=TOPICS.ingress, partition=0, key=key, value=value)
    opened = world.log.cluster.begin("producer-1", [write])
    aborted = world.log.cluster.begin("producer-2", [Write(topic=TOPICS.ingress, partition=2, key=key, value=value)])
    await aborted.abort()
    await world.produce(0, signal("w", "2"))
    await world.produce(1, signal("w", "3"))
    await world.produce(2, signal("w", "4"))
    async with bridging(world.log):
        await eventually(lambda: set(world.ids()) == {"ingress/1/0", "ingress/2/2"})
        assert world.committed().get(0) is None
        await opened.commit()
        await eventually(lambda: world.committed().get(0) == 3)
    assert [command_id for command_id in world.ids() if "/0/" in command_id] == ["ingress/0/0", "ingress/0/1"]


@pytest.mark.parametrize("fault", list(Fault))
async def test_a_batch_whose_outcome_is_unknown_is_forwarded_again(
    world: World, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    partition = partition_of(workflow_key(Namespace("default"), WorkflowId("w")), PARTITIONS)
    await world.produce(0, *(signal("w", str(number)) for number in range(3)))
    await world.produce(1, (None, b"garbage"))
    world.log.cluster.fail_next_append(TOPICS.commands, partition, fault)
    async with bridging(world.log):
        await eventually(lambda: world.committed() == {0: 3, 1: 1})
    assert list(dict.fromkeys(world.ids())) == ["ingress/0/0", "ingress/0/1", "ingress/0/2"]
    assert {(letter.headers[2][1], letter.headers[3][1]) for letter in world.letters()} == {(b"1", b"0")}


async def test_nothing_is_committed_before_the_dead_letter_is_acknowledged(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.produce(1, (b"k", b"garbage"))
    world.log.cluster.fail_next_append(TOPICS.deadletter, partition_of(b"k", DEAD_LETTER_PARTITIONS), Fault.NOT_APPLIED)
    async with bridging(world.log):
        await eventually(lambda: world.committed() == {1: 1})
    assert len(world.letters()) == 1


async def test_a_successor_goes_on_where_the_group_is(world: World) -> None:
    await world.produce(0, signal("w", "1"))
    async with bridging(world.log):
        await eventually(lambda: world.committed() == {0: 1})
    await world.produce(0, signal("w", "2"))
    async with bridging(world.log):
        await eventually(lambda: world.committed() == {0: 2})
    assert world.ids() == ["ingress/0/0", "ingress/0/1"]


async def test_a_commit_that_was_not_taken_is_tried_again_without_new_records(world: World) -> None:
    class Deaf(MemoryLog):
        async def membership(self, *place: Any) -> Membership:
            member = await super().membership(*place)
            commit, refused = member.commit, [1, 2]

            async def refuse_twice(offsets: Mapping[int, int]) -> None:
                if refused:
                    raise Unavailable(f"refused {refused.pop()}")
                await commit(offsets)

            member.commit = refuse_twice  # type: ignore[method-assign]
            return member

    await world.produce(0, signal("w", "1"))
    async with bridging(Deaf(world.log.cluster)):
        await eventually(lambda: world.committed() == {0: 1})
    assert world.ids() == ["ingress/0/0"]


async def test_gateways_with_one_id_divide_the_partitions(world: World) -> None:
    async with bridging(world.log), bridging(world.log):
        group = world.log.cluster.group(TOPICS.prefix + GROUP, TOPICS.ingress)
        await eventually(lambda: sorted(len(group.held(member)) for member in group.members()) == [8, 8])
        for partition in range(INGRESS_PARTITIONS):
            await world.produce(partition, signal("w", str(partition)))
        await eventually(lambda: len(world.committed()) == INGRESS_PARTITIONS)
    assert len(world.ids()) == len(set(world.ids())) == INGRESS_PARTITIONS


async def test_a_gateway_that_drains_leaves_the_rest_to_others_and_the_last_one_leaves_it_waiting(world: World) -> None:
    async with bridging(world.log, "a") as first, bridging(world.log, "b") as second:
        await eventually(lambda: len(world.held("a")) == len(world.held("b")) == 8)
        first.begin()
        await eventually(lambda: len(world.held("b")) == INGRESS_PARTITIONS)
        await world.produce(0, signal("w", "1"))
        await eventually(lambda: world.committed() == {0: 1})
        second.begin()
        await eventually(lambda: not world.held(""))
    await world.produce(0, signal("w", "2"))
    assert world.ids() == ["ingress/0/0"]
    async with bridging(world.log, "c"):
        await eventually(lambda: world.committed() == {0: 2})
    assert world.ids() == ["ingress/0/0", "ingress/0/1"]


async def test_a_partition_that_was_away_for_a_moment_is_taken_up_where_the_others_left_it(world: World) -> None:
    group = world.log.cluster.group(TOPICS.prefix + GROUP, TOPICS.ingress)
    sender = ProducerIdentity(producer_id=7, producer_epoch=0)
    async with bridging(world.log, "a"):
        await world.produce(0, signal("w", "0"))
        await eventually(lambda: world.committed() == {0: 1})
        # All at once, so that the bridge sees the outcome alone.
        group.join("other", lambda _: None)
        (moved,) = group.held("other") & {15}
        world.log.cluster.append(TOPICS.ingress, moved, sender, 0, [signal("w", "1"), signal("w", "2")])
        group.offsets[moved] = 1
        group.remove("other")
        await eventually(lambda: world.committed() == {0: 1, 15: 2})
    assert world.ids() == ["ingress/0/0", "ingress/15/1"]


async def test_records_that_were_deleted_unforwarded_are_told_and_passed_over(world: World) -> None:
    await world.produce(0, signal("w", "1"))
    async with bridging(world.log):
        await eventually(lambda: world.committed() == {0: 1})
    await world.produce(0, signal("w", "2"), signal("w", "3"))
    await world.log.delete_records(TOPICS.ingress, 0, 2)
    with structlog.testing.capture_logs() as logs:
        async with bridging(world.log):
            await eventually(lambda: world.committed() == {0: 3})
    assert world.ids() == ["ingress/0/0", "ingress/0/2"]
    lost = [entry for entry in logs if entry["event"] == "ingress lost"]
    assert [(entry["log_level"], entry["partition"], entry["wanted"], entry["first"]) for entry in lost] == [("error", 0, 1, 2)]


async def test_an_outage_is_waited_out(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await world.produce(0, signal("w", "1"))
    world.log.cluster.reachable = False
    with structlog.testing.capture_logs() as logs:
        async with bridging(world.log):
            await eventually(lambda: [entry for entry in logs if "trying again" in entry["event"]])
            world.log.cluster.reachable = True
            await eventually(lambda: world.committed() == {0: 1})
    assert world.ids() == ["ingress/0/0"]


async def test_a_cluster_of_an_older_release_gets_the_topic_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "INGRESS_RETRY_MS", 1)
    older = World()
    topics = wanted(TOPICS, partitions=PARTITIONS, replication=1, insync_min=1)
    await older.log.create_topics([topic for topic in topics if topic.name != TOPICS.ingress])
    with structlog.testing.capture_logs() as logs:
        async with bridging(older.log):
            await eventually(lambda: [entry for entry in logs if "`aion-server init` creates it" in entry.get("reason", "")])
            await older.log.create_topics(topics)
            await older.produce(0, signal("w", "1"))
            await eventually(lambda: older.committed() == {0: 1})


async def test_a_schema_of_another_release_is_learned(world: World) -> None:
    schema = resolve(
        {
            "type": "record",
            "name": "SignalWorkflow",
            "namespace": "aion.ingress",
            "fields": [{"name": "name", "type": "string"}, {"name": "workflow_id", "type": "string"}],
        }
    )
    sender = await world.log.sender()
    await sender.send(TOPICS.schemas, 0, [(schema.mark[2:].hex().encode(), schema.text.encode())])
    await sender.send(TOPICS.ingress, 0, [(None, schema.mark + b"\x04go\x02w"), (None, b"\xc3\x01" + bytes(8))])
    async with bridging(world.log):
        await eventually(lambda: world.committed() == {0: 2})
    (command,) = world.forwarded()
    assert (command.namespace, command.workflow_id) == ("default", "w")
    assert command.body == SignalRun(run_id=None, name="go", payload=None)
    assert len(world.letters()) == 1


async def test_a_reader_that_does_not_move_is_replaced(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "INGRESS_LAG_MS", 10)
    monkeypatch.setattr(limits, "INGRESS_READ_MS", 10)

    class Stuck(MemoryLog):
        readers = 0

        async def reader(self, topic: str) -> Reader:
            self.readers += 1
            opened = await super().reader(topic)
            if self.readers == 1:
                monkeypatch.setattr(opened, "_take", lambda _: ({}, opened._next))  # type: ignore[attr-defined]
            return opened

    await world.produce(4, signal("w", "1"))
    stuck = Stuck(world.log.cluster)
    async with bridging(stuck):
        await eventually(lambda: world.committed() == {4: 1})
        await eventually(lambda: metric("aion_ingress_lag_records", partition="4") == 0)
        assert metric("aion_ingress_partitions") == INGRESS_PARTITIONS
    assert metric("aion_ingress_partitions") == 0
    assert stuck.readers > 1


async def test_a_gateway_forwards_until_it_drains() -> None:
    async with gateway_world() as w:
        sender = await w.log.sender()
        await sender.send(w.topics.ingress, 0, [start("one"), signal("one", "go")])
        await eventually(lambda: len(w.executor.commands) == 2)
        assert "aion_ingress_forwarded_total" in (await w.http.get("/metrics")).text
        await w.http.post("/v1/drain")
        group = w.cluster.group(w.topics.prefix + GROUP, w.topics.ingress)
        await eventually(lambda: not group.members())
        await sender.send(w.topics.ingress, 0, [signal("one", "again")])
        assert (await w.http.post("/v1/workflows/one/signals/x")).status_code == 202
        assert len(w.executor.commands) == 3


def in_order(ids: Sequence[str]) -> bool:
    """Whether the first occurrences come in the order of their ingress partitions."""
    places = [tuple(map(int, command_id.split("/")[1:])) for command_id in dict.fromkeys(ids)]
    return all(
        [offset for partition, offset in places if partition == wanted_partition]
        == sorted(offset for partition, offset in places if partition == wanted_partition)
        for wanted_partition in range(INGRESS_PARTITIONS)
    )


@pytest.mark.parametrize("seed", range(30))
async def test_nothing_is_lost_and_order_is_kept_while_bridges_die_and_hang_and_appends_fail(
    world: World, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "INGRESS_READ_MS", 2)
    monkeypatch.setattr(limits, "INGRESS_RECORDS_MAX", 3)
    chance = random.Random(seed)
    cluster = world.log.cluster
    group = cluster.group(TOPICS.prefix + GROUP, TOPICS.ingress)
    written: list[str] = []
    async with asyncio.TaskGroup() as tasks:
        bridges = [tasks.create_task(bridge(world.log, f"g{number}").run(Drain())) for number in range(2)]
        for step in range(60):
            partition = chance.randrange(3)
            written.append(f"ingress/{partition}/{cluster.partition(TOPICS.ingress, partition).end}")
            await world.produce(partition, signal(f"w{chance.randrange(4)}", str(step)))
            match chance.randrange(8):
                case 0:
                    chance.choice(bridges).cancel()
                    bridges.append(tasks.create_task(bridge(world.log, f"g{step}").run(Drain())))
                case 1 if group.members():
                    # A zombie: it goes on, and is told nothing.
                    cluster.vanish(TOPICS.prefix + GROUP, TOPICS.ingress, chance.choice(sorted(group.members())))
                    bridges.append(tasks.create_task(bridge(world.log, f"g{step}").run(Drain())))
                case 2:
                    cluster.fail_next_append(TOPICS.commands, chance.randrange(PARTITIONS), chance.choice(list(Fault)))
                case _:
                    for _ in range(chance.randrange(12)):
                        await asyncio.sleep(0)
        bridges.append(tasks.create_task(bridge(world.log, "last").run(Drain())))
        cluster.heal()
        await eventually(lambda: set(world.ids()) == set(written))
        for running in bridges:
            running.cancel()
    for workflow_id in {command.workflow_id for command in world.forwarded()}:
        assert in_order([command.command_id for command in world.forwarded() if command.workflow_id == workflow_id])
