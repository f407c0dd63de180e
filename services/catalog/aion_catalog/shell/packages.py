"""From a `PackageRef` to a verdict: fetch the archive's chunks, read the archive, load its modules in a throw-away VM.

Whatever is wrong with the package becomes a `Refused` with a sentence for its author, before anything is stored; what is
wrong with Kafka stays an `Unavailable`. A repeat is harmless and gives the same verdict.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import structlog

from aion_catalog.core.decision import Checked, Refused
from aion_common import limits
from aion_common.errors import BadPackage, Unavailable, VmDied
from aion_common.kafka.api import Log
from aion_common.kafka.topics import Topics
from aion_common.package.archive import Archive, read_archive
from aion_common.package.chunks import fetch_archive
from aion_common.package.manifest import Manifest
from aion_common.records.common import PackageRef, RunTimeout

logger = structlog.get_logger()

CheckPackage = Callable[[PackageRef], Awaitable[Checked | Refused]]
"""The checks as the loop sees them."""


class LoadReport(Protocol):
    """What loading the modules showed."""

    @property
    def wakes_itself(self) -> bool: ...

    @property
    def warnings(self) -> Sequence[str]: ...


LoadModules = Callable[[Sequence[tuple[str, bytes]]], Awaitable[LoadReport]]
"""Loads modules (name, BEAM file) in a VM of its own. Raises BadPackage; Unavailable or VmDied when it could not find out."""


async def check_package(log: Log, topics: Topics, load_modules: LoadModules, ref: PackageRef) -> Checked | Refused:
    """The verdict on an uploaded package. Raises Unavailable when Kafka cannot be asked."""
    try:
        content = await fetch_archive(log, topics, ref)
        archive = await asyncio.to_thread(read_archive, content)
        return await _checked(archive, load_modules)
    except BadPackage as error:
        logger.info("package refused", upload_id=ref.upload_id, reason=str(error))
        return Refused(reason=_cut(str(error), limits.REASON_BYTES_MAX))


async def _checked(archive: Archive, load_modules: LoadModules) -> Checked:
    report = await _load(archive, load_modules)
    return Checked(
        version=archive.version,
        manifest_digest=archive.manifest_digest,
        manifest_json=archive.manifest.canonical_json,
        types=tuple(entry.workflow_type for entry in archive.manifest.types()),
        wakes_itself=report.wakes_itself,
        warnings=_bounded(report.warnings),
        timeouts=_timeouts(archive.manifest),
    )


def _timeouts(manifest: Manifest) -> tuple[RunTimeout, ...]:
    """Of the types that have one. More than the longest that a start may ask for is as good as that."""
    return tuple(
        RunTimeout(workflow_type=entry.workflow_type, timeout_ms=min(entry.timeout_ms, limits.RUN_TIMEOUT_MS_MAX))
        for entry in manifest.types()
        if entry.timeout_ms is not None
    )


async def _load(archive: Archive, load_modules: LoadModules) -> LoadReport:
    """Load the modules; what looks like the machine's fault gets another try, and then counts against the package."""
    for tried in range(1, limits.PACKAGE_CHECK_TRIES_MAX + 1):
        try:
            return await load_modules(archive.modules)
        except (Unavailable, VmDied) as error:
            logger.warning("package check failed", version=archive.version, tried=tried, reason=str(error))
            failure = error
    raise BadPackage(f"the modules could not be checked ({failure}); deploy again when the cause is gone") from failure


def _bounded(warnings: Sequence[str]) -> tuple[str, ...]:
    shown = [_cut(warning, limits.PACKAGE_WARNING_BYTES_MAX) for warning in warnings[: limits.PACKAGE_WARNINGS_MAX]]
    if len(warnings) > len(shown):
        shown[-1] = f"and {len(warnings) - len(shown) + 1} more warnings"
    return tuple(shown)


def _cut(text: str, bytes_max: int) -> str:
    """The beginning of a text, for people; UTF-8 that stays UTF-8."""
    encoded = text.encode(errors="replace")
    return encoded[:bytes_max].decode(errors="ignore")
