"""Small values that several kinds of records hold."""

from enum import StrEnum

from msgspec import Struct

from aion_common.ids import WorkflowType


class Payload(Struct, frozen=True, kw_only=True, array_like=True, gc=False):
    """User data, opaque to the engine: never parsed between the edge that took it in and the one that gives it out."""

    content_type: str
    data: bytes


JSON = "application/json"


def json_payload(text: bytes) -> Payload:
    """A payload that holds UTF-8 JSON text."""
    return Payload(content_type=JSON, data=text)


class RunTimeout(Struct, frozen=True, kw_only=True, gc=False):
    """How long runs of a workflow type may take, if their start does not say otherwise."""

    workflow_type: WorkflowType
    timeout_ms: int


class PackageRef(Struct, frozen=True, kw_only=True, gc=False):
    """Where a package's archive lies in `aion.packages`, and what an owner must know before it has fetched it.

    The chunks `chunk/<upload_id>/0 .. chunks-1` stand between the two offsets (both inclusive; other records may stand
    between them). `archive_digest` is the lowercase hex BLAKE3 of the archive's bytes. `wakes_itself`: some module waits
    with a time-out of its own, so a run that waits in a plain `receive` may go on without any input.
    """

    upload_id: str
    first_offset: int
    last_offset: int
    chunks: int
    archive_bytes: int
    archive_digest: str
    wakes_itself: bool


class Backoff(StrEnum):
    """How the pause before an activity's next attempt grows: not at all, by `initial_ms` each time, or twofold."""

    FIXED = "fixed"
    LINEAR = "linear"
    EXPONENTIAL = "exponential"


class RetryPolicy(Struct, frozen=True, kw_only=True, array_like=True, gc=False):
    """`attempts`: at most so many; None: as many as schedule-to-close permits. Pauses are at most `max_ms`, shorter by up to
    `jitter_percent`. Failures of a kind in `non_retryable` are final."""

    attempts: int | None
    backoff: Backoff
    initial_ms: int
    max_ms: int
    jitter_percent: int
    non_retryable: tuple[str, ...]


class ActivityTimeouts(Struct, frozen=True, kw_only=True, array_like=True, gc=False):
    """In milliseconds. `schedule_to_close_ms` is of all attempts and the pauses between, the others of each attempt."""

    schedule_to_start_ms: int | None
    start_to_close_ms: int | None
    schedule_to_close_ms: int
    heartbeat_ms: int | None
