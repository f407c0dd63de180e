"""Values that the catalog's tests start from, and one line of given/when: state after commands decided in order."""

from collections.abc import Sequence

from msgspec.structs import replace

from aion_catalog.core.apply import fold
from aion_catalog.core.decide import decide
from aion_catalog.core.decision import Checked, Decision, Facts, Refused
from aion_catalog.core.state import CatalogState
from aion_common.ids import CommandId, Namespace, Version, WorkflowType
from aion_common.records.catalog import (
    CatalogCommand,
    CatalogCommandBody,
    CatalogEvent,
    CatalogRecord,
    LoadPackage,
    RouteType,
    UnloadVersion,
)
from aion_common.records.commands import CatalogMarker, VersionRouted
from aion_common.records.common import PackageRef, RunTimeout

DEFAULT = Namespace("default")
ORDER = WorkflowType("order")
REFUND = WorkflowType("refund")
V1 = Version("1" * 64)
V2 = Version("2" * 64)
NOW_MS = 1_000

UPLOADED = PackageRef(
    upload_id="upload-1",
    first_offset=3,
    last_offset=4,
    chunks=2,
    archive_bytes=700_000,
    archive_digest="a" * 64,
    wakes_itself=False,
)


def checked(
    version: Version = V1,
    *,
    digest: str = "d1",
    types: Sequence[WorkflowType] = (ORDER,),
    warnings: Sequence[str] = (),
    timeouts: Sequence[RunTimeout] = (),
) -> Checked:
    """A package that passed its checks."""
    return Checked(
        version=version,
        manifest_digest=digest,
        manifest_json=b"{}",
        types=tuple(types),
        wakes_itself=True,
        warnings=tuple(warnings),
        timeouts=tuple(timeouts),
    )


def load(command_id: str, namespace: Namespace = DEFAULT, package: PackageRef = UPLOADED) -> CatalogCommand:
    """A load of an uploaded archive."""
    return command(command_id, LoadPackage(package=package), namespace)


def route(command_id: str, workflow_type: WorkflowType, version: Version, namespace: Namespace = DEFAULT) -> CatalogCommand:
    """A wish to route a type to a version."""
    return command(command_id, RouteType(workflow_type=workflow_type, version=version), namespace)


def unload(command_id: str, version: Version, namespace: Namespace = DEFAULT) -> CatalogCommand:
    """A wish to remove a version."""
    return command(command_id, UnloadVersion(version=version), namespace)


def command(command_id: str, body: CatalogCommandBody, namespace: Namespace = DEFAULT) -> CatalogCommand:
    """A command whose answer goes to partition 5 of the replies."""
    return CatalogCommand(command_id=CommandId(command_id), namespace=namespace, reply_partition=5, body=body)


def facts(state: CatalogState, package: Checked | Refused | None = None, *, now_ms: int = NOW_MS) -> Facts:
    """The facts of the next command in the topic."""
    return Facts(now_ms=now_ms, offset=state.commands_next, package=package)


def decided(
    state: CatalogState, wish: CatalogCommand, package: Checked | Refused | None = None, *, now_ms: int = NOW_MS
) -> tuple[Decision, CatalogState]:
    """One command decided and folded in."""
    decision = decide(state, wish, facts(state, package, now_ms=now_ms))
    return decision, after(state, *decision.events, now_ms=now_ms)


def after(state: CatalogState, *events: CatalogEvent, now_ms: int = NOW_MS) -> CatalogState:
    """The state after events of this time."""
    return fold(state, (CatalogRecord(recorded_at=now_ms, event=event) for event in events))


def routed_by(marker: CatalogMarker) -> VersionRouted:
    """A marker of a load or a route."""
    assert isinstance(marker.body, VersionRouted), marker
    return marker.body


def after_loads(*packages: Checked) -> CatalogState:
    """A state in which these packages were loaded one after the other, by commands `given-0`, `given-1`, ..."""
    state = CatalogState()
    for number, package in enumerate(packages):
        _, state = decided(state, load(f"given-{number}"), package)
    return state


def anywhere(command_: CatalogCommand, reply_partition: int | None) -> CatalogCommand:
    """The same command, answered to another partition."""
    return replace(command_, reply_partition=reply_partition)
