"""Timers and activities through real VMs, the whole stack and a worker in this process."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytest_asyncio

from acceptance.packages import fixture_source, packed
from acceptance.stack import Api, Stack
from aion_worker import Activity, Context, TerminalError, Worker, activity
from support import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")

FLOWS = {name: name for name in ("doubles", "fans_out", "fails", "naps", "outruns", "gives_up", "waits_for_signal")}


@dataclass(slots=True)
class Work:
    """What the activities of a test did."""

    attempts: list[int] = field(default_factory=list)
    hanging: int = 0
    cancelled: int = 0

    def activities(self) -> list[Activity[..., Any]]:
        """To be given to a worker."""

        @activity
        async def double(value: int) -> int:
            return 2 * value

        @activity("fails")
        async def fail(how: str, context: Context) -> None:
            self.attempts.append(context.attempt)
            if how == "terminal":
                raise TerminalError("never", "it would fail again")
            raise RuntimeError("not now")

        @activity
        async def hangs(_: None) -> None:
            self.hanging += 1
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.cancelled += 1
                raise

        return [double, fail, hangs]


@pytest_asyncio.fixture(loop_scope="session")
async def work(shared_stack: Stack) -> AsyncIterator[Work]:
    """A worker of the queue `default`, until the end of the test."""
    done, stop = Work(), asyncio.Event()
    worker = Worker(f"127.0.0.1:{shared_stack.kafka_port}", "default", activities=done.activities(), grace_s=0)
    async with asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(worker.serve(stop))
        yield done
        stop.set()
        await serving


async def deploy(api: Api) -> None:
    """The module of errands, each a workflow type."""
    await api.deploy(packed("errands", fixture_source("errands"), "doubles", FLOWS))


async def types_of(api: Api, workflow_id: str) -> list[str]:
    """The names of the run's events."""
    return [event["type"] for event in await api.history(workflow_id)]


async def test_activities_one_after_the_other_and_side_by_side(api: Api, work: Work) -> None:
    await deploy(api)
    await api.start("doubles", workflow_id="d", input={"n": 5, "value": 1})
    assert (await api.result("d"))["result"] == 32
    assert (await types_of(api, "d"))[1:] == [*["ActivityScheduled", "ActivityCompleted"] * 5, "RunCompleted"]
    await api.start("fans_out", workflow_id="f", input=100)
    assert (await api.result("f"))["result"] == [2 * number for number in range(100)]
    del work


async def test_a_failure_is_tried_again_and_reaches_the_workflow_as_data(api: Api, work: Work) -> None:
    await deploy(api)
    await api.start("fails", workflow_id="f", input="later")
    assert (await api.result("f"))["result"] == {"kind": "RuntimeError", "message": "not now"}
    assert work.attempts == [1, 2, 3]
    await api.start("fails", workflow_id="t", input="terminal")
    assert (await api.result("t"))["result"] == {"kind": "never", "message": "it would fail again"}
    assert work.attempts == [1, 2, 3, 1]


async def test_bad_input_of_an_activity_is_a_failure_that_names_the_field(api: Api, work: Work) -> None:
    await deploy(api)
    await api.start("fails", workflow_id="b", input=7)
    told = (await api.result("b"))["result"]
    assert "how" in told["message"], told
    assert not work.attempts


async def test_what_takes_too_long_times_out_and_its_worker_stops_it(api: Api, work: Work) -> None:
    await deploy(api)
    await api.start("outruns", workflow_id="o")
    assert (await api.result("o"))["result"] == "start_to_close"
    await eventually(lambda: work.cancelled == 1)
    await api.start("gives_up", workflow_id="g")
    assert (await api.result("g"))["result"] == "timeout"
    await eventually(lambda: work.cancelled == 2)


async def test_a_run_that_is_terminated_stops_its_activity(api: Api, work: Work) -> None:
    await deploy(api)
    await api.start("gives_up", workflow_id="g")
    await eventually(lambda: work.hanging == 1)
    assert (await api.call("POST", "/v1/workflows/g/terminate", json={})).status_code == 202
    await eventually(lambda: work.cancelled == 1)


async def test_timers_are_never_early(api: Api) -> None:
    await deploy(api)
    await api.start("naps", workflow_id="n", input=200)
    assert (await api.result("n"))["result"] >= 200
    await api.start("waits_for_signal", workflow_id="s", input=60_000)
    await api.signal("s", "go", 7)
    assert (await api.result("s"))["result"] == 7
    assert (await types_of(api, "s"))[-2:] != ["TimerFired", "RunCompleted"]
    await api.start("waits_for_signal", workflow_id="t", input=50)
    assert (await api.result("t"))["result"] == "nothing_came"


async def test_an_activity_goes_on_over_the_death_of_everything(own_stack: Stack) -> None:
    api, done, stop = Api(own_stack, "default"), Work(), asyncio.Event()
    await deploy(api)
    await api.start("doubles", workflow_id="d", input={"n": 3, "value": 1})
    await api.start("naps", workflow_id="n", input=1_000)
    await eventually(lambda: _has_scheduled(api))
    await own_stack.kill("executor-1")
    worker = Worker(f"127.0.0.1:{own_stack.kafka_port}", "default", activities=done.activities(), grace_s=0)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(worker.serve(stop))
        assert (await api.result("d"))["result"] == 8
        stop.set()
    assert (await api.result("n"))["result"] >= 1_000
    assert await api.terminal_events("d") == ["RunCompleted"]


async def _has_scheduled(api: Api) -> bool:
    return "ActivityScheduled" in await types_of(api, "d")
