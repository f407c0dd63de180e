"""What a description says that a run waits for: activities with where they stand, timers, and signals that it was not given."""

import json
from typing import Any, cast

import httpx
import pytest
from msgspec.structs import replace

from aion_common.ids import WorkflowId
from aion_common.records.common import json_payload
from aion_common.records.events import Failure
from aion_common.records.tasks import Task, TaskCompleted, TaskFailed, TaskHeartbeat, TaskStarted
from aion_executor.core.activities import Activity
from aion_executor.core.run import Run
from aion_executor.shell import views
from aion_executor.shell.http import Owned, create_app
from aion_executor.shell.views import description_of, json_bytes
from executor.given import V1, W1, cancel, routed, signal, start
from executor.world import World

AGAIN = TaskFailed(failure=Failure(kind="busy", message="no", details=None), retryable=True)
STEP = {"activity": 1, "type": "step", "queue": "default"}
NOTHING = {"activities": [], "timers": [], "children": 0, "signals": 0}


def begun(workflow_type: str, **world: Any) -> World:
    """A world in which a run of the type has begun."""
    return World(**world).after(routed(V1, 1), start("c1", workflow_type))


async def pending(world: World, workflow_id: WorkflowId = W1) -> Any:
    """As the owner tells it over its HTTP."""
    owned = cast(Owned, lambda: {0: world})
    transport = httpx.ASGITransport(app=create_app("m", owned))
    query = {"namespace": "default", "workflow_id": workflow_id, "owner_epoch": str(world.loop.partition.owner_epoch)}
    async with httpx.AsyncClient(transport=transport, base_url="http://owner") as owner:
        answer = await owner.get("/partitions/0/description", params=query)
    assert answer.status_code == 200
    return answer.json()["pending"]


async def activity(world: World) -> Any:
    """The only one that is pending."""
    (only,) = (await pending(world))["activities"]
    return only


async def test_an_activity_goes_from_scheduled_to_started_to_waiting_and_is_gone() -> None:
    world = begun("calls")
    scheduled = STEP | {"attempt": 1, "scheduled_at": 1_000}
    assert await pending(world) == NOTHING | {"activities": [scheduled | {"state": "scheduled"}]}
    task = world.tasks[-1]
    world.now_ms += 100
    world.report(task, TaskStarted())
    world.run()
    assert await activity(world) == scheduled | {"state": "started"}
    world.now_ms += 100
    world.report(task, TaskHeartbeat(details=json_payload(b"50")))
    world.run()
    assert await activity(world) == scheduled | {"state": "started", "last_heartbeat_at": 1_200}
    world.report(task, AGAIN)
    world.run()
    waiting = await activity(world)
    assert 1_200 < waiting.pop("retry_at") <= 1_300
    assert waiting == scheduled | {"state": "waiting"}
    world.now_ms += 100
    world.run()
    assert await activity(world) == scheduled | {"state": "scheduled", "attempt": 2}
    _done(world, world.tasks[-1])
    assert (await activity(world))["activity"] == 2
    _done(world, world.tasks[-1])
    assert await pending(world) == NOTHING


async def test_a_heartbeat_says_too_that_somebody_is_at_it() -> None:
    world = begun("calls")
    world.report(world.tasks[-1], TaskHeartbeat(details=None))
    world.run()
    assert (await activity(world))["state"] == "started"


async def test_an_activity_without_a_queue_waits_for_one() -> None:
    world = begun("calls", queues=set())
    waiting = await activity(world)
    assert (waiting["state"], waiting["queue"], waiting["attempt"]) == ("waiting", "default", 1)
    world.queues.add("default")
    world.now_ms = waiting["retry_at"]
    world.run()
    assert (await activity(world))["state"] == "scheduled"


async def test_timers_say_when_they_fire() -> None:
    world = begun("races")
    told = await pending(world)
    assert told["timers"] == [{"timer": 2, "fires_at": 2_000}]
    assert [one["activity"] for one in told["activities"]] == [1]


async def test_signals_are_counted_and_other_inputs_are_not() -> None:
    world = begun("calls")
    world.report(world.tasks[-1], TaskCompleted(result=json_payload(b"7")))
    world.send(signal("s1", "a"), signal("s2", "b"), cancel("e1"))
    # The log takes them; the VM that would be given them says nothing yet.
    world.loop.gather(world.now_ms)
    world.append()
    run = world.newest(W1)
    assert len(run.unobserved) == 4, world.told()
    assert (await pending(world))["signals"] == 2


async def test_a_run_that_has_ended_waits_for_nothing() -> None:
    world = begun("races")
    _done(world, world.tasks[-1])
    world.send(signal("s1", "tidied"))
    world.run()
    assert world.newest(W1).closed_at is not None
    assert await pending(world) == NOTHING


def test_of_many_the_first_are_shown_and_all_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    world = begun("calls")
    run = world.newest(W1)
    step = run.activities[1]
    assert isinstance(step, Activity)
    monkeypatch.setattr(views, "PENDING_SHOWN_MAX", 3)
    many = _with(run, dict.fromkeys((9, 3, 5, 7), step), {1: 50, 2: 40, 3: 30, 4: 40})
    told = json.loads(json_bytes(description_of(many, None, resident=True)))["pending"]
    assert ([one["activity"] for one in told["activities"]], told["activities_total"]) == ([3, 5, 7], 4)
    assert ([one["timer"] for one in told["timers"]], told["timers_total"]) == ([3, 2, 4], 4)
    few = _with(run, {1: step}, {1: 50, 2: 40, 3: 30})
    assert not {"activities_total", "timers_total"} & _members(few)


def _members(run: Run) -> set[str]:
    return set(json.loads(json_bytes(description_of(run, None, resident=True)))["pending"])


def _with(run: Run, activities: dict[int, Activity], timers: dict[int, int]) -> Run:
    return replace(run, activities=activities, timers=timers)


def _done(world: World, task: Task) -> None:
    world.report(task, TaskCompleted(result=json_payload(b"7")))
    world.run()
