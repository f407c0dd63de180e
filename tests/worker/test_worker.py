"""The worker over the memory log: what it executes, in which order it commits, what it reports, and how it stops."""

import asyncio
import io
import json
import threading
from collections.abc import AsyncIterator
from typing import Any

import fastavro
import pytest
import pytest_asyncio
from msgspec import structs
from structlog.testing import capture_logs

from aion_common.errors import WrongCluster
from aion_common.records.common import json_payload
from aion_common.records.tasks import TaskCancelled, TaskFailed, TaskHeartbeat, TaskReport, TaskStarted
from aion_common.testing.memory_log import MemoryLog
from aion_common.wire import encode, schemas
from aion_worker import Activity, Context, RetryableError, Worker, activity, bounds
from aion_worker.serving import NoSuchQueue
from support import committed, eventually
from worker.queue import QUEUE, Queue, at_work, details_of, failure_of, queue_on, result_of


@pytest_asyncio.fixture
async def queue(topic_prefix: str) -> AsyncIterator[Queue]:
    async with queue_on(MemoryLog(), topic_prefix) as made:
        yield made


def worker_of(queue: Queue, *activities: Activity[..., Any], **options: Any) -> Worker:
    return Worker("unused:1", QUEUE, activities=activities, prefix=queue.prefix, **options)


def group_of(queue: Queue) -> Any:
    assert isinstance(queue.log, MemoryLog)
    return queue.log.cluster.group(f"{queue.prefix}workers.{QUEUE}", queue.tasks_topic)


@activity
async def double(value: int) -> int:
    return 2 * value


class Gate:
    """An activity that waits until it is let through, and tells who came."""

    def __init__(self) -> None:
        self.came: list[Any] = []
        self.open = asyncio.Event()

    async def wait(self, value: Any) -> Any:
        self.came.append(value)
        await self.open.wait()
        return value

    @property
    def activity(self) -> Activity[..., Any]:
        return activity("gate")(self.wait)


async def test_tasks_of_all_partitions_are_executed_and_reported_where_they_say(queue: Queue) -> None:
    first, second = queue.task("double", 1), queue.task("double", 2, results_partition=2, attempt=3)
    async with at_work(worker_of(queue, double), queue.log):
        await queue.put(first)
        await queue.put(second, partition=1)
        assert await queue.results(first, second) == [2, 4]
    (report,) = await queue.reports(2)
    assert (report.namespace, report.workflow_id, report.run_id) == ("default", second.workflow_id, second.run_id)
    assert (report.activity, report.attempt) == (1, 3)
    assert [record.key for record in await queue.records(2)] == [f"default/{second.workflow_id}".encode()]


async def test_what_waited_before_the_first_worker_is_executed(queue: Queue) -> None:
    task = queue.task("double", 4)
    await queue.put(task)
    async with at_work(worker_of(queue, double), queue.log):
        assert await queue.results(task) == [8]


async def test_a_slow_task_stops_no_other_and_keeps_the_offset(queue: Queue) -> None:
    gate = Gate()
    slow, others = queue.task("gate"), [queue.task("double", n) for n in range(50)]
    async with at_work(worker_of(queue, double, gate.activity, max_concurrent=3), queue.log):
        await queue.put(queue.task("double", 0), slow, *others)
        assert await queue.results(*others) == [2 * n for n in range(50)]
        await eventually(lambda: group_of(queue).offsets.get(0) == 1)
        gate.open.set()
        await eventually(lambda: group_of(queue).offsets[0] == 52)


async def test_no_more_run_at_once_than_permitted(queue: Queue) -> None:
    gate = Gate()
    tasks = [queue.task("gate", n) for n in range(7)]
    async with at_work(worker_of(queue, gate.activity, max_concurrent=3), queue.log):
        await queue.put(*tasks)
        await eventually(lambda: len(gate.came) == 3)
        beside = await asyncio.gather(*(queue.reports() for _ in range(20)))
        assert (gate.came, beside) == ([0, 1, 2], [[]] * 20)
        gate.open.set()
        assert await queue.results(*tasks) == list(range(7))


async def test_a_partition_far_ahead_of_its_slowest_task_waits(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "WORKER_AHEAD_MAX", 5)
    gate = Gate()
    tasks = [queue.task("double", n) for n in range(10)]
    elsewhere = queue.task("double", 21)
    async with at_work(worker_of(queue, double, gate.activity, max_concurrent=2), queue.log):
        await queue.put(queue.task("gate"), *tasks)
        await queue.ends(*tasks[:4])
        await queue.put(elsewhere, partition=1)
        assert await queue.results(elsewhere) == [42]
        assert await queue.bodies(tasks[-1]) == []
        gate.open.set()
        await queue.ends(*tasks)


