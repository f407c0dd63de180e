"""How long partitions stood still when their owner died, read from the broker's times in the history topic."""

from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass

from aion_common.kafka.api import Log, LogRecord
from aion_common.kafka.reading import decode_learning, records_between
from aion_common.kafka.topics import Topics
from aion_common.records.events import HistoryRecord, OwnerEpoch


@dataclass(frozen=True, slots=True, kw_only=True)
class Ownership:
    """A partition owned by `member` since `began_ms`. `first_commit_ms`: of its first record after the OwnerEpoch; None:
    there was none."""

    partition: int
    member: str
    began_ms: int
    first_commit_ms: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeOver:
    """`stood_still_ms`: from the death of the owner to the first commit of the next one, which may be the same member again."""

    partition: int
    by: str
    stood_still_ms: int


def ownerships_of(partition: int, history: Sequence[tuple[LogRecord, HistoryRecord]]) -> list[Ownership]:
    """In order. Void records say nothing."""
    found: list[Ownership] = []
    epoch = -1
    for read, record in history:
        if isinstance(record.event, OwnerEpoch):
            epoch = read.offset
            member = record.event.member
            found.append(Ownership(partition=partition, member=member, began_ms=read.timestamp_ms, first_commit_ms=None))
        elif record.owner_epoch == epoch and found[-1].first_commit_ms is None:
            newest = found[-1]
            found[-1] = Ownership(
                partition=partition, member=newest.member, began_ms=newest.began_ms, first_commit_ms=read.timestamp_ms
            )
    return found


def take_overs(ownerships: Sequence[Ownership], victim: str, died_ms: int, until_ms: int) -> list[TakeOver]:
    """Of the partitions that the victim owned when it died, those that somebody owned and wrote to before `until_ms`."""
    found = []
    for partition in sorted({owned.partition for owned in ownerships}):
        own = [owned for owned in ownerships if owned.partition == partition]
        before = [owned for owned in own if owned.began_ms < died_ms]
        if not before or before[-1].member != victim:
            continue
        for owned in own[len(before) :]:
            if owned.first_commit_ms is not None and owned.first_commit_ms < until_ms:
                stood_still_ms = owned.first_commit_ms - died_ms
                found.append(TakeOver(partition=partition, by=owned.member, stood_still_ms=stood_still_ms))
                break
    return found


async def read_ownerships(log: Log, topics: Topics, partitions: int) -> list[Ownership]:
    """Of all partitions, from the beginning of their histories to their present ends. Only the partition's own records are
    looked at: the first one of every batch is its Progress."""
    found: list[Ownership] = []
    for partition in range(partitions):
        history: list[tuple[LogRecord, HistoryRecord]] = []
        first = await log.beginning_offset(topics.history, partition)
        end = await log.end_offset(topics.history, partition)
        async with aclosing(records_between(log, topics.history, first, end, partition)) as portions:
            async for records in portions:
                own = [read for read in records if not read.key]
                history += [(read, await decode_learning(log, topics, read.value)) for read in own]
        found += ownerships_of(partition, history)
    return found


def summary_ms(times: Sequence[int]) -> dict[str, object]:
    """p50, p99, and all of them in order of size."""
    if not times:
        return {"p50": None, "p99": None, "all": []}
    ordered = sorted(times)
    return {"p50": ordered[len(ordered) // 2], "p99": ordered[len(ordered) * 99 // 100], "all": ordered}
