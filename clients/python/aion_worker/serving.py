"""The life of a worker over a log: join, execute, and stop in an order that loses nothing.

It stops by reading no more, waiting for what runs, committing, and leaving the group, so that others take over where it ends.
"""

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass

import structlog

from aion_common.clock import Clock
from aion_common.cluster import join_cluster
from aion_common.errors import AionError, BadRecord, Unavailable
from aion_common.kafka.api import Log, LogRecord
from aion_common.kafka.deadletters import Unusable
from aion_common.kafka.reading import decode_learning
from aion_common.kafka.topics import Topics, tasks_noun
from aion_common.records.tasks import Task
from aion_common.wire import UnknownSchema, decode
from aion_worker import bounds
from aion_worker.activity import Activity
from aion_worker.bench import Bench
from aion_worker.cancellations import open_cancellations
from aion_worker.place import Place
from aion_worker.progress import PartitionProgress
from aion_worker.reports import Reports

logger = structlog.get_logger()


class NoSuchQueue(AionError):
    """There is no topic for the tasks of this queue."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a worker is to do. `activities`: by name. `name`: unique among the workers of the queue."""

    topics: Topics
    queue: str
    activities: Mapping[str, Activity[..., object]]
    running_max: int
    drain_ms: int
    session_ms: int
    name: str


async def serve(log: Log, plan: Plan, clock: Clock, stop: asyncio.Event) -> None:
    """Work until `stop` is set. Raises NoSuchQueue and WrongCluster; Unavailable when Kafka does not answer at the start or
    refuses the place in the group for good."""
    topics = plan.topics
    await join_cluster(log, topics)
    described = await log.describe_topics([topics.tasks(plan.queue), topics.results])
    if topics.tasks(plan.queue) not in described:
        raise NoSuchQueue(f"there is no queue {plan.queue!r}: topic {topics.tasks(plan.queue)} does not exist")
    async with AsyncExitStack() as closing:
        cancellations = await open_cancellations(log, topics)
        closing.push_async_callback(cancellations.close)
        sender = await log.sender()
        closing.push_async_callback(sender.close)
        changed = asyncio.Event()
        place = Place(log, topics.tasks(plan.queue), await log.reader(topics.tasks(plan.queue)))
        closing.push_async_callback(place.leave)
        reports = Reports(sender=sender, topics=topics, clock=clock, worker=plan.name)
        async with asyncio.TaskGroup() as group:
            bench = Bench(plan.activities, plan.running_max, reports, clock, group, changed)
            feeding = _Feeding(log, plan, place, bench, described[topics.results].partitions)
            await place.join(f"{topics.prefix}workers.{plan.queue}", plan.name, plan.session_ms)
            logger.info("worker ready", queue=plan.queue, worker=plan.name, activities=sorted(plan.activities))
            watching = [
                group.create_task(cancellations.follow(bench.cancel)),
                group.create_task(place.failed()),
                group.create_task(_commit_often(place)),
            ]
            await feeding.feed(stop, changed)
            logger.info("worker draining", queue=plan.queue, worker=plan.name)
            await _drain(bench, plan.drain_ms, changed)
            for watcher in watching:
                watcher.cancel()
            await place.commit()
            # Before the end of the group: an activity that does not let itself be cancelled must not keep the partitions.
            await place.leave()
            bench.threads.close()


class _Feeding:
    """Reads tasks as there is room, and hands them to the bench."""

    def __init__(self, log: Log, plan: Plan, place: Place, bench: Bench, results_partitions: int) -> None:
        self._log = log
        self._plan = plan
        self._place = place
        self._bench = bench
        self._results_partitions = results_partitions

    async def feed(self, stop: asyncio.Event, changed: asyncio.Event) -> None:
        """Until `stop` is set."""
        while not stop.is_set():
            if self._bench.room > 0:
                for progress, record in await self._place.read(self._bench.room):
                    await self._begin(progress, record)
            else:
                await _wait(changed, bounds.WORKER_POLL_MS)

    async def _begin(self, progress: PartitionProgress, record: LogRecord) -> None:
        def finish() -> None:
            progress.finish(record.offset)

        try:
            try:
                read = decode(record.value)
            except UnknownSchema:
                read = await self._learn_and_decode(record.value)
            task = self._checked(read)
        except BadRecord as error:
            self._bench.bury(self._unusable(progress.partition, record, str(error)), finish)
        else:
            self._bench.begin(task, finish)

    async def _learn_and_decode(self, value: bytes | None) -> object:
        while True:
            try:
                return await decode_learning(self._log, self._plan.topics, value)
            except Unavailable as error:
                logger.warning("schemas not readable now", reason=str(error))
                await asyncio.sleep(bounds.WORKER_RETRY_MS / 1000)

    def _checked(self, read: object) -> Task:
        if not isinstance(read, Task):
            raise BadRecord(f"a {type(read).__name__}, not a Task")
        if not 0 <= read.results_partition < self._results_partitions:
            raise BadRecord(f"results partition {read.results_partition} of {self._results_partitions}")
        return read

    def _unusable(self, partition: int, record: LogRecord, reason: str) -> Unusable:
        return Unusable(
            topic=tasks_noun(self._plan.queue),
            partition=partition,
            offset=record.offset,
            reason=reason,
            key=record.key,
            value=record.value,
            value_bytes=len(record.value or b""),
        )


async def _commit_often(place: Place) -> None:
    while True:
        await asyncio.sleep(bounds.WORKER_COMMIT_MS / 1000)
        await place.commit()


async def _drain(bench: Bench, drain_ms: int, changed: asyncio.Event) -> None:
    """Wait for what runs, then give up what is left."""
    for patience_ms, last in ((drain_ms, bench.abandon), (bounds.WORKER_LAST_WORDS_MS, None)):
        try:
            async with asyncio.timeout(patience_ms / 1000):
                while not bench.is_idle:
                    await _wait(changed, bounds.WORKER_POLL_MS)
        except TimeoutError:
            if last is not None:
                last()


async def _wait(changed: asyncio.Event, most_ms: int) -> None:
    """Until something changes, or so long. For one at a time."""
    changed.clear()
    try:
        async with asyncio.timeout(most_ms / 1000):
            await changed.wait()
    except TimeoutError:
        return
