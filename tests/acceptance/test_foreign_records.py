"""Records of others in every topic: each is a dead letter or passed over, nothing that was there changes, nobody falls over."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from msgspec.structs import replace

from acceptance.foreign import (
    BODIES,
    FAILED,
    GARBAGE,
    HEARTBEAT,
    NO_SCHEMAS,
    REPLY,
    Foreigner,
    foreigner,
    hostile_commands,
    hostile_deploys,
    hostile_reports,
    late_reports,
    odd_start,
)
from acceptance.packages import RELOAD, fixture_package, reload_package
from acceptance.stack import Api, Stack
from aion_common.ids import Namespace, RunId, WorkflowId, workflow_key
from aion_common.kafka.partitioner import partition_of
from aion_common.kafka.topics import REPLY_PARTITIONS
from aion_common.records.common import json_payload
from aion_common.records.tasks import TaskCompleted, TaskReport
from aion_common.wire import encode, schemas
from support import committed, eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")


@dataclass(frozen=True, slots=True, kw_only=True)
class Before:
    """What must not change."""

    pids: dict[str, int]
    versions: list[dict[str, Any]]
    history: list[dict[str, Any]]


async def seen(api: Api) -> Before:
    """As it is now."""
    return Before(pids=dict(api.stack.pids()), versions=await api.versions(), history=await api.history("sample"))


async def check_nothing_changed(api: Api, before: Before, name: str) -> None:
    """Services, routes, versions, histories, new starts and deploys are as before."""
    await api.stack.ready()
    assert await seen(api) == before
    for partition in range(api.stack.partitions):
        assert await api.run_once(RELOAD, id_in(partition, api.stack.partitions, name)) == 1
    again = await api.deploy(reload_package(1))
    assert (again["freshly_loaded"], again["route_changed"]) == (False, False)


def id_in(partition: int, partitions: int, name: str) -> str:
    """A workflow id of the partition."""
    ids = (f"{name}-{number}" for number in range(1_000))
    return next(
        one for one in ids if partition_of(workflow_key(Namespace("default"), WorkflowId(one)), partitions) == partition
    )


@pytest_asyncio.fixture(loop_scope="session")
async def stack(tmp_path: Path) -> AsyncIterator[Stack]:
    """A stack whose histories may be spoilt."""
    stack = Stack(tmp_path, executors=2)
    await stack.start()
    yield stack
    assert await stack.stop() == 0


async def spoil_all_but_histories(other: Foreigner, api: Api) -> None:
    """Garbage everywhere, then lies where the topic has none of its own kind, then everything once more behind the lies."""
    topics = other.topics
    for mark in schemas():
        await other.sender.send(topics.schemas, 0, [(mark.encode(), text) for text in NO_SCHEMAS])
    for topic, partitions in (
        (topics.schemas, 1),
        (topics.owners, 1),
        (topics.routes, 1),
        (topics.packages, 1),
        (topics.replies, REPLY_PARTITIONS),
        (topics.deadletter, 1),
        (topics.catalog_commands, 1),
        (topics.commands, other.partitions),
    ):
        await other.garbage(topic, partitions)
    await other.sender.send(topics.catalog, 0, [(None, None), (None, b""), (b"k", b"garbage"), (b"k", REPLY)])
    for owner in range(other.partitions):
        await other.sender.send(topics.owners, 0, [(str(owner).encode(), None)])
    await other.sender.send(topics.routes, 0, [(f"default/{RELOAD}".encode(), None)])
    for command in hostile_commands(RELOAD):
        await other.command(command)
    for deploy in hostile_deploys():
        await other.sender.send(topics.catalog_commands, 0, [(b"", encode(deploy))])
    wrong = id_in(1, other.partitions, "wrong")
    await other.command(odd_start(RELOAD, wrong), partition=0)
    await other.command(odd_start(RELOAD, "odd"))


async def test_records_of_others_change_nothing(stack: Stack) -> None:
    api = Api(stack, "default")
    await api.deploy(reload_package(1))
    await api.start(RELOAD, workflow_id="sample")
    await eventually(lambda: waits(api, "sample"))
    before = await seen(api)
    async with foreigner(stack) as other:
        await spoil_all_but_histories(other, api)
        await check_nothing_changed(api, before, "spoilt")
        wanted = {
            "commands": other.partitions * len(GARBAGE) + len(hostile_commands(RELOAD)) + 1,
            "catalog.commands": len(GARBAGE) + len(hostile_deploys()) - 1,
        }
        for topic, number in wanted.items():
            letters = await eventually(lambda topic=topic, number=number: letters_of(other, topic, number))  # type: ignore[misc]
            assert len(letters) == number
        await stack.kill_all()
        before.pids.update(stack.pids())
        await check_nothing_changed(api, before, "restarted")
        await api.signal("odd", "go")
        assert (await api.result("odd"))["result"] == 1
        await stack.check()
        await spoil_histories(other, stack, api, before)
    await api.signal("sample", "go")
    assert (await api.result("sample"))["result"] == 1


async def waits(api: Api, workflow_id: str) -> bool:
    """Whether the run has ended its first turn."""
    return len(await api.history(workflow_id)) == 2


async def letters_of(other: Foreigner, topic: str, number: int) -> list[Any]:
    """The dead letters, once there are so many."""
    found = await other.letters(topic)
    return found if len(found) >= number else []


async def spoil_histories(other: Foreigner, stack: Stack, api: Api, before: Before) -> None:
    """Garbage, and copies of what is there: the owners give their partitions up, read what stands there, and go on."""
    history = other.topics.history
    there = {partition: await committed(other.log, history, partition) for partition in range(other.partitions)}
    await other.garbage(history, other.partitions)
    await check_nothing_changed(api, before, "foreign")
    for partition, records in there.items():
        await other.sender.send(history, partition, [(record.key, record.value) for record in records[-40:]])
    await check_nothing_changed(api, before, "copied")
    await stack.kill_all(["executor-1", "executor-2"])
    before.pids.update(stack.pids())
    await check_nothing_changed(api, before, "again")


async def test_reports_of_others_change_nothing(stack: Stack) -> None:
    """What can be read and is about nothing that is waited for is dropped and counted (heartbeats are not), all else is a dead
    letter."""
    api = Api(stack, "default")
    await api.deploy(fixture_package("errands", "doubles"))
    async with foreigner(stack) as other:
        closed = await asked_for(api, "closed")
        await other.report(replace(closed, body=TaskCompleted(result=json_payload(b"4"))))
        assert (await api.result("closed"))["result"] == 4
        present = replace(await asked_for(api, "present"), attempt=2)
        await other.report(replace(present, attempt=1, body=FAILED))
        await eventually(lambda: has_event(api, "present", "ActivityRetried"))
        before = [await api.history(name) for name in ("closed", "present")]
        wrong, late = hostile_reports(present), late_reports(present, closed)
        elsewhere = [partition for partition in range(other.partitions) if partition != partition_of_run(present, other)]
        await other.garbage(other.topics.results, other.partitions)
        for report in (*wrong, *late):
            await other.report(report)
        for partition in elsewhere:
            for body in (*BODIES, HEARTBEAT):
                await other.report(replace(present, body=body), partition)
        await other.garbage(other.topics.results, other.partitions)
        number = 2 * other.partitions * len(GARBAGE) + len(wrong) + len(elsewhere) * (len(BODIES) + 1)
        await eventually(lambda: are_letters(other, "results", number), within_s=60)
        dropped = sum(report.body is not HEARTBEAT for report in late)
        assert await counted(stack, "aion_reports_dropped_total") >= dropped
        assert await counted(stack, 'aion_skipped_records_total{topic="results"}') >= number
        await stack.check()
        await stack.kill_all(["executor-1", "executor-2"])
        assert [await api.history(name) for name in ("closed", "present")] == before
        # What its worker tells too loudly stays its own business; the result counts, once.
        await other.report(replace(present, body=HEARTBEAT))
        for result in (b"8", b"9"):
            await other.report(replace(present, body=TaskCompleted(result=json_payload(result))))
        assert (await api.result("present"))["result"] == 8
        await stack.check()


async def are_letters(other: Foreigner, topic: str, number: int) -> bool:
    """Whether so many records of the topic are dead letters, and fails if more are: an owner may send one again."""
    headers = [dict(record.headers) for record in await other.letters(topic)]
    places = {(known["aion-partition"], known["aion-offset"]) for known in headers}
    assert len(places) <= number
    return len(places) == number


async def asked_for(api: Api, workflow_id: str) -> TaskReport:
    """A report about the first attempt of the first activity of a new run."""
    run_id = (await api.start("errands", workflow_id=workflow_id, input={"n": 1, "value": 2}))["run_id"]
    await eventually(lambda: has_event(api, workflow_id, "ActivityScheduled"))
    return TaskReport(
        namespace=Namespace("default"),
        workflow_id=WorkflowId(workflow_id),
        run_id=RunId(run_id),
        activity=1,
        attempt=1,
        worker="foreign",
        body=FAILED,
    )


def partition_of_run(report: TaskReport, other: Foreigner) -> int:
    """Where it belongs."""
    return partition_of(workflow_key(report.namespace, report.workflow_id), other.partitions)


async def has_event(api: Api, workflow_id: str, event_type: str) -> bool:
    """Whether the run has one of this type."""
    return event_type in {event["type"] for event in await api.history(workflow_id)}


async def counted(stack: Stack, metric: str) -> int:
    """By all executors together."""
    lines = [line.split(" ") for line in (await stack.metrics()).splitlines()]
    return sum(int(float(line[-1])) for line in lines if line[0] == metric)
