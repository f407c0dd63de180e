"""A worker's place in the group of its queue: which partitions it reads, from where on, and what it commits.

Partitions that stay are not disturbed when the group divides anew. Of those that go, what is under way here is finished and
reported, but no longer committed: their next holder executes it once more. Nothing here raises because Kafka is away.
"""

import asyncio
from collections.abc import Mapping, Sequence

import structlog

from aion_common.errors import Unavailable
from aion_common.kafka.api import Log, LogRecord, Membership, OffsetOutOfRange, Reader
from aion_worker import bounds
from aion_worker.progress import PartitionProgress

logger = structlog.get_logger()


class Place:
    """`read` is for one asyncio task, `commit` for another one."""

    def __init__(self, log: Log, topic: str, reader: Reader) -> None:
        self._log = log
        self._topic = topic
        self._reader = reader
        self._membership: Membership | None = None
        self._told: frozenset[int] = frozenset()
        self._gone: set[int] = set()
        self._held: dict[int, PartitionProgress] = {}
        self._waiting: set[int] = set()

    async def join(self, group: str, member_id: str, session_ms: int) -> None:
        """Raises Unavailable and WrongCluster."""
        self._membership = await self._log.membership(group, self._topic, member_id, session_ms, self._assigned)

    async def failed(self) -> None:
        """Wait until the place is lost for good, and raise why."""
        await self._member.failed()

    async def read(self, records_max: int) -> Sequence[tuple[PartitionProgress, LogRecord]]:
        """The next records, which are begun by being read. Waits bounds.WORKER_POLL_MS at most."""
        try:
            if self._gone or self._told != self._held.keys():
                await self._move()
            self._hold_back()
            read = await self._reader.read(wait_ms=bounds.WORKER_POLL_MS, records_max=records_max)
        except OffsetOutOfRange as error:
            await self._go_on_behind(error)
            return ()
        except Unavailable as error:
            logger.warning("tasks not readable now", reason=str(error))
            await asyncio.sleep(bounds.WORKER_RETRY_MS / 1000)
            self._reader.assign({partition: self._reader.position(partition) for partition in self._held})
            self._waiting.clear()
            return ()
        return list(self._begun(read))

    async def commit(self) -> None:
        """Commit what may be. A refusal is no failure: the partitions are somebody else's, or it is tried again later."""
        due = {
            partition: progress.committable
            for partition, progress in self._held.items()
            if partition in self._told and partition not in self._gone and progress.committable > progress.committed
        }
        if not due:
            return
        committed = [(self._held[partition], offset) for partition, offset in due.items()]
        try:
            await self._member.commit(due)
        except Unavailable as error:
            logger.warning("offsets not committed", reason=str(error))
            return
        for progress, offset in committed:
            progress.committed = offset

    async def leave(self) -> None:
        """Bounded in time."""
        if self._membership is not None:
            await self._membership.close()
        await self._reader.close()

    @property
    def _member(self) -> Membership:
        assert self._membership is not None, "joined first"
        return self._membership

    def _assigned(self, partitions: frozenset[int]) -> None:
        # What was away for however short a time may have been worked on by somebody else.
        self._gone |= self._told - partitions
        self._told = partitions

    async def _move(self) -> None:
        """Hold what the group says. Raises Unavailable, and then nothing has changed."""
        told, gone = self._told, frozenset(self._gone)
        kept = {partition: progress for partition, progress in self._held.items() if partition in told - gone}
        new = told - kept.keys()
        committed = await self._member.committed(new) if new else {}
        begun = {
            partition: PartitionProgress(partition, committed[partition])
            if partition in committed
            else PartitionProgress(partition, await self._log.beginning_offset(self._topic, partition))
            for partition in new
        }
        if told != self._told or gone != self._gone:
            return
        self._gone.clear()
        positions = {partition: self._reader.position(partition) for partition in kept}
        positions |= {partition: progress.committed for partition, progress in begun.items()}
        self._held = kept | begun
        self._waiting.clear()
        self._reader.assign(positions)
        logger.info("partitions taken", partitions=sorted(self._held), topic=self._topic)

    def _hold_back(self) -> None:
        """Read nothing of partitions whose lowest task keeps too many behind it uncommitted."""
        far = {partition for partition, progress in self._held.items() if progress.is_far_ahead}
        for partition in far - self._waiting:
            self._reader.pause(partition)
        for partition in self._waiting - far:
            self._reader.resume(partition)
        self._waiting = far

    def _begun(self, read: Mapping[int, Sequence[LogRecord]]) -> Sequence[tuple[PartitionProgress, LogRecord]]:
        begun = []
        for partition, records in read.items():
            progress = self._held[partition]
            for record in records:
                progress.begin(record.offset)
                begun.append((progress, record))
        return begun

    async def _go_on_behind(self, error: OffsetOutOfRange) -> None:
        """Tasks that Kafka has deleted were due long ago: their runs know by their time-outs."""
        logger.error("tasks were deleted before they were read", reason=str(error))
        try:
            first = await self._log.beginning_offset(self._topic, error.partition)
        except Unavailable:
            await asyncio.sleep(bounds.WORKER_RETRY_MS / 1000)
            return
        positions = {partition: self._reader.position(partition) for partition in self._held}
        self._held[error.partition] = PartitionProgress(error.partition, first)
        self._waiting.clear()
        self._reader.assign(positions | {error.partition: first})