async def test_failures_are_reported_as_the_activity_meant_them(queue: Queue) -> None:
    @activity
    def fail() -> None:
        raise RetryableError("busy", "later", {"after": 3})

    task, bad, unknown = queue.task("fail"), queue.task("double", "two"), queue.task("triple", 1)
    with capture_logs() as logs:
        async with at_work(worker_of(queue, double, fail), queue.log):
            await queue.put(task, bad, unknown)
            failed, bad_input, no_such = await queue.ends(task, bad, unknown)
    told = {(line["activity_type"], line["kind"]) for line in logs if line["event"] == "activity failed"}
    assert told == {("fail", "busy"), ("double", "bad_input"), ("triple", "unknown_activity")}
    assert failure_of(failed) == ("busy", "later", True)
    assert details_of(failed) == {"after": 3}
    assert failure_of(bad_input)[::2] == ("bad_input", False)
    assert failure_of(no_such) == ("unknown_activity", "this worker has no activity 'triple'; it has double, fail", True)


async def test_the_beginning_is_reported_if_the_task_asks_for_it(queue: Queue) -> None:
    silent, asking = queue.task("double", 1), queue.task("double", 1, report_started=True)
    async with at_work(worker_of(queue, double), queue.log):
        await queue.put(silent, asking)
        await queue.ends(silent, asking)
    assert isinstance((await queue.bodies(asking))[0], TaskStarted)
    assert len(await queue.bodies(silent)) == 1


async def test_the_worker_beats_by_itself_while_the_function_lives(queue: Queue) -> None:
    gate = Gate()
    beating, not_beating = queue.task("gate", 1, heartbeat_ms=30, heartbeat=json_payload(b"7")), queue.task("gate", 2)
    async with at_work(worker_of(queue, gate.activity), queue.log):
        await queue.put(beating, not_beating)

        async def beats() -> bool:
            return len(await queue.bodies(beating)) >= 4

        await eventually(beats)
        gate.open.set()
        await queue.ends(beating, not_beating)
    assert set((await queue.bodies(beating))[:-1]) == {TaskHeartbeat(details=json_payload(b"7"))}
    assert len(await queue.bodies(not_beating)) == 1


async def test_the_newest_details_win_and_are_told_before_a_failure(queue: Queue) -> None:
    @activity
    async def work(context: Context) -> None:
        for row in range(1_000):
            context.heartbeat(row)
            await asyncio.sleep(0)
        raise RetryableError("tired", "enough")

    task = queue.task("work", heartbeat_ms=600_000)
    async with at_work(worker_of(queue, work), queue.log):
        await queue.put(task)
        await queue.ends(task)
    *beats, last, end = await queue.bodies(task)
    assert len(beats) <= 1
    assert last == TaskHeartbeat(details=json_payload(b"999"))
    assert isinstance(end, TaskFailed)


@pytest.mark.parametrize(("activity_id", "attempt"), [(None, None), (1, None), (1, 1)])
async def test_cancellation_reaches_functions_of_both_kinds(queue: Queue, activity_id: int | None, attempt: int | None) -> None:
    begun: list[str] = []

    @activity
    async def wait() -> None:
        begun.append("async")
        await asyncio.Event().wait()

    @activity
    def wait_in_thread(context: Context) -> None:
        begun.append("thread")
        context.wait_cancelled(60)
        context.raise_if_cancelled()

    tasks = [queue.task("wait"), queue.task("wait_in_thread")]
    other = queue.task("wait", activity=1, attempt=2)
    async with at_work(worker_of(queue, wait, wait_in_thread, grace_s=0), queue.log):
        await queue.put(*tasks, other)
        await eventually(lambda: len(begun) == 3)
        for task in tasks:
            await queue.cancel(task, activity_id, attempt)
        await queue.cancel(other, 2)
        await queue.cancel(other, 1, 1)
        assert await queue.ends(*tasks) == [TaskCancelled(), TaskCancelled()]
        assert await queue.bodies(other) == []


async def test_what_nobody_waits_for_is_not_begun(queue: Queue) -> None:
    gate = Gate()
    running, cancelled, late = queue.task("gate", 1), queue.task("gate", 2), queue.task("gate", 3, close_by=1)
    async with at_work(worker_of(queue, gate.activity, max_concurrent=1), queue.log):
        await queue.put(running, cancelled, late)
        await eventually(lambda: gate.came == [1])
        await queue.cancel(cancelled)
        await queue.cancel(running)
        assert await queue.ends(running) == [TaskCancelled()]
        await eventually(lambda: group_of(queue).offsets.get(0) == 3)
    assert gate.came == [1]
    assert len(await queue.reports()) == 1


