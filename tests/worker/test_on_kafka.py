"""Workers on real brokers: what becomes of tasks when workers die, stop and share, and when the broker goes away."""

import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from aion_common.kafka.api import Log
from aion_common.kafka.client import connect
from aion_common.records.common import json_payload
from aion_common.records.tasks import TaskCancelled, TaskHeartbeat, TaskStarted
from aion_server.broker import Broker
from aion_worker import Worker
from server.scripted import wait_for_end
from support import eventually
from worker import kafka_activities
from worker.processes import Answers, answering, running, worker_command, worker_process
from worker.queue import QUEUE, Queue, at_work, queue_on

PARENT = """
import os, subprocess, sys
worker = subprocess.Popen(sys.argv[1:], env={**os.environ, "AION_PARENT_PID": str(os.getpid())})
print(worker.pid, flush=True)
worker.wait()
"""


@pytest_asyncio.fixture
async def queue(kafka_log: Log, topic_prefix: str) -> AsyncIterator[Queue]:
    async with queue_on(kafka_log, topic_prefix) as made:
        yield made


@pytest_asyncio.fixture
async def answers() -> AsyncIterator[Answers]:
    async with answering() as made:
        yield made


def worker_of(queue: Queue) -> Worker:
    activities = (kafka_activities.double, kafka_activities.ask, kafka_activities.ask_in_thread)
    return Worker("unused:1", QUEUE, activities=activities, prefix=queue.prefix)


async def test_tasks_of_a_killed_worker_are_executed_again_by_another(
    broker_bootstrap: str, queue: Queue, answers: Answers, tmp_path: Path
) -> None:
    async with (
        worker_process(broker_bootstrap, queue, tmp_path / "killed") as killed,
        worker_process(broker_bootstrap, queue, tmp_path / "other") as other,
    ):
        await killed.ready()
        await other.ready()
        done = [queue.task("double", n) for n in range(4)]
        await queue.put(*done[:2], partition=0)
        await queue.put(*done[2:], partition=1)
        assert await queue.results(*done) == [0, 2, 4, 6]
        tasks = [answers.task(queue, f"task-{n}", ("ask", "ask_in_thread")[n % 2]) for n in range(10)]
        await queue.put(*tasks[:5], partition=0)
        await queue.put(*tasks[5:], partition=1)
        await eventually(lambda: set(answers.asked) == {f"task-{n}" for n in range(10)})
        await killed.kill()
        await eventually(lambda: len(answers.asked) >= 15)
        answers.open()
        assert await queue.results(*tasks) == [f"task-{n}" for n in range(10)]
        again = [name for name in set(answers.asked) if answers.asked.count(name) > 1]
        assert sorted(again) in ([f"task-{n}" for n in range(5)], [f"task-{n}" for n in range(5, 10)])
        other.terminate()
        assert await other.ended() == 0
    reports = [report for report in await queue.reports() if report.run_id in {task.run_id for task in tasks}]
    ends = [report for report in reports if not isinstance(report.body, TaskHeartbeat)]
    assert len(ends) == 10
    assert len({report.worker for report in ends}) == 1


async def test_a_worker_drains_when_it_is_told_to_stop(
    broker_bootstrap: str, queue: Queue, answers: Answers, tmp_path: Path
) -> None:
    async with worker_process(broker_bootstrap, queue, tmp_path / "log") as worker:
        await worker.ready()
        running, later = answers.task(queue, "running"), answers.task(queue, "later")
        await queue.put(running)
        await eventually(lambda: answers.asked == ["running"])
        worker.terminate()
        await eventually(lambda: "worker draining" in worker.log.read_text())
        await queue.put(later)
        answers.open()
        assert await queue.results(running) == ["running"]
        assert await worker.ended() == 0
    assert answers.asked == ["running"]
    async with at_work(worker_of(queue), queue.log):
        assert await queue.results(later) == ["later"]
    assert answers.asked == ["running", "later"]


async def test_what_runs_longer_than_the_grace_time_is_left_to_the_next_worker(
    broker_bootstrap: str, queue: Queue, answers: Answers, tmp_path: Path
) -> None:
    tasks = [answers.task(queue, "a"), answers.task(queue, "b", "ask_in_thread")]
    async with worker_process(broker_bootstrap, queue, tmp_path / "log", "--grace", "0.1") as worker:
        await worker.ready()
        await queue.put(*tasks)
        await eventually(lambda: len(answers.asked) == 2)
        worker.terminate()
        assert await worker.ended() == 0
    answers.open()
    async with at_work(worker_of(queue), queue.log):
        assert await queue.results(*tasks) == ["a", "b"]
    assert sorted(answers.asked) == ["a", "a", "b", "b"]


