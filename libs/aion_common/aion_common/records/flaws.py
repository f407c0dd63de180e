"""What is wrong with a command that was read from a topic: somebody else than our gateways may have written it.

A record that can be decoded may still hold an id that no store has room for, or a name that is a path. Whoever decides
commands asks here first, and takes one with a flaw for a record that is none of ours. Pure; a gateway is stricter.
"""

import re
from collections.abc import Iterator

from aion_common.limits import COMMAND_ID_BYTES_MAX, NAME_BYTES_MAX, REASON_BYTES_MAX, RUN_TIMEOUT_MS_MAX
from aion_common.records.catalog import CatalogCommand, LoadPackage, RouteType
from aion_common.records.commands import CatalogMarker, Command, SignalRun, StartRun, VersionRouted
from aion_common.records.common import PackageRef, Payload, RunTimeout
from aion_common.records.tasks import TaskCompleted, TaskFailed, TaskHeartbeat, TaskReport

_NAMESPACE = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_RUN_ID = re.compile(r"[0-9a-f]{32}")
_HASH = re.compile(r"[0-9a-f]{64}")
_INT_MAX = 2**62
"""Offsets and epochs end far below; above it arithmetic leaves the 64 bits that stores and schemas have."""


def flaw_of(record: Command | CatalogCommand | CatalogMarker) -> str | None:
    """The first thing wrong with the record, in words; None: it may be decided."""
    return next(_flaws_of_marker(record) if isinstance(record, CatalogMarker) else _flaws_of_command(record), None)


def flaw_of_report(report: TaskReport) -> str | None:
    """As `flaw_of`, for what a worker tells."""
    return next(_flaws_of_report(report), None)


def _flaws_of_report(report: TaskReport) -> Iterator[str]:
    yield from _namespace(report.namespace)
    yield from _name("workflow id", report.workflow_id)
    if not _RUN_ID.fullmatch(report.run_id):
        yield "the run id is not 32 hexadecimal digits"
    if not (0 < report.activity < _INT_MAX and 0 < report.attempt < _INT_MAX):
        yield "the number of the activity or attempt cannot be"
    yield from _name("name of the worker", report.worker)
    match report.body:
        case TaskCompleted(result=payload) | TaskHeartbeat(details=payload):
            yield from _payload(payload)
        case TaskFailed(failure=failure):
            yield from _name("kind of failure", failure.kind)
            yield from _payload(failure.details)
        case _:
            pass


def _flaws_of_command(record: Command | CatalogCommand) -> Iterator[str]:
    if not 1 <= _size(record.command_id) <= COMMAND_ID_BYTES_MAX:
        yield f"the command id has {_size(record.command_id)} bytes, 1 to {COMMAND_ID_BYTES_MAX} are allowed"
    yield from _namespace(record.namespace)
    if isinstance(record, CatalogCommand):
        yield from _flaws_of_deploy(record)
        return
    yield from _name("workflow id", record.workflow_id)
    match record.body:
        case StartRun() as start:
            yield from _name("workflow type", start.workflow_type)
            yield from () if start.version is None else _hash("version", start.version)
            yield from () if start.run_timeout_ms is None else _timeout(start.run_timeout_ms)
            yield from _payload(start.input)
            return
        case SignalRun() as signal:
            yield from _name("signal name", signal.name)
            yield from _payload(signal.payload)
        case ending if _size(ending.reason or "") > REASON_BYTES_MAX:
            yield f"the reason has more than {REASON_BYTES_MAX} bytes"
    if record.body.run_id is not None and not _RUN_ID.fullmatch(record.body.run_id):
        yield "the run id is not 32 hexadecimal digits"


def _flaws_of_deploy(command: CatalogCommand) -> Iterator[str]:
    match command.body:
        case LoadPackage(package=package):
            yield from _package(package)
        case RouteType(workflow_type=workflow_type, version=version):
            yield from _name("workflow type", workflow_type)
            yield from _hash("version", version)
        case unload:
            yield from _hash("version", unload.version)


def _flaws_of_marker(marker: CatalogMarker) -> Iterator[str]:
    body = marker.body
    yield from _namespace(body.namespace)
    yield from _hash("version", body.version)
    if isinstance(body, VersionRouted):
        for workflow_type in (*body.types, *body.routed_types):
            yield from _name("workflow type", workflow_type)
        yield from _package(body.package)
        yield from _timeouts(body.timeouts)
    if not 0 <= (body.route_epoch if isinstance(body, VersionRouted) else body.attempt) < _INT_MAX:
        yield "its number cannot be"


def _package(package: PackageRef) -> Iterator[str]:
    yield from _name("upload id", package.upload_id)
    yield from _hash("digest of the archive", package.archive_digest)
    if not 0 <= package.first_offset <= package.last_offset < _INT_MAX:
        yield "the archive's place cannot be"


def _timeouts(timeouts: tuple[RunTimeout, ...]) -> Iterator[str]:
    for timeout in timeouts:
        yield from _timeout(timeout.timeout_ms)


def _timeout(timeout_ms: int) -> Iterator[str]:
    if not 1 <= timeout_ms <= RUN_TIMEOUT_MS_MAX:
        yield f"a time-out of {timeout_ms} ms, 1 to {RUN_TIMEOUT_MS_MAX} are allowed"


def _payload(payload: Payload | None) -> Iterator[str]:
    if payload is not None:
        yield from _name("content type", payload.content_type)


def _namespace(text: str) -> Iterator[str]:
    if not _NAMESPACE.fullmatch(text):
        yield "the namespace is none"


def _hash(what: str, text: str) -> Iterator[str]:
    if not _HASH.fullmatch(text):
        yield f"the {what} is not 64 hexadecimal digits"


def _name(what: str, text: str) -> Iterator[str]:
    if not 1 <= _size(text) <= NAME_BYTES_MAX:
        yield f"the {what} has {_size(text)} bytes, 1 to {NAME_BYTES_MAX} are allowed"
    elif not text.isprintable():
        yield f"the {what} holds characters that cannot be printed"


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode(errors="replace"))
