"""The elected catalog over the in-memory log: one transaction per command, whatever fails around it."""

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence

import pytest
from msgspec.structs import replace

from aion_catalog.core.decision import Checked, Refused
from aion_catalog.shell.election import work_when_elected
from aion_catalog.shell.loop import read_back
from aion_catalog.shell.transaction import transactional_id
from aion_common import limits
from aion_common.errors import BadRecord, WrongCluster
from aion_common.ids import CommandId, Namespace, Version, WorkflowType
from aion_common.kafka.api import Headers, KeyValue, LogRecord, Membership, OnAssigned, Sender, TransactionalProducer, Write
from aion_common.kafka.partitioner import partition_of
from aion_common.kafka.topics import DEAD_LETTER_PARTITIONS, Topics
from aion_common.records.catalog import (
    CatalogCommand,
    CatalogRecord,
    CommandAnswered,
    CommandSkipped,
    PackageManifest,
    Route,
    TypesRouted,
    VersionLoaded,
)
from aion_common.records.commands import CatalogMarker
from aion_common.records.common import PackageRef
from aion_common.records.replies import PackageAccepted, Rejection, RejectionCode, Reply, RouteAccepted
from aion_common.testing.memory_cluster import Fault, MemoryCluster
from aion_common.testing.memory_log import MemoryLog
from aion_common.wire import encode
from catalog.given import DEFAULT, ORDER, UPLOADED, V1, V2, anywhere, checked, load, route, routed_by, unload
from catalog.world import (
    REPLY_PARTITION,
    World,
    catalog,
    created_world,
    newer_schema,
    surroundings,
    table_of,
    verdicts,
)
from support import committed

PARTITIONS = 4
TOPICS = Topics("test.")
CHECKS = verdicts(one=checked(V1), two=checked(V2), bad=Refused(reason="not a ZIP"))


REPLY = Reply(command_id=CommandId("x"), answer=Rejection(code=RejectionCode.CLOSED, reason=""))
RECORD = encode(CatalogRecord(recorded_at=0, event=CommandSkipped(offset=0, reason="")))


@pytest.fixture
def cluster() -> MemoryCluster:
    return MemoryCluster()


@pytest.fixture
async def world(cluster: MemoryCluster) -> World:
    return await created_world(MemoryLog(cluster), TOPICS, table_of(TOPICS, PARTITIONS))


def wish(upload_id: str, command_id: str) -> CatalogCommand:
    return load(command_id, package=replace(UPLOADED, upload_id=upload_id))


async def answers_in_log(world: World) -> Counter[CommandId]:
    return Counter(event.command_id for event in await world.events() if isinstance(event, CommandAnswered))


async def markers(world: World, partition: int) -> list[CatalogMarker]:
    return await world.everything(TOPICS.commands, partition)


async def test_a_load_reaches_every_topic_and_every_command_partition(world: World) -> None:
    async with catalog(surroundings(world, CHECKS)):
        await world.submit(wish("one", "c1"))
        (reply,) = await world.replies(1)

    assert isinstance(reply.answer, PackageAccepted)
    assert (reply.answer.freshly_loaded, reply.answer.route_changed) == (True, True)
    assert [type(event) for event in await world.events()] == [VersionLoaded, TypesRouted, CommandAnswered]
    (manifest,) = await world.everything(TOPICS.packages, 0)
    assert isinstance(manifest, PackageManifest)
    assert (manifest.version, manifest.manifest_json) == (V1, b"{}")
    assert await world.everything(TOPICS.routes, 0) == [
        Route(namespace=DEFAULT, workflow_type=ORDER, version=V1, route_epoch=1)
    ]
    found = [await markers(world, partition) for partition in range(PARTITIONS)]
    assert found == [found[0]] * PARTITIONS
    (marker,) = found[0]
    assert (routed_by(marker).version, routed_by(marker).route_epoch) == (V1, 1)


async def test_the_compacted_records_have_the_keys_of_the_contract(cluster: MemoryCluster, world: World) -> None:
    async with catalog(surroundings(world, CHECKS)):
        await world.submit(wish("one", "c1"))
        await world.replies(1)

    assert [record.key for record in cluster.records(TOPICS.packages, 0)] == [f"manifest/default/{V1}".encode()]
    assert [record.key for record in cluster.records(TOPICS.routes, 0)] == [b"default/order"]
    assert [record.key for record in cluster.records(TOPICS.replies, REPLY_PARTITION)] == [b"c1"]


