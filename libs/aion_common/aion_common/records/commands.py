"""What is written to `aion.commands`: wishes of clients, and the catalog's markers."""

from dataclasses import dataclass
from enum import StrEnum

from aion_common.ids import CommandId, Namespace, RunId, Version, WorkflowId, WorkflowType
from aion_common.records.common import PackageRef, Payload


class IdConflict(StrEnum):
    """What a start means while another run of its workflow id is open."""

    REJECT = "reject"
    USE_EXISTING = "use_existing"


@dataclass(frozen=True, slots=True, kw_only=True)
class StartRun:
    """Start a run; `version` None means: the one routed at this command's position in the log."""

    workflow_type: WorkflowType
    version: Version | None
    input: Payload | None
    id_conflict: IdConflict


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalRun:
    """Give a signal to the named run, or with `run_id` None to the newest run of the workflow id."""

    run_id: RunId | None
    name: str
    payload: Payload | None


CommandBody = StartRun | SignalRun


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A wish about one workflow id. The answer goes to `reply_partition` of `aion.replies`; None: nobody waits."""

    command_id: CommandId
    namespace: Namespace
    workflow_id: WorkflowId
    reply_partition: int | None
    body: CommandBody


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionRouted:
    """`version` is loaded and new starts of `routed_types` run on it, from this position of the partition on.

    `types` are all workflow types the version provides (also startable by naming the version). `route_epoch` grows with
    every flip in the cluster; a marker whose epoch is not larger than one already applied repeats it.
    """

    namespace: Namespace
    version: Version
    types: tuple[WorkflowType, ...]
    routed_types: tuple[WorkflowType, ...]
    route_epoch: int
    package: PackageRef


MarkerBody = VersionRouted


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogMarker:
    """A record of the catalog in every partition of `aion.commands`, written in the transaction of its own event."""

    body: MarkerBody


CommandRecord = Command | CatalogMarker
