"""From a `PackageRef` to a verdict: fetch the archive's chunks, read the archive, load its modules in a throw-away VM.

Whatever is wrong with the package becomes a `Refused` with a sentence for its author, before anything is stored; what is
wrong with Kafka stays an `Unavailable`. A repeat is harmless and gives the same verdict.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Protocol

import structlog
from blake3 import blake3

from aion_catalog.core.decide import Checked, Refused
from aion_catalog.shell.reading import PARTITION, decode_learning, records_between
from aion_common import limits
from aion_common.errors import BadPackage, BadRecord, Unavailable, VmDied
from aion_common.kafka.api import Log
from aion_common.kafka.topics import Topics
from aion_common.package.archive import Archive, read_archive
from aion_common.records.catalog import PackageChunk
from aion_common.records.common import PackageRef

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


async def fetch_archive(log: Log, topics: Topics, ref: PackageRef) -> bytes:
    """The bytes of an uploaded archive, exactly those that were uploaded.

    Raises BadPackage when the chunks at that place are not what `ref` says.
    """
    if not 0 < ref.archive_bytes <= limits.ARCHIVE_BYTES_MAX:
        raise BadPackage(f"the archive has {ref.archive_bytes} bytes; 1 to {limits.ARCHIVE_BYTES_MAX} are allowed")
    first = max(ref.first_offset, await log.beginning_offset(topics.packages, PARTITION))
    end = min(ref.last_offset + 1, await log.end_offset(topics.packages, PARTITION))
    chunks: dict[int, bytes] = {}
    prefix = f"chunk/{ref.upload_id}/".encode()
    async with aclosing(records_between(log, topics.packages, first, end)) as portions:
        async for records in portions:
            for record in records:
                if record.key is not None and record.key.startswith(prefix):
                    chunk = await _chunk(log, topics, record.value)
                    chunks[chunk.index] = chunk.content
            if sum(map(len, chunks.values())) > ref.archive_bytes:
                raise BadPackage("the uploaded chunks hold more than the archive; upload it again")
    return _joined(ref, chunks)


async def _chunk(log: Log, topics: Topics, value: bytes | None) -> PackageChunk:
    try:
        record = await decode_learning(log, topics, value)
    except BadRecord as error:
        raise BadPackage(f"an uploaded chunk cannot be read ({error}); upload the archive again") from error
    if not isinstance(record, PackageChunk):
        raise BadPackage("something that is not a chunk stands among the uploaded chunks; upload the archive again")
    return record


def _joined(ref: PackageRef, chunks: Mapping[int, bytes]) -> bytes:
    if len(chunks) != ref.chunks or any(index not in chunks for index in range(len(chunks))):
        raise BadPackage(f"{len(chunks)} of the archive's {ref.chunks} uploaded chunks were found; upload it again")
    content = b"".join(chunks[index] for index in range(ref.chunks))
    if len(content) != ref.archive_bytes or blake3(content).hexdigest() != ref.archive_digest:
        raise BadPackage("the uploaded chunks are not the archive that was sent; upload it again")
    return content


async def _checked(archive: Archive, load_modules: LoadModules) -> Checked:
    report = await _load(archive, load_modules)
    return Checked(
        version=archive.version,
        manifest_digest=archive.manifest_digest,
        manifest_json=archive.manifest.canonical_json,
        types=tuple(entry.workflow_type for entry in archive.manifest.types()),
        wakes_itself=report.wakes_itself,
        warnings=_bounded(report.warnings),
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
