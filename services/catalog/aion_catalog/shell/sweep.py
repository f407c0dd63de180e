"""Uploads that nobody loaded: chunks in `aion.packages` that no loaded version names and that are older than a day.

Gateways upload before they ask for a load, so a gateway or client that dies, and every refused package, leaves chunks
behind. The elected catalog looks for them a portion at a time, whenever no command waits, and deletes them in transactions
of its own: one that is no longer elected deletes nothing. A repeat is harmless.
"""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field

import structlog

from aion_catalog.core.state import CatalogState
from aion_catalog.shell import PARTITION
from aion_common import limits
from aion_common.clock import Clock
from aion_common.errors import Unavailable
from aion_common.kafka.api import Log, LogRecord, Write
from aion_common.kafka.reading import records_between
from aion_common.kafka.topics import Topics
from aion_common.package.chunks import upload_of

logger = structlog.get_logger()


@dataclass(slots=True)
class _Upload:
    """Its chunks that are not deleted, by key, and when the newest was written."""

    newest_ms: int = 0
    keys: set[bytes] = field(default_factory=set)


class Sweep:
    """One walk through the topic after the other, the first at once. For one asyncio task at a time."""

    def __init__(self, log: Log, topics: Topics, clock: Clock) -> None:
        self._log = log
        self._topics = topics
        self._clock = clock
        self._due_ms = clock.now_ms()
        self._portions: AsyncGenerator[Sequence[LogRecord], None] | None = None
        self._uploads: dict[str, _Upload] = {}
        self._stale: list[tuple[str, bytes]] = []

    async def step(self, state: CatalogState) -> Sequence[Write]:
        """A little of the work; what to delete now, if there is anything. A topic that cannot be read to its end is tried again
        next time: deploys do not wait for it."""
        if self._stale:
            return self._deletions(state)
        if self._portions is None and self._clock.now_ms() < self._due_ms:
            return ()
        try:
            await self._go_on()
        except Unavailable as error:
            logger.warning("uploads not swept", reason=str(error))
            self._uploads, self._portions = {}, None
            self._due_ms = self._clock.now_ms() + limits.SWEEP_EVERY_MS
        return ()

    async def _go_on(self) -> None:
        if self._portions is None:
            self._portions = await self._begin()
        if (records := await anext(self._portions, None)) is not None:
            self._look_at(records)
        else:
            self._end()

    async def close(self) -> None:
        """Harmless to repeat."""
        if self._portions is not None:
            await self._portions.aclose()

    async def _begin(self) -> AsyncGenerator[Sequence[LogRecord], None]:
        first = await self._log.beginning_offset(self._topics.packages, PARTITION)
        end = await self._log.end_offset(self._topics.packages, PARTITION)
        return records_between(self._log, self._topics.packages, first, end)

    def _look_at(self, records: Sequence[LogRecord]) -> None:
        for record in records:
            upload_id = upload_of(record.key)
            if record.key is None or upload_id is None:
                continue
            upload = self._uploads.setdefault(upload_id, _Upload())
            if record.value is None:
                upload.keys.discard(record.key)
            else:
                upload.keys.add(record.key)
                upload.newest_ms = max(upload.newest_ms, record.timestamp_ms)

    def _end(self) -> None:
        now_ms = self._clock.now_ms()
        uploads, self._uploads, self._portions = self._uploads, {}, None
        self._due_ms = now_ms + limits.SWEEP_EVERY_MS
        self._stale = [
            (upload_id, key)
            for upload_id, upload in uploads.items()
            if now_ms - upload.newest_ms > limits.UPLOAD_KEPT_MS
            for key in sorted(upload.keys)
        ]

    def _deletions(self, state: CatalogState) -> Sequence[Write]:
        """The next of what was found, as far as nothing was loaded from it since."""
        named = {loaded.package.upload_id for loaded in state.versions.values()}
        looked_at, self._stale = self._stale[: limits.SWEPT_CHUNKS_MAX], self._stale[limits.SWEPT_CHUNKS_MAX :]
        return [
            Write(topic=self._topics.packages, partition=PARTITION, key=key, value=None)
            for upload_id, key in looked_at
            if upload_id not in named
        ]
