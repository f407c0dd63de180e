"""Packages of the versions that runs need: from disk, else from `aion.packages`.

The disk cache is keyed by the archive's digest and shared by all partitions of the executor; a file that is not what its
name says is fetched again.
"""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import structlog
from blake3 import blake3

from aion_beam.pool import Package, PackageKey
from aion_common.errors import BadPackage, Unavailable
from aion_common.kafka.api import Log
from aion_common.kafka.topics import Topics
from aion_common.package.archive import read_archive
from aion_common.package.chunks import fetch_archive
from aion_common.records.common import PackageRef

_log = structlog.get_logger(__name__)

FindRef = Callable[[PackageKey], PackageRef | None]
"""Where a loaded version's archive lies, as the owned partitions know it."""


class PackageShelf:
    """The packages of one executor. See `aion_beam.pool.PackageSource`."""

    def __init__(self, log: Log, topics: Topics, folder: Path, find_ref: FindRef) -> None:
        self._log = log
        self._topics = topics
        self._folder = folder
        self._find_ref = find_ref

    async def fetch(self, key: PackageKey) -> Package:
        """The package of a loaded version. Raises Unavailable (not reachable, or not known here now) and BadPackage."""
        ref = self._find_ref(key)
        if ref is None:
            raise Unavailable(f"version {key.version} is not known to any partition owned here")
        content = await asyncio.to_thread(self._from_disk, ref)
        if content is None:
            content = await self._from_log(ref)
            await asyncio.to_thread(self._keep, ref, content)
        archive = await asyncio.to_thread(read_archive, content)
        if archive.version != key.version:
            raise BadPackage(f"the archive of {key.version} holds version {archive.version}")
        entries = {entry.workflow_type: (entry.module, entry.function) for entry in archive.manifest.types()}
        return Package(modules=archive.modules, entries=entries)

    async def _from_log(self, ref: PackageRef) -> bytes:
        try:
            return await fetch_archive(self._log, self._topics, ref)
        except (BadPackage, Unavailable) as error:
            # The archive's owner, or another executor, may still have it.
            remedy = f"or put the archive there as {self._path(ref)}"
            raise type(error)(f"{error}; {remedy}") from error

    def _path(self, ref: PackageRef) -> Path:
        return self._folder / f"{ref.archive_digest}.aion"

    def _from_disk(self, ref: PackageRef) -> bytes | None:
        try:
            content = self._path(ref).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            _log.warning("package not read from disk", path=str(self._path(ref)), reason=str(error))
            return None
        return content if blake3(content).hexdigest() == ref.archive_digest else None

    def _keep(self, ref: PackageRef, content: bytes) -> None:
        """For the next time: a full disk is no reason not to run it now."""
        unfinished = self._folder / f"{ref.archive_digest}.{os.getpid()}.part"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            unfinished.write_bytes(content)
            unfinished.replace(self._path(ref))
        except OSError as error:
            _log.warning("package not kept on disk", path=str(self._path(ref)), reason=str(error))
