"""Values that tests of the executor start from."""

from aion_common.ids import CommandId, Namespace, RunId, Version, WorkflowId, WorkflowType
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
from aion_common.records.common import PackageRef, Payload, json_payload
from aion_executor.core.facts import Facts
from aion_executor.core.inputs import CommandInput, MarkerInput
from aion_executor.core.partition import Partition

DEFAULT = Namespace("default")
W1 = WorkflowId("w1")
V1 = Version("1" * 64)
V2 = Version("2" * 64)
TYPES = tuple(
    WorkflowType(name)
    for name in ("park", "two_signals", "at_once", "fails", "tidies", "sleeps", "calls", "races", "hesitates")
)

FACTS = Facts(
    now_ms=1_000,
    payload_bytes_max=1_000,
    pending_signals_max=3,
    history_events_max=8,
    history_bytes_max=1_000_000,
    number=0,
    cancel_grace_ms=500,
    parked_starts_max=3,
    decision_bytes_max=800_000,
    waits_max=100,
    queues=frozenset({"default"}),
)


def package(*, wakes_itself: bool = False) -> PackageRef:
    """Some archive."""
    return PackageRef(
        upload_id="u",
        first_offset=0,
        last_offset=0,
        chunks=1,
        archive_bytes=1,
        archive_digest="d" * 64,
        wakes_itself=wakes_itself,
    )


def routed(
    version: Version, epoch: int, *, types: tuple[WorkflowType, ...] = TYPES, wakes_itself: bool = False
) -> CatalogMarker:
    """A marker that loads the version and routes all its types to it."""
    return CatalogMarker(
        body=VersionRouted(
            namespace=DEFAULT,
            version=version,
            types=types,
            routed_types=types,
            route_epoch=epoch,
            package=package(wakes_itself=wakes_itself),
        )
    )


def marker_at(offset: int, marker: CatalogMarker) -> MarkerInput:
    """The marker, read."""
    return MarkerInput(offset=offset, marker=marker)


def start(
    command_id: str,
    workflow_type: str,
    *,
    workflow_id: WorkflowId = W1,
    version: Version | None = None,
    given_input: bytes | None = None,
    id_conflict: IdConflict = IdConflict.REJECT,
    run_timeout_ms: int | None = None,
) -> Command:
    """A start whose answer goes to partition 3 of the replies."""
    body = StartRun(
        workflow_type=WorkflowType(workflow_type),
        version=version,
        input=None if given_input is None else json_payload(given_input),
        id_conflict=id_conflict,
        run_timeout_ms=run_timeout_ms,
    )
    return command(command_id, body, workflow_id)


def cancel(command_id: str, reason: str | None = None, *, workflow_id: WorkflowId = W1) -> Command:
    """A wish to cancel the newest run."""
    return command(command_id, CancelRun(run_id=None, reason=reason), workflow_id)


def terminate(command_id: str, reason: str | None = None, *, workflow_id: WorkflowId = W1) -> Command:
    """A wish to terminate the newest run."""
    return command(command_id, TerminateRun(run_id=None, reason=reason), workflow_id)


def closing(version: Version, attempt: int) -> CatalogMarker:
    """Somebody wants to unload the version; reports go to partition 5 of the replies."""
    return CatalogMarker(body=VersionClosing(namespace=DEFAULT, version=version, attempt=attempt, reply_partition=5))


def kept(version: Version, attempt: int) -> CatalogMarker:
    """The attempt failed."""
    return CatalogMarker(body=VersionKept(namespace=DEFAULT, version=version, attempt=attempt))


def unloaded(version: Version, attempt: int) -> CatalogMarker:
    """The attempt succeeded."""
    return CatalogMarker(body=VersionUnloaded(namespace=DEFAULT, version=version, attempt=attempt))


def signal(
    command_id: str, name: str, payload: bytes | None = b"1", *, workflow_id: WorkflowId = W1, run_id: RunId | None = None
) -> Command:
    """A signal whose answer goes to partition 3 of the replies."""
    given: Payload | None = None if payload is None else json_payload(payload)
    return command(command_id, SignalRun(run_id=run_id, name=name, payload=given), workflow_id)


def command(command_id: str, body: CommandBody, workflow_id: WorkflowId = W1) -> Command:
    """Some command of namespace `default`."""
    return Command(command_id=CommandId(command_id), namespace=DEFAULT, workflow_id=workflow_id, reply_partition=3, body=body)


def command_at(offset: int, wish: Command) -> CommandInput:
    """The command, read."""
    return CommandInput(offset=offset, command=wish)


EMPTY = Partition(owner_epoch=0)
