"""What is written to `aion.replies`: answers to commands, refusals included."""

from dataclasses import dataclass
from enum import StrEnum

from aion_common.ids import CommandId, RunId, Version, WorkflowType


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
    OVERLOADED = "overloaded"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
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


@dataclass(frozen=True, slots=True, kw_only=True)
class StartAccepted:
    """`RunStarted` is in the log; `created` False: an open run was there and `use_existing` allowed it."""

    run_id: RunId
    version: Version
    created: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalAccepted:
    """`SignalReceived` is in the log as event `seq` of the run."""

    run_id: RunId
    seq: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedType:
    """One workflow type of a loaded version, as first recorded: a repeated load returns the same values."""

    workflow_type: WorkflowType
    version: Version
    manifest_digest: str
    deployed_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageAccepted:
    """The version is loaded and routed. Both flags False: nothing changed."""

    records: tuple[LoadedType, ...]
    freshly_loaded: bool
    route_changed: bool
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteAccepted:
    """New starts of the type run on `version`. `route_changed` False: they did already."""

    workflow_type: WorkflowType
    version: Version
    previous_version: Version | None
    route_epoch: int
    route_changed: bool


Answer = StartAccepted | SignalAccepted | PackageAccepted | RouteAccepted | Rejection


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """The answer to one command. May arrive more than once; every repeat is the same."""

    command_id: CommandId
    answer: Answer
