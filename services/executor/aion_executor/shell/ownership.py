"""Taking a partition over, in the order that keeps its history single-writer: catch up, claim, fence, epoch, catch up.

From the acknowledged `OwnerEpoch` on the broker refuses the previous owner; everything before it in the log counts, and
has been folded when `take_over` returns. A crash between any two steps leaves at most a higher producer epoch behind:
the next claimant begins again.
"""

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

import structlog

from aion_common.clock import Clock
from aion_common.errors import AionError, Fenced
from aion_common.kafka.api import PRODUCER_EPOCH_MAX, FencedAppender, Log, ProducerIdentity
from aion_common.kafka.reading import learn_published, records_between
from aion_common.kafka.topics import Topics
from aion_common.limits import CLOCK_SKEW_MS_MAX
from aion_common.metrics import STORE_REBUILDS
from aion_common.records.events import OwnerEpoch, Progress
from aion_common.wire import UnknownSchema, kept_schemas, learn
from aion_executor.partition_records import PARTITION_KEY, partition_value
from aion_executor.restore import Restore, begin_restore
from aion_executor.store.api import Tables
from aion_executor.store.rows import Store, checksum_of

log = structlog.get_logger(__name__)


VOID_EPOCH = -2
"""No record of this owner epoch ever counts: OwnerEpoch itself has -1, and real ones are offsets."""


class ClockSkew(AionError):
    """This machine's clock differs too much from the broker's: times in histories would be wrong, so it must not own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stores:
    """How the store of a partition is opened and deleted; RocksDB in service, memory in tests."""

    open: Callable[[Path], Tables]
    delete: Callable[[Path], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimant:
    """Who takes partitions over, with what."""

    log: Log
    topics: Topics
    member: str
    clock: Clock
    stores: Stores
    folder: Path

    def transactional_id(self, partition: int) -> str:
        """What the partition's owners are fenced by."""
        return f"{self.topics.prefix}executor.{partition}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Owned:
    """A partition as its new owner finds it: `restored` includes everything before its own OwnerEpoch."""

    appender: FencedAppender
    restored: Restore

    async def close(self) -> None:
        """Let go; bounded in time."""
        try:
            self.restored.store.close()
        finally:
            await self.appender.close()


async def take_over(claimant: Claimant, partition: int) -> Owned:
    """Own the partition. Raises Fenced (another claimant was later), Unavailable, ClockSkew, OffsetOutOfRange."""
    restored = await _open_store(claimant, partition)
    try:
        await _catch_up(claimant, partition, restored)
        appender, epoch = await _begin_epoch(claimant, partition, restored)
        try:
            await _catch_up(claimant, partition, restored)
            if restored.partition.owner_epoch != epoch:
                raise Fenced("a later claimant has begun its epoch")
        except BaseException:
            await appender.close()
            raise
    except BaseException:
        restored.store.close()
        raise
    return Owned(appender=appender, restored=restored)


async def _open_store(claimant: Claimant, partition: int) -> Restore:
    folder = claimant.folder / f"partition-{partition}"
    store = Store(claimant.stores.open(folder))
    try:
        restored = begin_restore(store, partition)
        is_ours = restored is not None and await _is_of_this_log(claimant, partition, restored)
    except BaseException:
        store.close()
        raise
    if restored is not None and is_ours:
        return restored
    log.warning("store deleted: it is not a copy of this history", partition=partition)
    STORE_REBUILDS.inc()
    store.close()
    claimant.stores.delete(folder)
    fresh = begin_restore(Store(claimant.stores.open(folder)), partition)
    assert fresh is not None, "a new store is readable"
    return fresh


async def _is_of_this_log(claimant: Claimant, partition: int, restored: Restore) -> bool:
    """Whether the last record the store applied stands in the log as it was: else the store is of another cluster, or ahead
    of a log that lost its end."""
    meta = restored.store.meta()
    if meta is None:
        return True
    history = claimant.topics.history
    end = await claimant.log.end_offset(history, partition)
    if not await claimant.log.beginning_offset(history, partition) <= meta.offset < end:
        return False
    portions = records_between(claimant.log, history, meta.offset, meta.offset + 1, partition)
    async with aclosing(portions):
        async for records in portions:
            return checksum_of(records[0].value or b"") == meta.checksum
    return False


async def _catch_up(claimant: Claimant, partition: int, restored: Restore) -> None:
    """Fold the history up to its present end, in chunks, so that heartbeats and other partitions go on."""
    history = claimant.topics.history
    end = await claimant.log.end_offset(history, partition)
    portions = records_between(claimant.log, history, restored.next_offset, end, partition)
    async with aclosing(portions):
        async for records in portions:
            try:
                restored.fold(records)
            except UnknownSchema:
                await learn_published(claimant.log, claimant.topics)
                learn(kept_schemas())
                restored.fold(records, knows_all_schemas=True)
            await asyncio.sleep(0)


async def _begin_epoch(claimant: Claimant, partition: int, restored: Restore) -> tuple[FencedAppender, int]:
    log_, history = claimant.log, claimant.topics.history
    identity = await log_.claim(claimant.transactional_id(partition))
    known = restored.partition.producer_id
    if known not in (-1, identity.producer_id):
        await _fence_forgotten(claimant, partition, restored)
    appender = await log_.fenced_appender(history, partition, identity)
    try:
        now_ms = claimant.clock.now_ms()
        event = OwnerEpoch(
            producer_id=identity.producer_id,
            producer_epoch=identity.producer_epoch,
            member=claimant.member,
            clock_ms=now_ms,
        )
        recorded_at = max(now_ms, restored.partition.recorded_at)
        appended = await appender.append([(PARTITION_KEY, partition_value(event, recorded_at, -1))])
        earliest, latest = now_ms - CLOCK_SKEW_MS_MAX, claimant.clock.now_ms() + CLOCK_SKEW_MS_MAX
        if not earliest <= appended.timestamp_ms <= latest:
            raise ClockSkew(f"this clock says {now_ms}, the broker's {appended.timestamp_ms}; synchronise them (NTP)")
    except BaseException:
        await appender.close()
        raise
    return appender, appended.base_offset


async def _fence_forgotten(claimant: Claimant, partition: int, restored: Restore) -> None:
    """The broker gave the transactional.id another producer id (it forgot the old one, or its epochs ran out), so the new
    one fences nobody: an append with the old id and the highest epoch does. What it appends must say nothing, because the old
    owner may have gone on since this claimant caught up: it is void, of an owner epoch that never was."""
    last = ProducerIdentity(producer_id=restored.partition.producer_id, producer_epoch=PRODUCER_EPOCH_MAX)
    nothing = Progress(commands_next=0, sent_through=-1, answers=())
    value = partition_value(nothing, restored.partition.recorded_at, VOID_EPOCH)
    appender = await claimant.log.fenced_appender(claimant.topics.history, partition, last)
    try:
        await appender.append([(PARTITION_KEY, value)])
    except Fenced:
        log.info("the old producer id was fenced before", partition=partition, producer_id=last.producer_id)
    finally:
        await appender.close()
