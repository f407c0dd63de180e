"""One specimen of every record that can stand in a topic: of a history record, one for each event.

Run this file to write the golden of a specimen that has none in the present schema; goldens that exist are kept for ever, and
a specimen that changes gets a new name instead.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from msgspec.structs import replace

from aion_common.ids import CommandId, Namespace, RunId, Version, WorkflowId, WorkflowType
from aion_common.records.catalog import (
    CatalogCommand,
    CatalogEvent,
    CatalogRecord,
    ClusterCreated,
    CommandAnswered,
    CommandSkipped,
    LoadPackage,
    PackageChunk,
    PackageManifest,
    Route,
    RouteType,
    TopicCreated,
    TypesRouted,
    UnloadAbandoned,
    UnloadBegan,
    UnloadVersion,
    VersionLoaded,
    VersionRemoved,
)
from aion_common.records.commands import (
    CancelRun,
    CatalogMarker,
    Command,
    CommandBody,
    IdConflict,
    SignalRun,
    StartRun,
    TerminateRun,
    VersionClosing,
    VersionKept,
    VersionRouted,
    VersionUnloaded,
)
from aion_common.records.common import (
    ActivityTimeouts,
    Backoff,
    PackageRef,
    Payload,
    RetryPolicy,
    RunTimeout,
    json_payload,
)
from aion_common.records.events import (
    ActivityCancelled,
    ActivityCompleted,
    ActivityFailed,
    ActivityRetried,
    ActivityScheduled,
    ActivityStarted,
    ActivityTimedOut,
    CatalogApplied,
    Cause,
    DeadLettered,
    Event,
    Failure,
    Heartbeat,
    HeartbeatsReceived,
    HistoryRecord,
    OwnerEpoch,
    Progress,
    RecordedAnswer,
    RunBlocked,
    RunCancelled,
    RunCancelRequested,
    RunCompleted,
    RunEvent,
    RunFailed,
    RunStarted,
    RunTerminated,
    RunTimedOut,
    SignalReceived,
    StartParked,
    StartReleased,
    TimeoutKind,
    TimerCancelled,
    TimerFired,
    TimerStarted,
    TurnEnded,
    WaitKind,
)
from aion_common.records.ingress import CancelWorkflow, SignalWorkflow, StartWorkflow, TerminateWorkflow
from aion_common.records.owners import Owner
from aion_common.records.replies import (
    Answer,
    CancelAccepted,
    LoadedType,
    PackageAccepted,
    Pin,
    PinCount,
    PinKind,
    PinsReported,
    Rejection,
    RejectionCode,
    Reply,
    RouteAccepted,
    SignalAccepted,
    StartAccepted,
    TerminateAccepted,
    UnloadAccepted,
)
from aion_common.records.tasks import (
    CancelTasks,
    ReportBody,
    Task,
    TaskCancelled,
    TaskCompleted,
    TaskFailed,
    TaskHeartbeat,
    TaskReport,
    TaskStarted,
)
from aion_common.wire import encode
from aion_common.wire.registry import resolved

GOLDEN = Path(__file__).parents[2] / "schemas" / "golden"

NAMESPACE = Namespace("shop")
ORDER, REFUND = WorkflowType("order"), WorkflowType("refund")
RUN = RunId("0123456789abcdef" * 2)
VERSION = Version("ab" * 32)
COMMAND = CommandId("http/shop/key-1")
PACKAGE = PackageRef(
    upload_id="upload-1",
    first_offset=10,
    last_offset=12,
    chunks=2,
    archive_bytes=700_000,
    archive_digest="cd" * 32,
    wakes_itself=True,
)
ROUTED = VersionRouted(
    namespace=NAMESPACE, version=VERSION, types=(ORDER, REFUND), routed_types=(ORDER,), route_epoch=3, package=PACKAGE
)
CLOSED = Rejection(code=RejectionCode.CLOSED, reason="the run is closed", status="completed")
PIN = Pin(kind=PinKind.LIVE_RUN, workflow_id=WorkflowId("order/1"), run_id=RUN)
TEXT = Payload(content_type="text/plain", data="grüße".encode())

RETRY = RetryPolicy(
    attempts=3, backoff=Backoff.EXPONENTIAL, initial_ms=1_000, max_ms=60_000, jitter_percent=10, non_retryable=("no_stock",)
)
TIMES = ActivityTimeouts(schedule_to_start_ms=None, start_to_close_ms=5_000, schedule_to_close_ms=60_000, heartbeat_ms=1_000)
NO_STOCK = Failure(kind="no_stock", message="none left", details=None)

START = Command(
    command_id=COMMAND,
    namespace=NAMESPACE,
    workflow_id=WorkflowId("order/1"),
    reply_partition=3,
    body=StartRun(
        workflow_type=ORDER, version=VERSION, input=None, id_conflict=IdConflict.TERMINATE_EXISTING, run_timeout_ms=60_000
    ),
)

EVENTS: Mapping[str, Event] = {
    "run_started": RunStarted(workflow_type=ORDER, version=VERSION, input=json_payload(b'{"n":1}')),
    "run_completed": RunCompleted(observed_seq=4, result=json_payload(b"[1,2.5,null]")),
    "run_failed": RunFailed(observed_seq=4, failure=Failure(kind="crash", message="badarith", details=json_payload(b"{}"))),
    "run_blocked": RunBlocked(expected="a wait for release", found="completed"),
    "signal_received": SignalReceived(name="release", payload=TEXT),
    "turn_ended": TurnEnded(observed_seq=1, wait=WaitKind.SIGNAL, name="release"),
    "owner_epoch": OwnerEpoch(producer_id=2000, producer_epoch=7, member="executor-1", clock_ms=1_700_000_000_000),
    "progress": Progress(
        commands_next=42,
        sent_through=17,
        answers=(RecordedAnswer(command_id=COMMAND, reply_partition=3, answer=CLOSED),),
    ),
    "catalog_applied": CatalogApplied(marker=ROUTED),
    "run_started_with_timeout": RunStarted(workflow_type=ORDER, version=VERSION, input=None, run_timeout_ms=60_000),
    "run_cancel_requested": RunCancelRequested(reason="no stock", deadline_ms=1_700_000_060_000),
    "run_cancelled": RunCancelled(observed_seq=3, reason="no stock"),
    "run_terminated": RunTerminated(reason=None),
    "run_timed_out": RunTimedOut(timeout_ms=60_000),
    "catalog_applied_closing": CatalogApplied(
        marker=VersionClosing(namespace=NAMESPACE, version=VERSION, attempt=2, reply_partition=3)
    ),
    "catalog_applied_kept": CatalogApplied(marker=VersionKept(namespace=NAMESPACE, version=VERSION, attempt=2)),
    "catalog_applied_unloaded": CatalogApplied(marker=VersionUnloaded(namespace=NAMESPACE, version=VERSION, attempt=3)),
    "start_parked": StartParked(offset=41, command=START),
    "start_released": StartReleased(offset=41),
    "dead_lettered": DeadLettered(
        topic="commands",
        partition=3,
        offset=40,
        reason="not an Avro value",
        key=b"shop/order/1",
        value=b"\x00\x01",
        value_bytes=2,
    ),
    "timer_started": TimerStarted(timer=1, fire_at=1_700_000_060_000, turn=None),
    "timer_cancelled": TimerCancelled(timer=1, turn=TurnEnded(observed_seq=4, wait=WaitKind.RESULT, name="activity 2")),
    "timer_fired": TimerFired(timer=1),
    "activity_scheduled": ActivityScheduled(
        activity=2,
        activity_type="charge",
        queue="default",
        input=json_payload(b"42"),
        retry=RETRY,
        timeouts=TIMES,
        turn=TurnEnded(observed_seq=1, wait=WaitKind.RESULT, name="activity 2"),
    ),
    "activity_started": ActivityStarted(activity=2, attempt=1, worker="till-1"),
    "activity_completed": ActivityCompleted(activity=2, attempt=1, result=TEXT),
    "activity_failed": ActivityFailed(activity=2, attempt=1, failure=NO_STOCK, retry_at=1_700_000_001_000),
    "activity_timed_out": ActivityTimedOut(activity=2, attempt=1, timeout=TimeoutKind.HEARTBEAT, retry_at=None),
    "activity_retried": ActivityRetried(activity=2, attempt=2, heartbeat=json_payload(b"7")),
    "activity_cancelled": ActivityCancelled(activity=2, turn=None),
    "progress_with_results": Progress(commands_next=42, sent_through=17, answers=(), results_next=9),
    "heartbeats_received": HeartbeatsReceived(
        heartbeats=(Heartbeat(run_id=RUN, activity=2, attempt=1, details=json_payload(b"7")),)
    ),
}

ANSWERS: Mapping[str, Answer] = {
    "start_accepted": StartAccepted(run_id=RUN, version=VERSION, created=True),
    "signal_accepted": SignalAccepted(run_id=RUN, seq=5),
    "cancel_accepted": CancelAccepted(run_id=RUN, seq=6),
    "terminate_accepted": TerminateAccepted(run_id=RUN, seq=7),
    "pins_reported": PinsReported(partition=3, attempt=2, counts=(PinCount(kind=PinKind.LIVE_RUN, number=1),), pins=(PIN,)),
    "unload_accepted": UnloadAccepted(version=VERSION),
    "version_pinned": Rejection(
        code=RejectionCode.VERSION_PINNED,
        reason="1 run needs it",
        workflow_type=ORDER,
        version=VERSION,
        pins_total=1,
        pins=(PIN,),
    ),
    "package_accepted": PackageAccepted(
        records=(LoadedType(workflow_type=ORDER, version=VERSION, manifest_digest="ef" * 32, deployed_at=1_700_000_000_000),),
        freshly_loaded=True,
        route_changed=True,
        warnings=("order:run/1 calls os:timestamp/0",),
    ),
    "route_accepted": RouteAccepted(
        workflow_type=ORDER, version=VERSION, previous_version=None, route_epoch=3, route_changed=True
    ),
    "rejection": Rejection(
        code=RejectionCode.UNKNOWN_VERSION,
        reason="not loaded",
        field="version",
        run_id=RUN,
        status="running",
        loaded=(VERSION,),
        limit_bytes=1,
        workflow_type=ORDER,
        version=VERSION,
    ),
}


def _history(event: Event) -> HistoryRecord:
    of_run = isinstance(event, RunEvent)
    by_command = isinstance(event, RunStarted | SignalReceived)
    return HistoryRecord(
        namespace=NAMESPACE if of_run else Namespace(""),
        workflow_id=WorkflowId("order/1") if of_run else WorkflowId(""),
        run_id=RUN if of_run else RunId(""),
        seq=4 if of_run else 0,
        recorded_at=1_700_000_000_123,
        owner_epoch=-1 if isinstance(event, OwnerEpoch) else 99,
        chain=bytes(range(16)) if of_run else b"",
        cause=Cause(topic="commands", offset=7, command_id=COMMAND, reply_partition=3) if by_command else None,
        event=event,
    )


def _command(body: CommandBody) -> Command:
    return Command(command_id=COMMAND, namespace=NAMESPACE, workflow_id=WorkflowId("order/1"), reply_partition=3, body=body)


def _report(body: ReportBody) -> TaskReport:
    return TaskReport(
        namespace=NAMESPACE, workflow_id=WorkflowId("order/1"), run_id=RUN, activity=2, attempt=1, worker="till-1", body=body
    )


def _catalog(event: CatalogEvent) -> CatalogRecord:
    return CatalogRecord(recorded_at=1_700_000_000_123, event=event)


SPECIMENS: Mapping[str, object] = {
    **{f"history_record.{name}": _history(event) for name, event in EVENTS.items()},
    **{f"reply.{name}": Reply(command_id=COMMAND, answer=answer) for name, answer in ANSWERS.items()},
    "command.start_run": _command(
        StartRun(workflow_type=ORDER, version=VERSION, input=json_payload(b"1"), id_conflict=IdConflict.USE_EXISTING)
    ),
    "command.signal_run": _command(SignalRun(run_id=None, name="release", payload=None)),
    "command.start_with_timeout": START,
    "command.cancel_run": _command(CancelRun(run_id=RUN, reason="no stock")),
    "command.terminate_run": _command(TerminateRun(run_id=None, reason=None)),
    "catalog_marker.version_routed": CatalogMarker(body=ROUTED),
    "catalog_marker.version_routed_with_timeouts": CatalogMarker(
        body=replace(ROUTED, timeouts=(RunTimeout(workflow_type=ORDER, timeout_ms=60_000),))
    ),
    "catalog_marker.version_closing": CatalogMarker(
        body=VersionClosing(namespace=NAMESPACE, version=VERSION, attempt=2, reply_partition=3)
    ),
    "catalog_marker.version_kept": CatalogMarker(body=VersionKept(namespace=NAMESPACE, version=VERSION, attempt=2)),
    "catalog_marker.version_unloaded": CatalogMarker(body=VersionUnloaded(namespace=NAMESPACE, version=VERSION, attempt=3)),
    "catalog_command.load_package": CatalogCommand(
        command_id=COMMAND, namespace=NAMESPACE, reply_partition=3, body=LoadPackage(package=PACKAGE)
    ),
    "catalog_command.route_type": CatalogCommand(
        command_id=COMMAND, namespace=NAMESPACE, reply_partition=None, body=RouteType(workflow_type=ORDER, version=VERSION)
    ),
    "catalog_record.cluster_created": _catalog(
        ClusterCreated(partitions=16, partitioner="murmur2", topics=(TopicCreated(name="aion.commands", partitions=16),))
    ),
    "catalog_record.version_loaded": _catalog(
        VersionLoaded(
            namespace=NAMESPACE,
            version=VERSION,
            manifest_digest="ef" * 32,
            types=(ORDER, REFUND),
            package=PACKAGE,
            deployed_at=1_700_000_000_000,
            warnings=("a warning",),
        )
    ),
    "catalog_record.types_routed": _catalog(TypesRouted(namespace=NAMESPACE, types=(ORDER,), version=VERSION, route_epoch=3)),
    "catalog_record.command_answered": _catalog(
        CommandAnswered(command_id=COMMAND, offset=5, reply_partition=3, answer=CLOSED)
    ),
    "catalog_command.unload_version": CatalogCommand(
        command_id=COMMAND, namespace=NAMESPACE, reply_partition=3, body=UnloadVersion(version=VERSION)
    ),
    "catalog_record.unload_began": _catalog(UnloadBegan(namespace=NAMESPACE, version=VERSION, attempt=2)),
    "catalog_record.unload_abandoned": _catalog(UnloadAbandoned(namespace=NAMESPACE, version=VERSION, attempt=2)),
    "catalog_record.version_removed": _catalog(VersionRemoved(namespace=NAMESPACE, version=VERSION, attempt=3)),
    "catalog_record.command_skipped": _catalog(CommandSkipped(offset=5, reason="not an Avro value")),
    "start_workflow": StartWorkflow(
        workflow_type=ORDER,
        workflow_id=WorkflowId("order/1"),
        input=json_payload(b'{"sku":7}'),
        version=VERSION,
        id_conflict=IdConflict.USE_EXISTING,
        run_timeout_ms=60_000,
    ),
    "start_workflow.least": StartWorkflow(workflow_type=ORDER),
    "signal_workflow": SignalWorkflow(
        namespace=NAMESPACE, workflow_id=WorkflowId("order/1"), run_id=RUN, name="release", payload=json_payload(b"1")
    ),
    "cancel_workflow": CancelWorkflow(workflow_id=WorkflowId("order/1"), reason="no stock"),
    "terminate_workflow": TerminateWorkflow(workflow_id=WorkflowId("order/1"), run_id=RUN),
    "package_chunk": PackageChunk(upload_id="upload-1", index=1, content=b"PK\x03\x04"),
    "package_manifest": PackageManifest(
        namespace=NAMESPACE,
        version=VERSION,
        manifest_digest="ef" * 32,
        manifest_json=b'{"entry_module":"order"}',
        package=PACKAGE,
        deployed_at=1_700_000_000_000,
    ),
    "task": Task(
        namespace=NAMESPACE,
        workflow_id=WorkflowId("order/1"),
        run_id=RUN,
        workflow_type=ORDER,
        activity=2,
        activity_type="charge",
        attempt=1,
        idempotency_key=f"{RUN}/2",
        input=json_payload(b"42"),
        heartbeat=None,
        scheduled_at=1_700_000_000_000,
        close_by=1_700_000_060_000,
        start_to_close_ms=5_000,
        heartbeat_ms=1_000,
        report_started=True,
        results_partition=3,
    ),
    "task_report.started": _report(TaskStarted()),
    "task_report.heartbeat": _report(TaskHeartbeat(details=json_payload(b"7"))),
    "task_report.completed": _report(TaskCompleted(result=TEXT)),
    "task_report.failed": _report(TaskFailed(failure=NO_STOCK, retryable=False)),
    "task_report.cancelled": _report(TaskCancelled()),
    "cancel_tasks": CancelTasks(
        namespace=NAMESPACE,
        workflow_id=WorkflowId("order/1"),
        run_id=RUN,
        activity=None,
        attempt=None,
        reason="the run was terminated",
    ),
    "route": Route(namespace=NAMESPACE, workflow_type=ORDER, version=VERSION, route_epoch=3),
    "owner": Owner(partition=3, owner_epoch=99, member="executor-1", address="10.0.0.7:7601"),
}


def goldens(name: str) -> list[bytes]:
    """What was ever written for a specimen, in the order of its schemas: the last is what is written now."""
    files = (GOLDEN / "records").glob(f"{name}-*.hex")
    ordered = sorted(files, key=lambda file: int(file.stem.rpartition("-")[2]))
    return [bytes.fromhex(file.read_text(encoding="ascii")) for file in ordered]


def schemas_kept() -> list[str]:
    """Every schema that was ever in use."""
    return [file.read_text(encoding="utf-8") for file in sorted((GOLDEN / "schemas").glob("*.avsc"))]


if __name__ == "__main__":
    for specimen_name, specimen in SPECIMENS.items():
        kept_values = goldens(specimen_name)
        if encode(specimen) not in kept_values:
            file = GOLDEN / "records" / f"{specimen_name}-{len(kept_values) + 1}.hex"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(encode(specimen).hex() + "\n", encoding="ascii")
    for schema in resolved().values():
        kept = GOLDEN / "schemas" / f"{schema.name}-{schema.mark[2:].hex()}.avsc"
        kept.parent.mkdir(parents=True, exist_ok=True)
        if not kept.exists():
            kept.write_text(json.dumps(json.loads(schema.text), indent=1) + "\n", encoding="utf-8")
