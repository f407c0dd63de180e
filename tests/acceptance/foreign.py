"""A producer that is none of ours: what it may leave in a topic, by accident or on purpose."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace

from acceptance.stack import Stack
from aion_common.ids import CommandId, Namespace, RunId, Version, WorkflowId, WorkflowType, workflow_key
from aion_common.kafka.api import Headers, KeyValue, Log, LogRecord, Sender
from aion_common.kafka.client import connect
from aion_common.kafka.partitioner import partition_of
from aion_common.kafka.topics import Topics
from aion_common.records.catalog import CatalogCommand, Route, UnloadVersion
from aion_common.records.commands import Command, IdConflict, SignalRun, StartRun, TerminateRun
from aion_common.records.common import Payload
from aion_common.records.events import Failure
from aion_common.records.owners import Owner
from aion_common.records.replies import Rejection, RejectionCode, Reply
from aion_common.records.tasks import (
    ReportBody,
    TaskCancelled,
    TaskCompleted,
    TaskFailed,
    TaskHeartbeat,
    TaskReport,
    TaskStarted,
)
from aion_common.wire import encode
from support import committed

TOPICS = Topics("aion.")

UNKNOWN = b"\xc3\x01nobodys!"
ROUTE = encode(Route(namespace=Namespace("n"), workflow_type=WorkflowType("t"), version=Version("f" * 64), route_epoch=7))
REPLY = encode(Reply(command_id=CommandId("c"), answer=Rejection(code=RejectionCode.CLOSED, reason="")))
OWNER = encode(Owner(partition=1_000, owner_epoch=1, member="m", address="nowhere:1"))

GARBAGE: tuple[tuple[KeyValue, Headers], ...] = (
    ((None, None), ()),
    ((b"key", None), ()),
    ((None, b""), ()),
    ((b"\xff\x00", b"garbage"), ()),
    ((b"k" * 300_000, b"\xff" * 600_000), ()),
    ((b"key", b"{}"), (("name", b"x" * 500_000), ("name", b""), ("", b"\xff"))),
    ((b"key", UNKNOWN), ()),
    ((b"key", UNKNOWN[:7]), ()),
    ((b"key", ROUTE[:-3]), ()),
    ((b"key", ROUTE + b"more"), ()),
    ((b"key", ROUTE), ()),
    ((b"key", REPLY), ()),
    ((b"key", OWNER), ()),
)
"""No value, no key, no bytes, no Avro, large ones, large headers, a schema of nobody, cut, extended, records of other kinds."""

NO_SCHEMAS: tuple[bytes | None, ...] = (None, b"", b"\xff", b"{", b'"string"', b'{"type":"record","name":"aion.owners.Owner"}')
"""Under the fingerprint of a schema of ours."""


def hostile_commands(workflow_type: str) -> tuple[Command, ...]:
    """Commands that can be read, and hold what no gateway lets through."""
    start = StartRun(
        workflow_type=WorkflowType(workflow_type), version=None, input=None, id_conflict=IdConflict.REJECT, run_timeout_ms=None
    )
    plain = Command(
        command_id=CommandId("foreign"),
        namespace=Namespace("default"),
        workflow_id=WorkflowId("foreign"),
        reply_partition=None,
        body=start,
    )
    bodies: tuple[Any, ...] = (
        replace(start, run_timeout_ms=2**63 - 1),
        replace(start, run_timeout_ms=-(2**63)),
        replace(start, workflow_type=WorkflowType("x" * 400_000)),
        replace(start, version=Version("../" * 100)),
        SignalRun(run_id=RunId("not hexadecimal"), name="go", payload=None),
        SignalRun(run_id=None, name="\x00" * 400_000, payload=None),
        TerminateRun(run_id=RunId("äöü"), reason="x" * 400_000),
    )
    return (
        *(replace(plain, body=body) for body in bodies),
        replace(plain, command_id=CommandId("c" * 400_000)),
        replace(plain, namespace=Namespace("default/x")),
        replace(plain, workflow_id=WorkflowId("w" * 400_000)),
        replace(plain, workflow_id=WorkflowId("")),
        replace(plain, reply_partition=2**31 - 1),
    )


def odd_start(workflow_type: str, workflow_id: str) -> Command:
    """A start that may be decided, whose input is none: the run is to fail or to run, nothing else."""
    return Command(
        command_id=CommandId(f"foreign/{workflow_id}"),
        namespace=Namespace("default"),
        workflow_id=WorkflowId(workflow_id),
        reply_partition=None,
        body=StartRun(
            workflow_type=WorkflowType(workflow_type),
            version=None,
            input=Payload(content_type="application/json", data=b'\xff{"no": json'),
            id_conflict=IdConflict.REJECT,
        ),
    )


def hostile_deploys() -> tuple[CatalogCommand, ...]:
    """As above, for the catalog."""
    plain = CatalogCommand(
        command_id=CommandId("foreign"),
        namespace=Namespace("default"),
        reply_partition=2**31 - 1,
        body=UnloadVersion(version=Version("e" * 64)),
    )
    return (
        plain,
        replace(plain, command_id=CommandId("c" * 850_000)),
        replace(plain, namespace=Namespace("../x")),
        replace(plain, body=UnloadVersion(version=Version("x" * 850_000))),
    )


FAILED = TaskFailed(failure=Failure(kind="foreign", message="", details=None), retryable=True)
BODIES: tuple[ReportBody, ...] = (
    TaskStarted(),
    TaskCompleted(result=None),
    TaskCompleted(result=Payload(content_type="application/json", data=b"7" * 400_000)),
    FAILED,
    replace(FAILED, retryable=False),
    TaskCancelled(),
)
HEARTBEAT = TaskHeartbeat(details=Payload(content_type="application/json", data=b"7" * 400_000))


def hostile_reports(present: TaskReport) -> tuple[TaskReport, ...]:
    """Reports that can be read, and hold what no worker writes. `present`: one about an attempt that a run waits for."""
    long = "x" * 400_000
    failed = replace(FAILED, failure=replace(FAILED.failure, kind=long))
    bodies = (failed, TaskCompleted(result=Payload(content_type=long, data=b"7")))
    return (
        *(replace(present, body=body) for body in bodies),
        replace(present, run_id=RunId("not hexadecimal")),
        replace(present, namespace=Namespace("default/x")),
        replace(present, workflow_id=WorkflowId("w" * 400_000)),
        replace(present, workflow_id=WorkflowId("")),
        replace(present, worker=long),
        replace(present, activity=0),
        replace(present, activity=2**63 - 1),
        replace(present, attempt=-1),
    )


def late_reports(present: TaskReport, closed: TaskReport) -> tuple[TaskReport, ...]:
    """All that a worker may tell, about what nobody waits for. `closed`: of a run that has ended; `present`: as above, and its
    attempt is not the first one."""
    nobody = RunId("0" * 32)
    return tuple(
        replace(about, body=body)
        for about in (
            closed,
            replace(closed, run_id=nobody),
            replace(present, run_id=nobody),
            replace(present, run_id=closed.run_id),
            replace(present, attempt=present.attempt - 1),
            replace(present, attempt=present.attempt + 1),
            replace(present, activity=present.activity + 1),
            replace(present, activity=2**61),
            replace(present, attempt=2**61),
            replace(present, workflow_id=WorkflowId("nobody")),
        )
        for body in (*BODIES, HEARTBEAT)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreigner:
    """Writes to any topic of a stack."""

    log: Log
    sender: Sender
    partitions: int
    topics: Topics = TOPICS

    async def garbage(self, topic: str, partitions: int) -> None:
        """Leave everything of `GARBAGE` in every partition. Where a topic is compacted brokers refuse records without a key."""
        is_compacted = topic in {self.topics.schemas, self.topics.owners, self.topics.routes, self.topics.packages}
        for partition in range(partitions):
            for (key, value), headers in GARBAGE:
                given = b"" if key is None and is_compacted else key
                await self.sender.send(topic, partition, [(given, value)], headers)

    async def command(self, command: Command, partition: int | None = None) -> None:
        """Where it belongs, or elsewhere."""
        key = workflow_key(command.namespace, command.workflow_id)
        place = partition_of(key, self.partitions) if partition is None else partition
        await self.sender.send(self.topics.commands, place, [(key[:1_000], encode(command))])

    async def report(self, report: TaskReport, partition: int | None = None) -> None:
        """Where it belongs, or elsewhere."""
        key = workflow_key(report.namespace, report.workflow_id)
        place = partition_of(key, self.partitions) if partition is None else partition
        await self.sender.send(self.topics.results, place, [(key[:1_000], encode(report))])

    async def letters(self, topic: str) -> list[LogRecord]:
        """The dead letters of the records of a topic, named without its prefix."""
        found = [await committed(self.log, self.topics.deadletter, partition) for partition in range(4)]
        return [record for records in found for record in records if (("aion-topic", topic.encode()) in record.headers)]


@asynccontextmanager
async def foreigner(stack: Stack) -> AsyncIterator[Foreigner]:
    """Beside the stack."""
    log = await connect(f"127.0.0.1:{stack.kafka_port}")
    try:
        sender = await log.sender()
        try:
            yield Foreigner(log=log, sender=sender, partitions=stack.partitions)
        finally:
            await sender.close()
    finally:
        await log.close()
