"""What the owners report while a version is closing: one answer for each partition, from the replies of this catalog.

Owners report at least once, and to every attempt; so reports of other attempts, repeats, and replies to whoever else reads
the same partition are passed over. Who waits opens the replies before the owners are asked: no report can be missed.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aion_catalog.core.decision import Gathered
from aion_common import limits
from aion_common.clock import Clock
from aion_common.errors import BadRecord, Unavailable
from aion_common.kafka.api import Log, LogRecord, OffsetOutOfRange, Reader
from aion_common.kafka.reading import decode_learning
from aion_common.kafka.topics import Topics
from aion_common.metrics import SKIPPED_RECORDS
from aion_common.records.replies import PinsReported, Reply


class Reports:
    """What comes to one partition of the replies from now on."""

    def __init__(self, log: Log, topics: Topics, partition: int, reader: Reader) -> None:
        self._log = log
        self._topics = topics
        self._partition = partition
        self._reader = reader

    async def gather(self, clock: Clock, attempt: int, partitions: int) -> Gathered:
        """The reports of every command partition on this attempt, as far as they come within limits.PINS_WAIT_MS. Raises
        Unavailable."""
        deadline_ms = clock.now_ms() + limits.PINS_WAIT_MS
        silent = set(range(partitions))
        reports: dict[int, PinsReported] = {}
        while silent:
            for record in await self._read():
                report = await self._report(record)
                if report is not None and report.attempt == attempt and report.partition in silent:
                    reports[report.partition] = report
                    silent.remove(report.partition)
            if clock.now_ms() >= deadline_ms:
                break
        return Gathered(reports=reports, silent=tuple(sorted(silent)))

    async def _read(self) -> list[LogRecord]:
        try:
            read = await self._reader.read(wait_ms=limits.READ_POLL_MS, records_max=limits.TAIL_RECORDS_MAX)
        except OffsetOutOfRange as error:
            raise Unavailable(f"reports are gone: {error}") from error
        return list(read.get(self._partition, ()))

    async def _report(self, record: LogRecord) -> PinsReported | None:
        try:
            reply = await decode_learning(self._log, self._topics, record.value)
        except BadRecord:
            SKIPPED_RECORDS.labels(self._topics.replies).inc()
            return None
        return reply.answer if isinstance(reply, Reply) and isinstance(reply.answer, PinsReported) else None


@asynccontextmanager
async def reports_from_now(log: Log, topics: Topics, partition: int) -> AsyncIterator[Reports]:
    """Every report that is sent to this partition after the block was entered. Raises Unavailable."""
    reader = await log.reader(topics.replies)
    try:
        reader.assign({partition: await log.end_offset(topics.replies, partition)})
        yield Reports(log, topics, partition, reader)
    finally:
        await reader.close()
