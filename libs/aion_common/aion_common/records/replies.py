"""What is written to `aion.replies`: answers to commands, refusals included."""

from enum import StrEnum

from msgspec import Struct

from aion_common.ids import CommandId, RunId, Version, WorkflowId, WorkflowType


class RejectionCode(StrEnum):
    """The stable word a client can match on; the gateway maps each to one HTTP status."""

    INVALID_ARGUMENT = "invalid_argument"
    INVALID_PACKAGE = "invalid_package"
    PAYLOAD_TOO_LARGE = "payload_too_large"
    NOT_FOUND = "not_found"
    UNKNOWN_WORKFLOW_TYPE = "unknown_workflow_type"
    UNKNOWN_VERSION = "unknown_version"
    ALREADY_STARTED = "already_started"
    CLOSED = "closed"
    MANIFEST_MISMATCH = "manifest_mismatch"
    ROUTE_ACTIVE = "route_active"
    VERSION_PINNED = "version_pinned"
    QUERY_FAILED = "query_failed"
    QUERY_TIMEOUT = "query_timeout"
    SHUTTING_DOWN = "shutting_down"
    OVERLOADED = "overloaded"
    UNAVAILABLE = "unavailable"


class PinKind(StrEnum):
    """Why something still needs a version: an open run resident in a VM; one that is not; the start of a child that is
    recorded and not acknowledged."""

    LIVE_RUN = "live_run"
    RECOVERABLE_RUN = "recoverable_run"
    RECORDED_CHILD = "recorded_child"


class Pin(Struct, frozen=True, kw_only=True, gc=False):
    """One run that still needs a version."""

    kind: PinKind
    workflow_id: WorkflowId
    run_id: RunId


class Rejection(Struct, frozen=True, kw_only=True, gc=False):
    """A refusal. Beside code and reason only the fields that the code defines are set (design 9)."""

    code: RejectionCode
    reason: str
    field: str | None = None
    run_id: RunId | None = None
    status: str | None = None
    loaded: tuple[Version, ...] | None = None
    limit_bytes: int | None = None
    workflow_type: WorkflowType | None = None
    version: Version | None = None
    pins_total: int | None = None
    pins: tuple[Pin, ...] | None = None


class StartAccepted(Struct, frozen=True, kw_only=True, gc=False):
    """`RunStarted` is in the log; `created` False: an open run was there and `use_existing` allowed it."""

    run_id: RunId
    version: Version
    created: bool


class SignalAccepted(Struct, frozen=True, kw_only=True, gc=False):
    """`SignalReceived` is in the log as event `seq` of the run."""

    run_id: RunId
    seq: int


class LoadedType(Struct, frozen=True, kw_only=True, gc=False):
    """One workflow type of a loaded version, as first recorded: a repeated load returns the same values."""

    workflow_type: WorkflowType
    version: Version
    manifest_digest: str
    deployed_at: int


class PackageAccepted(Struct, frozen=True, kw_only=True, gc=False):
    """The version is loaded and routed. Both flags False: nothing changed."""

    records: tuple[LoadedType, ...]
    freshly_loaded: bool
    route_changed: bool
    warnings: tuple[str, ...]


class RouteAccepted(Struct, frozen=True, kw_only=True, gc=False):
    """New starts of the type run on `version`. `route_changed` False: they did already."""

    workflow_type: WorkflowType
    version: Version
    previous_version: Version | None
    route_epoch: int
    route_changed: bool


class CancelAccepted(Struct, frozen=True, kw_only=True, gc=False):
    """`RunCancelRequested` is in the log as event `seq` of the run: of a repeat, the first one."""

    run_id: RunId
    seq: int


class TerminateAccepted(Struct, frozen=True, kw_only=True, gc=False):
    """`RunTerminated` is in the log as event `seq` of the run."""

    run_id: RunId
    seq: int


class PinCount(Struct, frozen=True, kw_only=True, gc=False):
    """How many pins of a kind there are."""

    kind: PinKind
    number: int


class PinsReported(Struct, frozen=True, kw_only=True, gc=False):
    """What pins a version in one partition, exact at the position of the `VersionClosing` with this attempt. `counts`: of the
    kinds there are; `pins`: the first `limits.PINS_NAMED_MAX`."""

    partition: int
    attempt: int
    counts: tuple[PinCount, ...]
    pins: tuple[Pin, ...]


class UnloadAccepted(Struct, frozen=True, kw_only=True, gc=False):
    """The version is not loaded any more, on any owner."""

    version: Version


Answer = (
    StartAccepted
    | SignalAccepted
    | CancelAccepted
    | TerminateAccepted
    | PackageAccepted
    | RouteAccepted
    | PinsReported
    | UnloadAccepted
    | Rejection
)


class Reply(Struct, frozen=True, kw_only=True, gc=False):
    """The answer to one command. May arrive more than once; every repeat is the same."""

    command_id: CommandId
    answer: Answer
