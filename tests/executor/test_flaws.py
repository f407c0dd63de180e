"""Records that can be decoded and hold what cannot be decided: each is a dead letter, none stops its partition."""

from typing import Any

import pytest
from msgspec.structs import replace

from aion_common.ids import CommandId, Namespace, RunId, Version, WorkflowId, WorkflowType, workflow_key
from aion_common.kafka.api import LogRecord
from aion_common.kafka.partitioner import partition_of
from aion_common.limits import NAME_BYTES_MAX, REASON_BYTES_MAX
from aion_common.records.commands import CancelRun, CatalogMarker, Command, TerminateRun
from aion_common.records.common import Payload, RunTimeout
from aion_common.wire import encode
from aion_executor.core.inputs import CommandInput, UnreadableInput
from aion_executor.shell.commands import parse
from executor.given import V1, closing, package, routed, signal, start

LONG = "x" * (NAME_BYTES_MAX + 1)
START = start("c", "park")
SIGNAL = signal("c", "s")
ROUTED = routed(V1, 1)
CLOSING = closing(V1, 1)


def body(record: Command | CatalogMarker, **changed: Any) -> Any:
    """Its body with other fields."""
    return replace(record.body, **changed)


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (replace(START, command_id=CommandId("x" * 1_000)), "command id"),
        (replace(START, command_id=CommandId("")), "command id"),
        (replace(START, namespace=Namespace("a/b")), "namespace"),
        (replace(START, namespace=Namespace("")), "namespace"),
        (replace(START, workflow_id=WorkflowId("")), "workflow id"),
        (replace(START, workflow_id=WorkflowId(LONG)), "workflow id"),
        (replace(START, workflow_id=WorkflowId("a\x00b")), "workflow id"),
        (replace(START, reply_partition=99), "reply partition"),
        (replace(START, body=body(START, workflow_type=WorkflowType(LONG))), "workflow type"),
        (replace(START, body=body(START, version=Version("../x"))), "version"),
        (replace(START, body=body(START, run_timeout_ms=2**63 - 1)), "time-out"),
        (replace(START, body=body(START, run_timeout_ms=-1)), "time-out"),
        (replace(START, body=body(START, input=Payload(content_type=LONG, data=b""))), "content type"),
        (replace(SIGNAL, body=body(SIGNAL, name=LONG)), "signal name"),
        (replace(SIGNAL, body=body(SIGNAL, run_id=RunId("not hexadecimal"))), "run id"),
        (replace(SIGNAL, body=CancelRun(run_id=RunId(""), reason=None)), "run id"),
        (replace(SIGNAL, body=TerminateRun(run_id=None, reason="x" * (REASON_BYTES_MAX + 1))), "reason"),
        (CatalogMarker(body=body(ROUTED, version=Version("a\x00"))), "version"),
        (CatalogMarker(body=body(ROUTED, route_epoch=2**63 - 1)), "number"),
        (CatalogMarker(body=body(ROUTED, package=replace(package(), archive_digest="a\x00"))), "digest"),
        (
            CatalogMarker(body=body(ROUTED, timeouts=(RunTimeout(workflow_type=WorkflowType("t"), timeout_ms=0),))),
            "time-out",
        ),
        (CatalogMarker(body=body(CLOSING, reply_partition=16)), "reply partition"),
        (CatalogMarker(body=body(CLOSING, attempt=-1)), "number"),
    ],
)
def test_record_that_can_be_read_and_not_be_decided_is_a_dead_letter(record: Command | CatalogMarker, reason: str) -> None:
    read = parse(LogRecord(offset=7, timestamp_ms=0, key=b"k", value=encode(record)), 0, 1)
    assert isinstance(read, UnreadableInput)
    assert reason in read.reason


def test_command_in_the_partition_of_another_workflow_id_is_a_dead_letter() -> None:
    """Else an id could have two open runs, and nobody who asks its own partition would see this one."""
    key = workflow_key(START.namespace, START.workflow_id)
    right = partition_of(key, 4)
    record = LogRecord(offset=7, timestamp_ms=0, key=key, value=encode(START))
    for partition in range(4):
        read = parse(record, partition, 4)
        assert isinstance(read, CommandInput if partition == right else UnreadableInput)
