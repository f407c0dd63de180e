"""Small values that several kinds of records hold."""

from msgspec import Struct

from aion_common.ids import WorkflowType


class Payload(Struct, frozen=True, kw_only=True, gc=False):
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