async def test_workers_share_a_queue_and_take_over_from_one_that_leaves(queue: Queue, answers: Answers) -> None:
    first = [answers.task(queue, f"first-{n}") for n in range(2)]
    async with at_work(worker_of(queue), queue.log):
        for partition, task in enumerate(first):
            await queue.put(task, partition=partition)
        await eventually(lambda: sorted(answers.asked) == ["first-0", "first-1"])
        async with at_work(worker_of(queue), queue.log):
            # The partition that moves has a task which runs: its new holder executes it as well.
            await eventually(lambda: len(answers.asked) == 3)
            answers.open()
            await queue.ends(*first)
            second = [queue.task("double", n) for n in range(20)]
            await queue.put(*second[:10], partition=0)
            await queue.put(*second[10:], partition=1)
            assert await queue.results(*second) == [2 * n for n in range(20)]
            ids = {task.run_id for task in second}
            assert len({report.worker for report in await queue.reports() if report.run_id in ids}) == 2
        third = [queue.task("double", n) for n in range(2)]
        for partition, task in enumerate(third):
            await queue.put(task, partition=partition)
        assert await queue.results(*third) == [0, 2]
    assert len(answers.asked) == 3


async def test_cancellation_and_heartbeats_of_both_kinds_of_functions(queue: Queue, answers: Answers) -> None:
    stopped = [
        answers.task(queue, "async", report_started=True, heartbeat_ms=300),
        answers.task(queue, "thread", "ask_in_thread", report_started=True, heartbeat_ms=300),
    ]
    slow = answers.task(queue, "slow")
    async with at_work(worker_of(queue), queue.log):
        await queue.put(slow, *stopped)
        await eventually(lambda: len(answers.asked) == 3)

        async def beaten() -> bool:
            return all([len(await queue.bodies(task)) >= 4 for task in stopped])

        await eventually(beaten)
        for task in stopped:
            await queue.cancel(task)
        assert await queue.ends(*stopped) == [TaskCancelled(), TaskCancelled()]
        assert await queue.bodies(slow) == []
        answers.open()
        assert await queue.results(slow) == ["slow"]
    quiet, telling = [await queue.bodies(task) for task in stopped]
    assert quiet[0] == telling[0] == TaskStarted()
    assert set(quiet[1:-1]) == {TaskHeartbeat(details=None)}
    assert TaskHeartbeat(details=json_payload(b'"thread"')) in telling


async def test_a_worker_process_serves_its_metrics_where_it_says(broker_bootstrap: str, queue: Queue, tmp_path: Path) -> None:
    async with worker_process(broker_bootstrap, queue, tmp_path / "log", "--metrics-port", "0") as worker:
        await worker.ready()
        tasks = [queue.task("double", n) for n in range(3)]
        await queue.put(*tasks)
        assert await queue.results(*tasks) == [0, 2, 4]
        address = re.search(r"metrics at (http://127\.0\.0\.1:\d+/metrics)", worker.log.read_text())
        assert address is not None, worker.log.read_text()
        async with httpx.AsyncClient(trust_env=False) as http:

            async def counted() -> bool:
                answer = await http.get(address[1])
                assert answer.headers["content-type"].startswith("text/plain; version=")
                return 'aion_worker_tasks_total{activity_type="double",outcome="completed"} 3.0\n' in answer.text

            await eventually(counted)


async def test_the_session_of_a_worker_process_is_the_groups(broker_bootstrap: str, queue: Queue, tmp_path: Path) -> None:
    async with worker_process(broker_bootstrap, queue, tmp_path / "log", "--session", "3000") as worker:
        assert await worker.ended() == 1
        assert "worker_failed: a session of 3000000 ms is outside of group.min.session.timeout.ms" in worker.log.read_text()


async def test_a_queue_that_is_missing_is_named_with_the_command_that_makes_it(
    broker_bootstrap: str, queue: Queue, tmp_path: Path
) -> None:
    async with worker_process(broker_bootstrap, queue, tmp_path / "log", "--queue", "mails") as worker:
        assert await worker.ended() == 1
        said = worker.log.read_text()
    assert f"worker_failed: there is no queue 'mails': topic {queue.prefix}tasks.mails does not exist" in said
    assert "`aion create-queue mails` makes it" in said


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no parent-death signal")
async def test_a_worker_process_ends_with_its_parent(broker_bootstrap: str, queue: Queue, tmp_path: Path) -> None:
    command = [sys.executable, "-c", PARENT, *worker_command(broker_bootstrap, queue)]
    async with running(command, tmp_path / "log") as parent:
        await parent.ready()
        worker = int(parent.log.read_text().splitlines()[0])
        await parent.kill()
        try:
            assert wait_for_end(worker)
        except AssertionError:
            os.kill(worker, signal.SIGKILL)
            raise


async def test_a_worker_outlives_its_broker_and_reports_what_ended_meanwhile(
    topic_prefix: str, answers: Answers, tmp_path: Path
) -> None:
    broker = Broker(tmp_path / "broker")
    await broker.start()
    try:
        log = await connect(broker.bootstrap)
        async with queue_on(log, topic_prefix) as queue, at_work(worker_of(queue), queue.log):
            running, later = answers.task(queue, "running"), queue.task("double", 4)
            await queue.put(running)
            await eventually(lambda: answers.asked == ["running"])
            await broker.kill()
            answers.open()
            await broker.start()
            await queue.put(later)
            assert await queue.results(running, later) == ["running", 8]
        assert answers.asked == ["running"]
        await log.close()
    finally:
        await broker.kill()