async def test_an_attempt_that_is_too_late_ends_without_a_word(queue: Queue) -> None:
    task = queue.task("gate", 1, start_to_close_ms=20)
    async with at_work(worker_of(queue, Gate().activity), queue.log):
        await queue.put(task)
        await eventually(lambda: group_of(queue).offsets.get(0) == 1)
    assert await queue.reports() == []


async def test_a_task_that_was_sent_twice_is_executed_once_and_both_records_are_finished(queue: Queue) -> None:
    gate = Gate()
    task = queue.task("gate", 1)
    async with at_work(worker_of(queue, gate.activity), queue.log):
        await queue.put(task, task)
        await eventually(lambda: gate.came == [1])
        gate.open.set()
        await queue.ends(task)
        await queue.put(task, structs.replace(task, attempt=2))
        await eventually(lambda: group_of(queue).offsets.get(0) == 4)
    assert gate.came == [1, 1]


async def test_what_is_no_task_becomes_a_dead_letter_and_stops_nobody(queue: Queue) -> None:
    task = queue.task("double", 1)
    elsewhere = structs.replace(queue.task("double", 1), results_partition=3)
    async with at_work(worker_of(queue, double), queue.log):
        await queue.put_bytes((b"k", b"nonsense"), (b"k", b"\xc3\x01" + b"12345678"), (b"k", encode(report_on(queue))))
        await queue.put(elsewhere, task)
        assert await queue.results(task) == [2]
        await eventually(lambda: group_of(queue).offsets.get(0) == 5)
    letters = [letter for p in range(4) for letter in await committed(queue.log, queue.topics.deadletter, p)]
    reasons = {dict(letter.headers)["aion-offset"]: dict(letter.headers)["aion-reason"].decode() for letter in letters}
    assert reasons == {
        b"0": "not a single-object encoded Avro value",
        b"1": f"unknown schema fingerprint {b'12345678'.hex()}",
        b"2": "a TaskReport, not a Task",
        b"3": "results partition 3 of 3",
    }
    assert {dict(letter.headers)["aion-topic"] for letter in letters} == {f"tasks.{QUEUE}".encode()}


def report_on(queue: Queue) -> TaskReport:
    task = queue.task("double")
    return TaskReport(
        namespace=task.namespace,
        workflow_id=task.workflow_id,
        run_id=task.run_id,
        activity=1,
        attempt=1,
        worker="w",
        body=TaskStarted(),
    )


async def test_a_report_that_kafka_does_not_take_is_kept_and_not_finished(queue: Queue) -> None:
    assert isinstance(queue.log, MemoryLog)
    gate = Gate()
    task = queue.task("gate", 5)
    async with at_work(worker_of(queue, gate.activity), queue.log):
        await queue.put(task)
        await eventually(lambda: gate.came == [5])
        queue.log.cluster.reachable = False
        gate.open.set()
        for _ in range(100):
            await asyncio.sleep(0)
        queue.log.cluster.reachable = True
        assert await queue.results(task) == [5]
        await eventually(lambda: group_of(queue).offsets.get(0) == 1)


async def test_a_worker_that_is_stopped_reads_no_more_and_finishes_what_runs(queue: Queue) -> None:
    gate = Gate()
    running, later = queue.task("gate", 1), queue.task("gate", 2)
    with capture_logs() as logs:
        async with at_work(worker_of(queue, gate.activity), queue.log) as stop:
            await queue.put(running)
            await eventually(lambda: gate.came == [1])
            stop.set()
            await eventually(lambda: "worker draining" in [line["event"] for line in logs])
            await queue.put(later)
            gate.open.set()
    assert gate.came == [1]
    assert [result_of(report.body) for report in await queue.reports()] == [1]
    assert group_of(queue).offsets == {0: 1}
    assert group_of(queue).members() == frozenset()


async def test_what_does_not_end_in_time_is_given_up_and_executed_by_the_next_worker(queue: Queue) -> None:
    gate, never, cleaned = Gate(), threading.Event(), []
    tasks = [queue.task("gate", 1), queue.task("hang"), queue.task("double", 3)]

    async def wait_and_clean(value: int) -> None:
        try:
            await gate.wait(value)
        finally:
            cleaned.append(value)

    def hang() -> None:
        gate.came.append("hang")
        never.wait(60)

    async with at_work(
        worker_of(queue, activity("gate")(wait_and_clean), activity("hang")(hang), double, grace_s=0.01), queue.log
    ):
        await queue.put(*tasks)
        await queue.ends(tasks[2])
        await eventually(lambda: len(gate.came) == 2)

    def later() -> str:
        return "later"

    never.set()
    assert cleaned == [1]
    assert len(await queue.reports()) == 1
    gate.open.set()
    async with at_work(worker_of(queue, gate.activity, double, activity("hang")(later)), queue.log):
        assert await queue.results(*tasks) == [1, "later", 6]


