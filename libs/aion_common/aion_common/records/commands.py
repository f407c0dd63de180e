"""What is written to `aion.commands`: wishes of clients, and the catalog's markers."""

from enum import StrEnum

from msgspec import Struct

from aion_common.ids import CommandId, Namespace, RunId, Version, WorkflowId, WorkflowType
from aion_common.records.common import PackageRef, Payload, RunTimeout


class IdConflict(StrEnum):
    """What a start means while another run of its workflow id is open."""

    REJECT = "reject"
    USE_EXISTING = "use_existing"
    TERMINATE_EXISTING = "terminate_existing"


class StartRun(Struct, frozen=True, kw_only=True, gc=False):
    """Start a run; `version` None means: the one routed at this command's position in the log. `run_timeout_ms` None: what
    the package says."""

    workflow_type: WorkflowType
    version: Version | None
    input: Payload | None
    id_conflict: IdConflict
    run_timeout_ms: int | None = None


class SignalRun(Struct, frozen=True, kw_only=True, gc=False):
    """Give a signal to the named run, or with `run_id` None to the newest run of the workflow id."""

    run_id: RunId | None
    name: str
    payload: Payload | None


class CancelRun(Struct, frozen=True, kw_only=True, gc=False):
    """Ask the run (see `SignalRun`) to end; it may clean up for `limits.CANCEL_GRACE_MS`."""

    run_id: RunId | None
    reason: str | None


class TerminateRun(Struct, frozen=True, kw_only=True, gc=False):
    """End the run (see `SignalRun`) here and now."""

    run_id: RunId | None
    reason: str | None


CommandBody = StartRun | SignalRun | CancelRun | TerminateRun


class Command(Struct, frozen=True, kw_only=True, gc=False):
    """A wish about one workflow id. The answer goes to `reply_partition` of `aion.replies`; None: nobody waits."""

    command_id: CommandId
    namespace: Namespace
    workflow_id: WorkflowId
    reply_partition: int | None
    body: CommandBody


class VersionRouted(Struct, frozen=True, kw_only=True, gc=False):
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
    timeouts: tuple[RunTimeout, ...] = ()


class VersionClosing(Struct, frozen=True, kw_only=True, gc=False):
    """Somebody wants to unload the version. From this position on every start that names it is parked, and the owner answers
    with a `PinsReported` to `reply_partition`. `attempt` grows with every attempt to unload anything in the cluster; one
    that is not larger than one already applied repeats it."""

    namespace: Namespace
    version: Version
    attempt: int
    reply_partition: int


class VersionKept(Struct, frozen=True, kw_only=True, gc=False):
    """The attempt failed: what was parked is decided, the version being loaded."""

    namespace: Namespace
    version: Version
    attempt: int


class VersionUnloaded(Struct, frozen=True, kw_only=True, gc=False):
    """The attempt succeeded: the version is not loaded any more; what was parked is decided, and refused."""

    namespace: Namespace
    version: Version
    attempt: int


MarkerBody = VersionRouted | VersionClosing | VersionKept | VersionUnloaded


class CatalogMarker(Struct, frozen=True, kw_only=True, gc=False):
    """A record of the catalog in every partition of `aion.commands`, written in the transaction of its own event."""

    body: MarkerBody


CommandRecord = Command | CatalogMarker
