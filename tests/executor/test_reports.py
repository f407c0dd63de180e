"""What is read beside commands: reports of workers, and which task queues there are."""

import asyncio

import pytest
from msgspec.structs import replace

from aion_common.clock import SystemClock
from aion_common.ids import Namespace, RunId, WorkflowId, workflow_key
from aion_common.kafka.api import LogRecord, Topic
from aion_common.kafka.partitioner import partition_of
from aion_common.kafka.topics import Topics
from aion_common.limits import REPORT_BYTES_MAX
from aion_common.records.common import json_payload
from aion_common.records.events import Failure
from aion_common.records.tasks import TaskCompleted, TaskFailed, TaskReport, TaskStarted
from aion_common.testing.memory_cluster import MemoryCluster
from aion_common.testing.memory_log import MemoryLog
from aion_common.wire import encode
from aion_executor.core.inputs import ResultInput, UnreadableInput
from aion_executor.processor import RESULTS
from aion_executor.shell.queues import Queues
from aion_executor.shell.reports import parse
from executor.given import start
from support import eventually

PARTITIONS = 4
REPORT = TaskReport(
    namespace=Namespace("default"),
    workflow_id=WorkflowId("w1"),
    run_id=RunId("a" * 32),
    activity=1,
    attempt=1,
    worker="w",
    body=TaskCompleted(result=None),
)
HOME = partition_of(workflow_key(REPORT.namespace, REPORT.workflow_id), PARTITIONS)
NAMELESS = TaskFailed(failure=Failure(kind="", message="", details=None), retryable=True)


def read(value: bytes | None, partition: int = HOME) -> object:
    """The input of a record at offset 7."""
    return parse(LogRecord(offset=7, timestamp_ms=0, key=b"k", value=value), partition, PARTITIONS)


@pytest.mark.parametrize("body", [TaskStarted(), TaskCompleted(result=json_payload(b"1"))])
def test_a_report_is_an_input_at_its_offset(body: TaskStarted | TaskCompleted) -> None:
    report = replace(REPORT, body=body)
    assert read(encode(report)) == ResultInput(offset=7, report=report)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "no value"),
        (b"garbage", ""),
        (bytes(REPORT_BYTES_MAX + 1), "bytes, more than"),
        (encode(start("c1", "park")), "not a report of a worker: Command"),
        (encode(replace(REPORT, run_id=RunId("../x"))), "the run id"),
        (encode(replace(REPORT, attempt=0)), "the number of the activity or attempt"),
        (encode(replace(REPORT, worker="")), "name of the worker"),
        (encode(replace(REPORT, namespace=Namespace("a/b"))), "the namespace"),
        (encode(replace(REPORT, body=NAMELESS)), "kind of failure"),
    ],
)
def test_what_is_no_report_becomes_a_dead_letter_that_says_why(value: bytes | None, reason: str) -> None:
    given = read(value)
    assert isinstance(given, UnreadableInput)
    assert (given.topic, given.offset) == (RESULTS, 7)
    assert reason in given.reason


def test_a_report_in_the_partition_of_another_workflow_is_a_dead_letter() -> None:
    given = read(encode(REPORT), (HOME + 1) % PARTITIONS)
    assert isinstance(given, UnreadableInput)
    assert f"belongs to partition {HOME}" in given.reason


async def test_a_queue_is_known_soon_after_somebody_asked_for_it_and_tasks_keep_their_key() -> None:
    log, topics = MemoryLog(MemoryCluster(SystemClock())), Topics("t.")
    queues = Queues(log, topics)
    await queues.look()
    looking = asyncio.create_task(queues.run())
    await log.create_topics([Topic(name="t.tasks.late", partitions=8, replication=1)])
    assert "late" not in queues
    await eventually(lambda: list(queues) == ["late"], within_s=4)
    assert "late" in queues
    assert queues.partition_of("tasks.late", b"default/w1") == partition_of(b"default/w1", 8)
    assert queues.partition_of("control", b"x") == 0
    looking.cancel()
    await asyncio.wait([looking])
