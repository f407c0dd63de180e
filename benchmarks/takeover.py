"""How long partitions stand still when their owner is killed under load. Prints JSON: milliseconds by the broker's clock.

`by_another`: kill -9 of an executor that stays dead, to the first commit of each of its partitions by the other one.
`by_itself`: kill -9 of an executor that is started again at once, to its own first commits. The session time-out is 1.5 s.
"""

import argparse
import asyncio
import itertools
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

from shared import TOPICS, Deployed, deployed, tell

from aion_common.clock import SystemClock
from aion_common.kafka.api import KeyValue, LogRecord, Reader
from aion_common.records.events import HistoryRecord
from aion_common.wire import decode
from aion_server.stack import SESSION_MS
from chaos.system import Size
from chaos.takeovers import Ownership, TakeOver, ownerships_of, summary_ms, take_overs
from support import eventually, paced

PACE_MS = 10
HANG_S = 120.0
SETTLED_MS = 2_000
"""Between two deaths: both executors own their partitions again, and have for some time."""


@dataclass(slots=True)
class Watch:
    """The partitions' own records as they come: each batch begins with one."""

    history: dict[int, list[tuple[LogRecord, HistoryRecord]]] = field(default_factory=lambda: defaultdict(list))

    async def run(self, reader: Reader) -> None:
        """Until cancelled."""
        while True:
            for partition, records in (await reader.read(wait_ms=500, records_max=5_000)).items():
                self.history[partition] += [(record, decode(record.value)) for record in records if not record.key]

    def ownerships(self) -> list[Ownership]:
        """Seen so far."""
        return [owned for partition, history in self.history.items() for owned in ownerships_of(partition, history)]

    def owned_by(self, member: str) -> set[int]:
        """The partitions whose newest owner it is, and has written."""
        newest = {owned.partition: owned for owned in self.ownerships()}
        return {number for number, owned in newest.items() if owned.member == member and owned.first_commit_ms is not None}


async def offer_starts(system: Deployed, per_s: int) -> None:
    """Starts of the no-op workflow at an even pace, until cancelled."""
    sender = await system.log.sender()
    numbers = itertools.count()
    try:
        async with asyncio.TaskGroup() as sends:
            async for _ in paced(range(10**9), every_ms=PACE_MS):
                by_partition: dict[int, list[KeyValue]] = defaultdict(list)
                for number in itertools.islice(numbers, per_s * PACE_MS // 1000):
                    partition, record = system.start(f"load-{number}")
                    by_partition[partition].append(record)
                for partition, records in by_partition.items():
                    sends.create_task(sender.send(TOPICS.commands, partition, records))
    finally:
        await sender.close()


@asynccontextmanager
async def under_load(system: Deployed, per_s: int) -> AsyncIterator[Watch]:
    """Histories are watched from their beginnings."""
    watch = Watch()
    reader = await system.log.reader(TOPICS.history)
    reader.assign(dict.fromkeys(range(system.partitions), 0))
    try:
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(watch.run(reader)), tasks.create_task(offer_starts(system, per_s))]
            yield watch
            for task in running:
                task.cancel()
    finally:
        await reader.close()


async def settled(system: Deployed, watch: Watch) -> None:
    """Every executor owns something, everything is owned, and that has been so for a while."""
    clock = SystemClock()

    def is_settled() -> bool:
        owned = [watch.owned_by(name) for name in system.system.executors]
        newest = max(one.began_ms for one in watch.ownerships()) if all(owned) else clock.now_ms()
        return sum(map(len, owned)) == system.partitions and clock.now_ms() - newest > SETTLED_MS

    await eventually(is_settled, within_s=HANG_S)


async def death(system: Deployed, watch: Watch, victim: str, *, stays_dead: bool) -> list[TakeOver]:
    """Kill it; returns once each of its partitions was committed to again."""
    await settled(system, watch)
    owned = watch.owned_by(victim)
    died_ms = SystemClock().now_ms()
    if stays_dead:
        system.system.hold_down(victim)
    system.system.kill(victim)

    def found() -> list[TakeOver]:
        return take_overs(watch.ownerships(), victim, died_ms, SystemClock().now_ms())

    await eventually(lambda: {one.partition for one in found()} == owned, within_s=HANG_S)
    system.system.let_go(victim)
    return found()


async def measure(deaths: int, per_s: int, partitions: int) -> Mapping[str, object]:
    """Both rows."""
    rows: dict[str, list[TakeOver]] = {"by_another": [], "by_itself": []}
    size = Size(executors=2, gateways=1, catalogs=1, partitions=partitions, restart_wait_ms=0)
    async with deployed(size) as system, under_load(system, per_s) as watch:
        for number in range(deaths):
            victim = system.system.executors[number % 2]
            rows["by_another"] += await death(system, watch, victim, stays_dead=True)
            rows["by_itself"] += await death(system, watch, victim, stays_dead=False)
    shape = {"partitions": partitions, "session_timeout_ms": SESSION_MS, "offered_starts_per_s": per_s, "deaths": deaths}
    return {**shape, **{name: summary_ms([one.stood_still_ms for one in found]) for name, found in rows.items()}}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--deaths", type=int, default=5)
    parser.add_argument("--starts-per-s", type=int, default=500)
    parser.add_argument("--partitions", type=int, default=8)
    given = parser.parse_args()
    tell(partial(measure, given.deaths, given.starts_per_s, given.partitions), "takeover")