async def test_commands_are_decided_in_order_one_by_one(world: World) -> None:
    async with catalog(surroundings(world, CHECKS)):
        await world.submit(wish("one", "c1"), wish("two", "c2"), route("c3", ORDER, V1), wish("bad", "c4"))
        replies = await world.replies(4)

    assert [reply.command_id for reply in replies] == ["c1", "c2", "c3", "c4"]
    assert replies[2].answer == RouteAccepted(
        workflow_type=ORDER, version=V1, previous_version=V2, route_epoch=3, route_changed=True
    )
    assert isinstance(replies[3].answer, Rejection)
    assert [routed_by(marker).route_epoch for marker in await markers(world, 0)] == [1, 2, 3]


async def test_a_restart_keeps_the_state_and_decides_nothing_again(world: World) -> None:
    async with catalog(surroundings(world, CHECKS)):
        await world.submit(wish("one", "c1"), wish("two", "c2"))
        await world.replies(2)
    async with catalog(surroundings(world, CHECKS)):
        await world.submit(route("c3", ORDER, V1), wish("one", "c1"))
        replies = await world.replies(5)

    assert [reply.command_id for reply in replies] == ["c1", "c2", "c2", "c3", "c1"]
    assert replies[2] == replies[1]
    assert replies[4].answer == replies[0].answer
    assert await answers_in_log(world) == {"c1": 2, "c2": 1, "c3": 1}


async def test_a_repeated_command_is_answered_where_the_repeat_asks_without_new_checks(world: World) -> None:
    seen: list[str] = []

    async def check(ref: PackageRef) -> Checked | Refused:
        seen.append(ref.upload_id)
        return checked(V1)

    async with catalog(surroundings(world, check)):
        await world.submit(wish("one", "c1"))
        (first,) = await world.replies(1)
        await world.submit(anywhere(wish("other", "c1"), 7))
        (repeat,) = await world.read(TOPICS.replies, 7, 1)

    assert repeat == first
    assert seen == ["one"]


async def test_a_transaction_that_failed_leaves_nothing_and_is_decided_again(cluster: MemoryCluster, world: World) -> None:
    cluster.fail_next_append(TOPICS.commands, PARTITIONS - 1, Fault.NOT_APPLIED)
    async with catalog(surroundings(world, CHECKS)):
        await world.submit(wish("one", "c1"))
        (reply,) = await world.replies(1)

    assert isinstance(reply.answer, PackageAccepted)
    assert reply.answer.freshly_loaded
    assert await answers_in_log(world) == {"c1": 1}
    assert [len(await markers(world, partition)) for partition in range(PARTITIONS)] == [1] * PARTITIONS


async def test_a_transaction_of_unknown_outcome_that_was_applied_is_found_and_answered(
    cluster: MemoryCluster, world: World
) -> None:
    cluster.fail_next_append(TOPICS.catalog, 0, Fault.APPLIED)
    async with catalog(surroundings(world, CHECKS)):
        await world.submit(wish("one", "c1"), wish("two", "c2"))
        replies = await world.replies(2)

    assert [reply.command_id for reply in replies] == ["c1", "c2"]
    assert isinstance(replies[0].answer, PackageAccepted)
    assert replies[0].answer.freshly_loaded
    assert await answers_in_log(world) == {"c1": 1, "c2": 1}
    assert [len(await markers(world, partition)) for partition in range(PARTITIONS)] == [2] * PARTITIONS


async def test_an_aborted_transaction_of_a_dead_catalog_is_never_seen(cluster: MemoryCluster, world: World) -> None:
    torn = Write(
        topic=TOPICS.catalog,
        partition=0,
        key=None,
        value=encode(
            CatalogRecord(
                recorded_at=1,
                event=CommandAnswered(
                    command_id=CommandId("c1"),
                    offset=0,
                    reply_partition=REPLY_PARTITION,
                    answer=Rejection(code=RejectionCode.INVALID_PACKAGE, reason="torn"),
                ),
            )
        ),
    )
    cluster.begin(transactional_id(TOPICS), [torn])
    async with catalog(surroundings(world, CHECKS)):
        await world.submit(wish("one", "c1"))
        (reply,) = await world.replies(1)

    assert isinstance(reply.answer, PackageAccepted)
    assert await answers_in_log(world) == {"c1": 1}