async def test_partitions_that_go_are_finished_but_not_committed_and_come_back_without_a_second_execution(queue: Queue) -> None:
    assert isinstance(queue.log, MemoryLog)
    gate = Gate()
    tasks = [queue.task("gate", n) for n in range(2)]
    async with at_work(worker_of(queue, gate.activity), queue.log):
        await queue.put(tasks[0], partition=0)
        await queue.put(tasks[1], partition=1)
        await eventually(lambda: len(gate.came) == 2)
        other = await queue.log.membership(group_of_name(queue), queue.tasks_topic, "other", 6_000, lambda _: None)
        gone = next(iter(group_of(queue).held("other")))
        gate.open.set()
        await queue.ends(*tasks)
        await eventually(lambda: group_of(queue).offsets.get(1 - gone) == 1)
        assert gone not in group_of(queue).offsets
        await other.close()
        await eventually(lambda: group_of(queue).offsets.get(gone) == 1)
    assert sorted(gate.came) == [0, 1]


def group_of_name(queue: Queue) -> str:
    return f"{queue.prefix}workers.{QUEUE}"


async def test_a_queue_or_cluster_that_does_not_exist_is_named(queue: Queue) -> None:
    stop = asyncio.Event()
    with pytest.raises(NoSuchQueue, match="nowhere"):
        await Worker("unused:1", "nowhere", activities=[double], prefix=queue.prefix).serve(stop, queue.log)
    with pytest.raises(WrongCluster, match="aion-server init"):
        await Worker("unused:1", QUEUE, activities=[double], prefix="other.").serve(stop, queue.log)


async def test_tasks_of_another_release_are_read_with_the_schema_that_was_published(queue: Queue) -> None:
    schema = json.loads(next(text for text in schemas().values() if json.loads(text)["name"] == "Task"))
    schema["fields"].append({"name": "priority", "type": ["null", "long"], "default": None})
    newer = fastavro.parse_schema(schema)
    fingerprint = bytes.fromhex(fastavro.schema.fingerprint(fastavro.schema.to_parsing_canonical_form(newer), "CRC-64-AVRO"))
    task = queue.task("double", 21)
    assert task.input is not None
    body = io.BytesIO()
    fastavro.schemaless_writer(body, newer, {**structs.asdict(task), "input": structs.asdict(task.input), "priority": 3})
    value = b"\xc3\x01" + fingerprint + body.getvalue()
    async with at_work(worker_of(queue, double), queue.log):
        sender = await queue.log.sender()
        await sender.send(queue.topics.schemas, 0, [(fingerprint.hex().encode(), json.dumps(schema).encode())])
        await queue.put_bytes((b"k", value))
        assert await queue.results(task) == [42]


async def test_tasks_that_kafka_deleted_before_they_were_read_hold_up_nothing(queue: Queue) -> None:
    first, second, gone, last = (queue.task("double", n) for n in range(4))
    async with at_work(worker_of(queue, double), queue.log):
        await queue.put(first)
        await queue.put(second, partition=1)
        await eventually(lambda: group_of(queue).offsets == {0: 1, 1: 1})
    await queue.put(gone, gone, last)
    await queue.log.delete_records(queue.tasks_topic, 0, 3)
    async with at_work(worker_of(queue, double), queue.log):
        assert await queue.results(last) == [6]
        await eventually(lambda: group_of(queue).offsets == {0: 4, 1: 1})
    assert await queue.bodies(gone) == []


async def test_a_worker_that_cannot_be_reached_by_its_group_goes_on_where_it_was(queue: Queue) -> None:
    assert isinstance(queue.log, MemoryLog)
    gate = Gate()
    running, later = queue.task("gate", 1), queue.task("gate", 2)
    async with at_work(worker_of(queue, gate.activity), queue.log):
        await queue.put(running)
        await eventually(lambda: gate.came == [1])
        (member,) = group_of(queue).members()
        tell = group_of(queue)._told[member]
        tell(frozenset())
        tell(frozenset({0, 1}))
        await queue.put(later)
        await eventually(lambda: gate.came == [1, 2])
        gate.open.set()
        assert await queue.results(running, later) == [1, 2]
        await eventually(lambda: group_of(queue).offsets.get(0) == 2)
    assert gate.came == [1, 2]
