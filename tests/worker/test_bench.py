"""The bench and its reports over the memory log: what goes together, and what becomes of it when it does not arrive."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytest_asyncio

from aion_common.clock import Clock, SystemClock
from aion_common.kafka.api import Headers, KeyValue, Sender
from aion_common.records.tasks import Task, TaskCompleted
from aion_common.testing.memory_cluster import StillClock
from aion_common.testing.memory_log import MemoryLog
from aion_worker import Activity, activity, bounds
from aion_worker.bench import Bench
from aion_worker.reports import Reports
from support import eventually
from worker.queue import AN_HOUR_MS, Queue, queue_on, result_of


@pytest_asyncio.fixture
async def queue(topic_prefix: str) -> AsyncIterator[Queue]:
    async with queue_on(MemoryLog(), topic_prefix) as made:
        yield made


@dataclass(slots=True)
class Counting:
    """A sender that keeps how many records each send had, by partition."""

    sender: Sender
    sizes: dict[int, list[int]] = field(default_factory=dict)

    async def send(self, topic: str, partition: int, records: Sequence[KeyValue], headers: Headers = ()) -> int:
        self.sizes.setdefault(partition, []).append(len(records))
        return await self.sender.send(topic, partition, records, headers)

    async def close(self) -> None:
        await self.sender.close()


@activity
async def double(value: int) -> int:
    return 2 * value


@activity
async def stubborn() -> str:
    """Returns when it is cancelled."""
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        return "done"
    return "never"


@activity
async def endless() -> None:
    await asyncio.Event().wait()


@dataclass(slots=True)
class Work:
    """A bench under test. `finished`: runs whose records need not be read again, in this order."""

    bench: Bench
    sender: Counting
    finished: list[str] = field(default_factory=list)

    def begin(self, *tasks: Task) -> None:
        for task in tasks:
            self.bench.begin(task, lambda run_id=task.run_id: self.finished.append(run_id))  # type: ignore[misc]

    async def idle(self) -> None:
        await eventually(lambda: self.bench.is_idle)


@asynccontextmanager
async def bench_on(queue: Queue, clock: Clock) -> AsyncIterator[Work]:
    sender = Counting(await queue.log.sender())
    reports = Reports(sender=sender, topics=queue.topics, clock=clock, worker="w")
    given: tuple[Activity[..., Any], ...] = (double, stubborn, endless)
    async with asyncio.TaskGroup() as group:
        yield Work(Bench({one.name: one for one in given}, 100, reports, clock, group, asyncio.Event()), sender)


async def test_what_ends_in_the_same_turn_is_sent_together_to_each_partition(queue: Queue) -> None:
    tasks = [queue.task("double", n, results_partition=n % 2) for n in range(10)]
    async with bench_on(queue, SystemClock()) as work:
        work.begin(*tasks)
        await work.idle()
    assert work.sender.sizes == {0: [5], 1: [5]}
    assert await queue.results(*tasks) == [2 * n for n in range(10)]
    assert sorted(work.finished) == sorted(task.run_id for task in tasks)


async def test_large_results_are_not_sent_together(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    first, *tasks = [queue.task("double", 1) for _ in range(7)]
    async with bench_on(queue, SystemClock()) as work:
        work.begin(first)
        await work.idle()
    (record,) = await queue.records()
    assert record.value is not None
    monkeypatch.setattr(bounds, "WORKER_PARCEL_BYTES", len(record.value) + 1)
    async with bench_on(queue, SystemClock()) as work:
        work.begin(*tasks)
        await work.idle()
    assert work.sender.sizes == {0: [2, 2, 2]}
    assert await queue.results(*tasks) == [2] * 6
    assert work.finished == [task.run_id for task in tasks]


async def test_what_nobody_waits_for_any_more_is_left_out_when_the_others_are_sent_again(queue: Queue) -> None:
    assert isinstance(queue.log, MemoryLog)
    clock = StillClock()
    now_ms = clock.now_ms()
    waiting, given_up = queue.task("double", 1, close_by=now_ms + AN_HOUR_MS), queue.task("double", 2, close_by=now_ms + 1_000)
    async with bench_on(queue, clock) as work:
        queue.log.cluster.reachable = False
        work.begin(waiting, given_up)
        await eventually(lambda: 0 in work.sender.sizes)
        clock.time_ms += 1_000
        assert work.finished == []
        queue.log.cluster.reachable = True
        await work.idle()
    assert (work.sender.sizes[0][0], work.sender.sizes[0][-1]) == (2, 1)
    assert [report.run_id for report in await queue.reports()] == [waiting.run_id]
    assert work.finished == [waiting.run_id, given_up.run_id]


@pytest.mark.parametrize("turns", range(1, 8))
async def test_whenever_work_is_given_up_what_is_finished_was_reported_and_nothing_stays(queue: Queue, turns: int) -> None:
    quick, late = queue.task("double", 1), queue.task("stubborn")
    async with bench_on(queue, SystemClock()) as work:
        work.begin(quick, late)
        for _ in range(turns):
            await asyncio.sleep(0)
        work.bench.abandon()
        await work.idle()
    bodies = {report.run_id: report.body for report in await queue.reports()}
    assert set(work.finished) <= bodies.keys()
    assert late.run_id in work.finished
    assert result_of(bodies[late.run_id]) == "done"


async def test_what_ends_while_the_worker_fails_is_reported_all_the_same(queue: Queue) -> None:
    task, works = queue.task("stubborn"), list[Work]()

    async def failing() -> None:
        async with bench_on(queue, SystemClock()) as work:
            works.append(work)
            work.begin(task)
            await asyncio.Event().wait()

    worker = asyncio.create_task(failing())
    await eventually(lambda: works and any(job.attempt is not None for job in works[0].bench._under_way.values()))
    worker.cancel()
    with pytest.raises(asyncio.CancelledError):
        await worker
    assert works[0].bench.is_idle
    assert works[0].finished == [task.run_id]
    assert await queue.results(task) == ["done"]


async def test_who_has_nothing_to_report_waits_for_nobody(queue: Queue) -> None:
    assert isinstance(queue.log, MemoryLog)
    clock = StillClock()
    ended, unwanted = queue.task("double", 1, close_by=clock.now_ms() + AN_HOUR_MS), queue.task("double", 2, close_by=0)
    async with bench_on(queue, clock) as work:
        queue.log.cluster.reachable = False
        work.begin(ended, unwanted)
        await eventually(lambda: work.finished == [unwanted.run_id])
        queue.log.cluster.reachable = True
        await work.idle()
    assert work.finished == [unwanted.run_id, ended.run_id]


async def test_what_runs_and_what_cannot_be_reported_is_given_up_unfinished(queue: Queue) -> None:
    assert isinstance(queue.log, MemoryLog)
    async with bench_on(queue, SystemClock()) as work:
        queue.log.cluster.reachable = False
        work.begin(queue.task("double", 1), queue.task("endless"))
        await eventually(lambda: 0 in work.sender.sizes)
        work.bench.abandon()
        await work.idle()
        assert work.bench.room == 100
    queue.log.cluster.reachable = True
    assert await queue.reports() == []
    assert work.finished == []


async def test_a_task_that_comes_again_at_any_moment_is_executed_once_and_both_records_are_finished(queue: Queue) -> None:
    for turns in range(10):
        task = queue.task("double", turns)
        async with bench_on(queue, SystemClock()) as work:
            work.begin(task)
            for _ in range(turns):
                await asyncio.sleep(0)
            work.begin(task)
            await work.idle()
        assert work.finished == [task.run_id, task.run_id]
        assert [type(body) for body in await queue.bodies(task)] == [TaskCompleted]