async def test_a_reply_that_could_not_be_sent_is_sent_by_the_next_term(cluster: MemoryCluster, world: World) -> None:
    cluster.fail_next_append(TOPICS.replies, REPLY_PARTITION, Fault.NOT_APPLIED)
    async with catalog(surroundings(world, CHECKS)):
        await world.submit(wish("one", "c1"), wish("two", "c2"))
        replies = await world.replies(2)

    assert [reply.command_id for reply in replies] == ["c1", "c2"]
    assert await answers_in_log(world) == {"c1": 1, "c2": 1}


class Mute:
    """A sender whose process never gets to send."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()

    async def send(self, topic: str, partition: int, records: Sequence[KeyValue], headers: Headers = ()) -> int:
        self.reached.set()
        await asyncio.Event().wait()
        raise AssertionError("never reached")

    async def close(self) -> None:
        return


class MuteLog(MemoryLog):
    """A log with such senders."""

    def __init__(self, cluster: MemoryCluster, mute: Mute) -> None:
        super().__init__(cluster)
        self.mute = mute

    async def sender(self) -> Sender:
        return self.mute


async def test_a_crash_between_commit_and_reply_costs_no_answer(cluster: MemoryCluster, world: World) -> None:
    mute = Mute()
    async with catalog(surroundings(world, CHECKS, MuteLog(cluster, mute))):
        await world.submit(wish("one", "c1"))
        await mute.reached.wait()
    assert await answers_in_log(world) == {"c1": 1}
    assert await world.everything(TOPICS.replies, REPLY_PARTITION) == []

    async with catalog(surroundings(world, CHECKS)):
        (reply,) = await world.replies(1)
    assert isinstance(reply.answer, PackageAccepted)
    assert reply.answer.freshly_loaded
    assert await answers_in_log(world) == {"c1": 1}


class Rejoining:
    """A membership that tells when its member gave its place up and joined again."""

    def __init__(self, inner: Membership) -> None:
        self._inner = inner
        self.rejoined = asyncio.Event()

    async def rejoin(self) -> None:
        await self._inner.rejoin()
        self.rejoined.set()

    async def committed(self, partitions: Collection[int]) -> Mapping[int, int]:
        return await self._inner.committed(partitions)

    async def commit(self, offsets: Mapping[int, int]) -> None:
        await self._inner.commit(offsets)

    async def failed(self) -> None:
        await self._inner.failed()

    async def close(self) -> None:
        await self._inner.close()


class RejoiningLog(MemoryLog):
    """A log with such a membership."""

    def __init__(self, cluster: MemoryCluster) -> None:
        super().__init__(cluster)
        self.joined = asyncio.Event()
        self.member: Rejoining

    async def membership(self, group: str, topic: str, member_id: str, session_ms: int, on_assigned: OnAssigned) -> Membership:
        self.member = Rejoining(await super().membership(group, topic, member_id, session_ms, on_assigned))
        self.joined.set()
        return self.member


async def test_a_stand_by_takes_over_and_the_one_that_did_not_notice_is_fenced(cluster: MemoryCluster, world: World) -> None:
    group = cluster.group("test.catalog", TOPICS.catalog_commands)
    held_up, go_on = asyncio.Event(), asyncio.Event()

    async def slow_check(ref: PackageRef) -> Checked | Refused:
        held_up.set()
        await go_on.wait()
        return checked(V1)

    old_log = RejoiningLog(cluster)
    async with catalog(surroundings(world, slow_check, old_log), "old"):
        await world.submit(wish("one", "c1"))
        await held_up.wait()
        new_log = RejoiningLog(cluster)
        async with catalog(surroundings(world, CHECKS, new_log), "new"):
            await new_log.joined.wait()
            cluster.vanish("test.catalog", TOPICS.catalog_commands, "old")
            await world.replies(1)
            go_on.set()
            await old_log.member.rejoined.wait()
            assert group.held("new") == {0}
            await world.submit(wish("two", "c2"))
            await world.replies(2)

    assert await answers_in_log(world) == {"c1": 1, "c2": 1}
    assert [len(await markers(world, partition)) for partition in range(PARTITIONS)] == [2] * PARTITIONS


async def test_a_term_ends_at_once_when_the_place_is_lost(cluster: MemoryCluster, world: World) -> None:
    ended = asyncio.Event()
    began = asyncio.Event()

    async def endless_check(ref: PackageRef) -> Checked | Refused:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        raise AssertionError("never reached")

    log = RejoiningLog(cluster)
    async with catalog(surroundings(world, endless_check, log), "old"):
        await world.submit(wish("one", "c1"))
        await began.wait()
        new_log = RejoiningLog(cluster)
        async with catalog(surroundings(world, CHECKS, new_log), "new"):
            await new_log.joined.wait()
            cluster.vanish("test.catalog", TOPICS.catalog_commands, "old")
            await log.member.rejoin()
            await ended.wait()
            (reply,) = await world.replies(1)

    assert isinstance(reply.answer, PackageAccepted)
    assert await answers_in_log(world) == {"c1": 1}


async def test_what_is_not_a_command_is_recorded_and_passed_over(world: World) -> None:
    foreign = encode(REPLY)
    await world.submit_values(b"garbage", None, foreign)
    async with catalog(surroundings(world, CHECKS)):
        await world.submit(wish("one", "c1"))
        await world.replies(1)
        await world.submit_values(b"\xc3\x01 more garbage")
    async with catalog(surroundings(world, CHECKS)):
        await world.submit(route("c2", ORDER, V1))
        replies = await world.replies(3)

    assert [reply.command_id for reply in replies] == ["c1", "c1", "c2"]
    skipped = [event for event in await world.events() if isinstance(event, CommandSkipped)]
    assert [event.offset for event in skipped] == [0, 1, 2, 4]
    assert skipped[2].reason == "not a command of the catalog"
    assert (await read_back(world.log, TOPICS)).commands_next == 6


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (route("c" * 900_000, ORDER, V1), "command id"),
        (route("c", ORDER, V1, Namespace("a/b")), "namespace"),
        (route("c", WorkflowType("x" * 900_000), V1), "workflow type"),
        (route("c", WorkflowType(""), V1), "workflow type"),
        (unload("c", Version("x")), "version"),
        (load("c", package=replace(UPLOADED, archive_digest="../x")), "digest"),
        (load("c", package=replace(UPLOADED, first_offset=-1)), "place"),
    ],
)
async def test_a_command_that_holds_what_no_gateway_lets_through_is_passed_over(
    world: World, command: CatalogCommand, reason: str
) -> None:
    await world.submit(command)
    async with catalog(surroundings(world, CHECKS)):
        await world.submit(wish("one", "c1"))
        (reply,) = await world.replies(1)
    assert reply.command_id == "c1"
    (skipped,) = [event for event in await world.events() if isinstance(event, CommandSkipped)]
    assert reason in skipped.reason


async def letters(world: World) -> list[LogRecord]:
    found = [await committed(world.log, TOPICS.deadletter, partition) for partition in range(DEAD_LETTER_PARTITIONS)]
    return [record for records in found for record in records]


async def test_what_is_not_a_command_is_in_the_dead_letters_once_even_if_its_transaction_failed(
    cluster: MemoryCluster, world: World
) -> None:
    sender = await world.log.sender()
    await sender.send(TOPICS.catalog_commands, 0, [(b"k" * 600_000, b"g" * limits.BATCH_BYTES_MAX)])
    key = b"k" * limits.NAME_BYTES_MAX
    cluster.fail_next_append(TOPICS.deadletter, partition_of(key, DEAD_LETTER_PARTITIONS), Fault.NOT_APPLIED)
    async with catalog(surroundings(world, CHECKS)):
        await world.submit(wish("one", "c1"))
        await world.replies(1)

    (letter,) = await letters(world)
    assert (letter.key, letter.value) == (key, b"g" * limits.DEAD_LETTER_BYTES_MAX)
    headers = dict(letter.headers)
    assert (headers["aion-topic"], headers["aion-partition"], headers["aion-offset"]) == (b"catalog.commands", b"0", b"0")
    (skipped,) = [event for event in await world.events() if isinstance(event, CommandSkipped)]
    assert headers["aion-reason"] == skipped.reason.encode()


async def test_the_input_position_counts_what_was_passed_over(world: World) -> None:
    async with catalog(surroundings(world, CHECKS)):
        await world.submit(wish("one", "c1"))
        await world.submit_values(b"garbage")
        await world.read(TOPICS.catalog, 0, 5)
    assert (await read_back(world.log, TOPICS)).commands_next == 2


async def test_a_command_of_a_newer_release_is_read_with_its_published_schema(world: World) -> None:
    newer = newer_schema(CatalogCommand)
    value = newer.mark + encode(wish("one", "c1"))[len(newer.mark) :] + b"\x02"
    await world.publish_schema(newer.text)
    async with catalog(surroundings(world, CHECKS)):
        await world.submit_values(value)
        (reply,) = await world.replies(1)

    assert isinstance(reply.answer, PackageAccepted)


@pytest.mark.parametrize("partition", [None, -1, 16, 4_000_000])
async def test_a_reply_that_nobody_can_read_holds_up_nothing(world: World, partition: int | None) -> None:
    async with catalog(surroundings(world, CHECKS)):
        await world.submit(anywhere(wish("one", "c1"), partition), route("c2", ORDER, V1))
        replies = await world.replies(1)

    assert [reply.command_id for reply in replies] == ["c2"]


@pytest.mark.parametrize("value", [None, b"", b"garbage", encode(REPLY)])
async def test_what_cannot_be_of_a_catalog_in_its_history_is_passed_over(world: World, value: bytes | None) -> None:
    sender = await world.log.sender()
    await sender.send(TOPICS.catalog, 0, [(None, value)])
    async with catalog(surroundings(world, CHECKS)):
        await world.submit(wish("one", "c1"))
        await world.replies(1)
        await sender.send(TOPICS.catalog, 0, [(b"k", value)])
    async with catalog(surroundings(world, CHECKS)):
        await world.submit(route("c2", ORDER, V1))
        assert [reply.command_id for reply in await world.replies(3)] == ["c1", "c1", "c2"]


@pytest.mark.parametrize("damaged", [b"\xc3\x01nobodys!", RECORD[:-1], RECORD + b"more"])
async def test_a_damaged_history_stops_the_catalog(world: World, damaged: bytes) -> None:
    sender = await world.log.sender()
    await sender.send(TOPICS.catalog, 0, [(None, damaged)])
    with pytest.raises(ExceptionGroup) as caught:
        async with catalog(surroundings(world, CHECKS)):
            await asyncio.Event().wait()

    assert caught.group_contains(BadRecord, match="offset 1: ")


class RecoveringLog(MemoryLog):
    """A log that is reachable again when the catalog tries to begin its fourth term."""

    terms = 0

    async def transactional_producer(self, transactional_id: str) -> TransactionalProducer:
        self.terms += 1
        self.cluster.reachable = self.cluster.reachable or self.terms == 4
        return await super().transactional_producer(transactional_id)


async def test_the_catalog_outlives_a_broker_that_goes_away_before_a_commit(cluster: MemoryCluster, world: World) -> None:
    log = RecoveringLog(cluster)

    async def check(ref: PackageRef) -> Checked | Refused:
        cluster.reachable = log.terms > 1
        return checked(V1)

    async with catalog(surroundings(world, check, log)):
        await world.submit(wish("one", "c1"))
        (reply,) = await world.replies(1)

    assert isinstance(reply.answer, PackageAccepted)
    assert log.terms == 4
    assert await answers_in_log(world) == {"c1": 1}


async def test_a_membership_that_failed_ends_the_process(cluster: MemoryCluster, world: World) -> None:
    assert world.topics == TOPICS

    class Expelled(Rejoining):
        async def failed(self) -> None:
            raise WrongCluster("no longer permitted")

    class ExpellingLog(MemoryLog):
        async def membership(
            self, group: str, topic: str, member_id: str, session_ms: int, on_assigned: OnAssigned
        ) -> Membership:
            return Expelled(await super().membership(group, topic, member_id, session_ms, on_assigned))

    async def work(_: Callable[[], None]) -> None:
        await asyncio.Event().wait()

    with pytest.raises(ExceptionGroup) as raised:
        await work_when_elected(ExpellingLog(cluster), TOPICS, "m", 6_000, work)
    assert raised.group_contains(WrongCluster)
