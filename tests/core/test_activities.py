"""Timers and activities: what a run asks for, what workers and time do to it, and what leaves because of that."""

import pytest
from msgspec.structs import replace

from aion_common.ids import WorkflowId
from aion_common.limits import HEARTBEAT_BYTES_MAX, PAYLOAD_BYTES_MAX, SENT_THROUGH_LAG_MS
from aion_common.records.common import Payload, json_payload
from aion_common.records.events import ActivityScheduled, Failure, RunBlocked, WaitKind
from aion_common.records.tasks import (
    ReportBody,
    Task,
    TaskCancelled,
    TaskCompleted,
    TaskFailed,
    TaskHeartbeat,
    TaskStarted,
)
from aion_executor.core.activities import close_by, retry_at
from aion_executor.core.decide import decide
from aion_executor.core.facts import Facts
from aion_executor.core.inputs import TurnInput, Waits
from aion_executor.core.run import RunStatus
from aion_executor.store.memory import MemoryTables
from aion_executor.store.rows import Store
from executor.given import FACTS, V1, cancel, routed, signal, start, terminate
from executor.vm_twin import activity
from executor.world import World

W1 = WorkflowId("w1")
DONE = TaskCompleted(result=json_payload(b"7"))


def world_with(workflow_type: str) -> World:
    """One run of the type, begun."""
    return World().after(routed(V1, 1), start("c1", workflow_type))


def world_of(workflow_type: str) -> World:
    """The start of one run of the type stands in the commands."""
    world = World().after(routed(V1, 1))
    world.send(start("c1", workflow_type))
    return world


def failed(kind: str = "busy", *, retryable: bool = True, details: Payload | None = None) -> TaskFailed:
    """An attempt that failed."""
    return TaskFailed(failure=Failure(kind=kind, message="no", details=details), retryable=retryable)


def told(world: World, task: Task, *bodies: ReportBody) -> None:
    """A worker reports, and the owner goes on."""
    for body in bodies:
        world.report(task, body)
    world.run()


def pass_time(world: World, ms: int) -> None:
    """And see what it does."""
    world.now_ms += ms
    world.run()


def own_events(world: World) -> list[str]:
    """The names of the run's events."""
    return world.events(world.newest(W1).run_id)


def test_a_timer_fires_when_its_time_has_come_and_not_before() -> None:
    world = world_with("sleeps")
    pass_time(world, 999)
    assert own_events(world) == ["RunStarted", "TimerStarted"]
    pass_time(world, 1)
    assert own_events(world) == ["RunStarted", "TimerStarted", "TimerFired", "RunCompleted"]


def test_what_a_run_does_not_wait_for_does_not_wake_it() -> None:
    world = world_with("sleeps").after(signal("s1", "a"))
    assert own_events(world) == ["RunStarted", "TimerStarted", "SignalReceived", "TurnEnded"]
    pass_time(world, 1_000)
    assert world.newest(W1).status is RunStatus.COMPLETED


def test_a_result_is_given_to_the_run_and_the_next_task_leaves() -> None:
    world = world_with("calls")
    (first,) = world.tasks
    assert (first.activity, first.attempt, first.activity_type, first.input) == (1, 1, "step", json_payload(b"1"))
    assert (first.idempotency_key, first.report_started) == (f"{first.run_id}/1", True)
    told(world, first, TaskStarted(), DONE)
    second = world.tasks[-1]
    assert second.activity == 2
    told(world, second, DONE)
    assert own_events(world) == [
        "RunStarted",
        "ActivityScheduled",
        "ActivityStarted",
        "ActivityCompleted",
        "ActivityScheduled",
        "ActivityCompleted",
        "RunCompleted",
    ]
    assert not world.cancels


@pytest.mark.parametrize("keep_store", [True, False])
def test_a_new_owner_repeats_the_tasks_that_may_not_have_left_and_nothing_else(keep_store: bool) -> None:
    world = world_with("calls")
    told(world, world.tasks[0], DONE)
    seen = len(world.tasks)
    world.loop.gather(world.now_ms)
    world.report(world.tasks[1], DONE)
    world.crash(keep_store=keep_store)
    world.run()
    assert {(task.activity, task.attempt) for task in world.tasks[seen:]} <= {(1, 1), (2, 1)}
    assert world.newest(W1).status is RunStatus.COMPLETED


def scheduled_and_not_sent() -> World:
    """The log has the activity, and its owner dies before its task left."""
    world = world_of("calls")
    world.loop.gather(world.now_ms)
    world.pump()
    world.loop.gather(world.now_ms)
    world.append()
    assert own_events(world)[-1] == "ActivityScheduled"
    assert not world.tasks
    return world


@pytest.mark.parametrize("keep_store", [True, False])
def test_a_task_that_had_not_left_is_sent_by_the_next_owner(keep_store: bool) -> None:
    world = scheduled_and_not_sent()
    world.crash(keep_store=keep_store)
    world.run()
    assert [(task.activity, task.attempt, task.input) for task in world.tasks] == [(1, 1, json_payload(b"1"))]


@pytest.mark.parametrize("keep_store", [True, False])
def test_a_task_that_has_left_is_not_sent_again(keep_store: bool) -> None:
    world = world_with("calls")
    pass_time(world, SENT_THROUGH_LAG_MS)
    world.crash(keep_store=keep_store)
    world.run()
    assert len(world.tasks) == 1


def test_a_result_counts_once_and_only_for_the_attempt_that_is_waited_for() -> None:
    world = world_with("calls")
    first = world.tasks[0]
    told(world, first, failed())
    told(world, first, DONE)
    assert own_events(world)[-1] == "ActivityFailed"
    pass_time(world, 100)
    again = world.tasks[-1]
    assert (again.activity, again.attempt) == (1, 2)
    told(world, first, DONE)
    assert own_events(world)[-1] == "ActivityRetried"
    told(world, again, DONE, DONE)
    assert own_events(world).count("ActivityCompleted") == 1


def test_failures_are_tried_again_later_and_later_until_there_are_no_attempts_left() -> None:
    world = world_with("calls")
    pauses = []
    for attempt in (1, 2, 3):
        task = world.tasks[-1]
        assert task.attempt == attempt
        told(world, task, failed())
        waiting = world.newest(W1).activities.get(1)
        if waiting is not None:
            assert waiting.retry_at is not None
            pauses.append(waiting.retry_at - world.now_ms)
            pass_time(world, pauses[-1] - 1)
            assert world.tasks[-1] == task
            pass_time(world, 1)
    assert 90 <= pauses[0] <= 100
    assert 180 <= pauses[1] <= 200
    assert own_events(world)[-2:] == ["ActivityFailed", "ActivityScheduled"]


@pytest.mark.parametrize("body", [failed("broken"), failed(retryable=False)])
def test_a_final_failure_is_not_tried_again(body: TaskFailed) -> None:
    world = world_with("calls")
    told(world, world.tasks[0], body)
    assert (world.tasks[-1].activity, world.tasks[-1].attempt) == (2, 1)


def test_what_takes_too_long_is_tried_again_and_its_worker_is_told() -> None:
    world = world_with("calls")
    first = world.tasks[0]
    told(world, first, TaskStarted())
    for _ in range(5):
        told(world, first, TaskHeartbeat(details=json_payload(b"3")))
        pass_time(world, 399)
    assert "ActivityTimedOut" not in own_events(world)
    pass_time(world, 5)
    assert own_events(world)[-1] == "ActivityTimedOut"
    assert [(one.activity, one.attempt) for one in world.cancels] == [(1, 1)]
    pass_time(world, 100)
    assert (world.tasks[-1].attempt, world.tasks[-1].heartbeat) == (2, json_payload(b"3"))


def test_a_worker_that_goes_silent_is_taken_for_dead() -> None:
    world = world_with("calls")
    told(world, world.tasks[0], TaskStarted())
    pass_time(world, 499)
    assert own_events(world)[-1] == "ActivityStarted"
    pass_time(world, 1)
    assert own_events(world)[-1] == "ActivityTimedOut"


def test_a_result_that_was_read_when_its_time_was_over_still_counts() -> None:
    world = world_with("calls")
    told(world, world.tasks[0], TaskStarted())
    world.report(world.tasks[0], TaskStarted())
    world.report(world.tasks[0], DONE)
    pass_time(world, 500)
    assert own_events(world)[2:4] == ["ActivityStarted", "ActivityCompleted"]


def test_a_heartbeat_that_was_read_when_its_time_was_over_still_counts() -> None:
    world = world_with("calls")
    told(world, world.tasks[0], TaskStarted())
    world.report(world.tasks[0], TaskHeartbeat(details=json_payload(b"3")))
    pass_time(world, 500)
    assert own_events(world)[-1] == "ActivityStarted"
    pass_time(world, 499)
    assert own_events(world)[-1] == "ActivityStarted"
    pass_time(world, 1)
    assert own_events(world)[-1] == "ActivityTimedOut"
    live = world.newest(W1)
    world.crash(keep_store=False)
    assert world.newest(W1) == live


def test_heartbeats_before_and_behind_what_is_due_stand_in_one_batch_and_come_back() -> None:
    world = world_with("calls")
    told(world, world.tasks[0], TaskStarted())
    world.now_ms += 500
    world.report(world.tasks[0], TaskHeartbeat(details=json_payload(b"3")))
    world.loop.gather(world.now_ms)
    world.report(world.tasks[0], TaskHeartbeat(details=json_payload(b"4")))
    world.run()
    assert [type(record.event).__name__ for record in world.records()][-3:] == [
        "Progress",
        "HeartbeatsReceived",
        "HeartbeatsReceived",
    ]
    live = world.newest(W1)
    assert live.activities[1].heartbeat == json_payload(b"4")
    world.crash(keep_store=False)
    assert world.newest(W1) == live


def test_reports_without_end_do_not_hold_up_a_timer() -> None:
    world = world_with("sleeps").after(start("c2", "calls", workflow_id=WorkflowId("w2")))
    stale = replace(world.tasks[0], attempt=9)
    world.now_ms += 1_000
    world.report(stale, DONE)
    for _ in range(3):
        # Two come for each that is decided: the queue never gets empty.
        world.loop.gather(world.now_ms, 1)
        world.report(stale, DONE)
        world.report(stale, DONE)
    world.append()
    assert own_events(world)[-1] == "TimerFired"


def test_heartbeats_stand_at_the_end_of_their_batch() -> None:
    world = world_with("calls")
    world.report(world.tasks[0], TaskHeartbeat(details=None))
    told(world, world.tasks[0], TaskStarted())
    assert [type(record.event).__name__ for record in world.records()][-3:] == [
        "Progress",
        "ActivityStarted",
        "HeartbeatsReceived",
    ]


def test_time_that_ends_an_attempt_does_not_hurry_a_timer() -> None:
    world = world_with("races")
    told(world, world.tasks[0], TaskStarted())
    pass_time(world, 500)
    assert own_events(world)[-1] == "ActivityTimedOut"
    pass_time(world, 499)
    assert "TimerFired" not in own_events(world)
    pass_time(world, 1)
    assert "TimerFired" in own_events(world)


def test_a_heartbeat_outlives_its_owner() -> None:
    world = world_with("calls")
    told(world, world.tasks[0], TaskStarted())
    pass_time(world, 400)
    told(world, world.tasks[0], TaskHeartbeat(details=json_payload(b"3")))
    world.crash(keep_store=False)
    world.run()
    pass_time(world, 499)
    assert own_events(world)[-1] == "ActivityStarted"
    pass_time(world, 1)
    pass_time(world, 100)
    assert world.tasks[-1].heartbeat == json_payload(b"3")


def test_a_heartbeat_of_an_old_attempt_does_not_hide_that_of_the_present_one() -> None:
    world = world_with("calls")
    old = world.tasks[0]
    told(world, old, failed())
    pass_time(world, 100)
    told(world, world.tasks[-1], TaskStarted())
    pass_time(world, 400)
    world.report(world.tasks[-1], TaskHeartbeat(details=None))
    told(world, old, TaskHeartbeat(details=None))
    assert world.newest(W1).activities[1].beat_at == world.now_ms


def test_a_heartbeat_under_another_workflow_id_keeps_nothing_alive() -> None:
    world = world_with("calls")
    task = world.tasks[0]
    told(world, task, TaskStarted())
    pass_time(world, 400)
    told(world, task, TaskHeartbeat(details=None))
    told(world, replace(task, workflow_id=WorkflowId("w2")), TaskHeartbeat(details=json_payload(b"1")))
    known = world.newest(W1).activities[1]
    assert (known.beat_at, known.heartbeat) == (world.now_ms, None)
    pass_time(world, 400)
    told(world, replace(task, workflow_id=WorkflowId("w2")), TaskHeartbeat(details=None))
    assert world.newest(W1).activities[1].beat_at == world.now_ms - 400


def test_silence_counts_from_the_start_when_a_heartbeat_came_before_it() -> None:
    world = world_with("calls")
    told(world, world.tasks[0], TaskHeartbeat(details=None))
    pass_time(world, 1_000)
    told(world, world.tasks[0], TaskStarted())
    pass_time(world, 499)
    assert own_events(world)[-1] == "ActivityStarted"
    pass_time(world, 1)
    assert own_events(world)[-1] == "ActivityTimedOut"


def test_details_over_the_limit_are_left_out_and_the_heartbeat_counts() -> None:
    world = world_with("calls")
    told(world, world.tasks[0], TaskStarted(), TaskHeartbeat(details=json_payload(b"1" * (HEARTBEAT_BYTES_MAX + 1))))
    assert world.newest(W1).activities[1].beat_at == world.now_ms
    assert world.newest(W1).activities[1].heartbeat is None


def test_a_heartbeat_of_an_attempt_that_ended_in_the_same_batch_is_not_recorded() -> None:
    world = world_with("calls")
    told(world, world.tasks[0], TaskStarted(), TaskHeartbeat(details=None), DONE)
    assert not [record for record in world.records() if type(record.event).__name__ == "HeartbeatsReceived"]


def test_a_task_that_nobody_takes_is_given_up() -> None:
    world = world_with("calls")
    pass_time(world, 60_000)
    assert own_events(world)[2:] == ["ActivityTimedOut", "ActivityScheduled"]


def test_an_attempt_that_would_begin_after_the_last_moment_is_not_waited_for() -> None:
    world = world_with("calls")
    run = world.newest(W1)
    last_ms = close_by(run.activities[1])
    assert retry_at(run.run_id, 1, run.activities[1], last_ms - 101) is not None
    assert retry_at(run.run_id, 1, run.activities[1], last_ms - 89) is None


def test_a_queue_that_does_not_exist_fails_the_attempt_and_is_heard_of_when_it_does() -> None:
    world = World(queues=set()).after(routed(V1, 1), start("c1", "calls"))
    assert not world.tasks
    assert own_events(world) == ["RunStarted", "ActivityScheduled", "ActivityFailed"]
    world.queues.add("default")
    pass_time(world, 100)
    assert (world.tasks[0].attempt, own_events(world)[-1]) == (2, "ActivityRetried")


def test_all_attempts_may_fail_for_want_of_a_queue() -> None:
    world = World(queues=set()).after(routed(V1, 1), start("c1", "calls"))
    for _ in range(20):
        pass_time(world, 200)
    assert not world.tasks
    assert world.newest(W1).status is RunStatus.COMPLETED


@pytest.mark.parametrize("queues", [{"default"}, set()])
def test_an_activity_that_is_cancelled_in_the_turn_that_calls_it_is_none(queues: set[str]) -> None:
    world = World(queues=queues).after(routed(V1, 1), start("c1", "hesitates"))
    assert own_events(world) == ["RunStarted", "ActivityScheduled", "ActivityCancelled"]
    assert not world.newest(W1).activities
    assert len(world.tasks) == len(queues)
    assert world.after(signal("s1", "a")).newest(W1).status is RunStatus.COMPLETED


def test_a_run_that_gives_up_cancels_the_task_and_drops_its_result() -> None:
    world = world_with("races")
    pass_time(world, 1_000)
    assert [(one.activity, one.attempt) for one in world.cancels] == [(1, None)]
    told(world, world.tasks[0], DONE)
    assert own_events(world)[-1] == "ActivityCancelled"


def test_the_loser_of_a_race_is_cancelled() -> None:
    world = world_with("races")
    told(world, world.tasks[0], DONE)
    assert own_events(world)[-2:] == ["ActivityCompleted", "TimerCancelled"]
    pass_time(world, 1_000)
    assert "TimerFired" not in own_events(world)


def test_a_request_to_cancel_is_raised_in_a_wait_for_results() -> None:
    world = world_with("races").after(cancel("e1"))
    assert own_events(world)[-2:] == ["RunCancelRequested", "ActivityCancelled"]
    world.after(signal("s1", "tidied"))
    assert world.newest(W1).status is RunStatus.CANCELLED


def test_the_end_of_a_run_cancels_what_it_waits_for() -> None:
    world = world_with("races").after(terminate("e1"))
    assert [(one.activity, one.reason) for one in world.cancels] == [(None, "the run is terminated")]
    assert not world.newest(W1).timers
    assert world.loop.next_due_ms() is None or not list(world.loop.store.entries(b"due/"))


def test_a_result_over_the_limit_is_a_failure_that_says_so() -> None:
    world = world_with("calls")
    told(world, world.tasks[0], TaskCompleted(result=json_payload(b"1" * (PAYLOAD_BYTES_MAX + 1))))
    event = next(record.event for record in world.records() if type(record.event).__name__ == "ActivityFailed")
    assert "bytes, more than the limit" in str(event)


def test_details_of_a_failure_over_the_limit_are_left_out() -> None:
    world = world_with("calls")
    told(world, world.tasks[0], failed("broken", details=json_payload(b"1" * (PAYLOAD_BYTES_MAX + 1))))
    event = next(record.event for record in world.records() if type(record.event).__name__ == "ActivityFailed")
    assert "details=None" in str(event)


def test_a_worker_that_stops_by_itself_makes_room_for_another_attempt() -> None:
    world = world_with("calls")
    told(world, world.tasks[0], TaskCancelled())
    pass_time(world, 100)
    assert world.tasks[-1].attempt == 2


@pytest.mark.parametrize("workflow_type", ["sleeps", "calls", "races"])
def test_the_same_state_comes_of_the_history_alone(workflow_type: str) -> None:
    world = world_with(workflow_type)
    if world.tasks:
        told(world, world.tasks[0], TaskStarted(), TaskHeartbeat(details=json_payload(b"3")))
        told(world, world.tasks[0], failed())
        pass_time(world, 100)
        told(world, world.tasks[-1], TaskStarted())
    rebuilt = world.restore(Store(MemoryTables()))
    assert rebuilt.store.run(world.newest(W1).run_id) == world.newest(W1)
    assert list(rebuilt.store.entries(b"due/")) == list(world.loop.store.entries(b"due/"))


def test_time_does_nothing_before_the_reports_of_the_backlog_are_decided() -> None:
    world = world_with("calls")
    told(world, world.tasks[0], TaskStarted())
    world.loop.results_from = None
    pass_time(world, 500)
    assert own_events(world)[-1] == "ActivityStarted"
    world.report(world.tasks[0], DONE)
    world.loop.results_backlog_offered()
    world.run()
    assert "ActivityTimedOut" not in own_events(world)


@pytest.mark.parametrize("facts", [replace(FACTS, waits_max=2), replace(FACTS, decision_bytes_max=300)])
def test_a_turn_that_asks_for_more_than_is_allowed_blocks_its_run(facts: Facts) -> None:
    world = world_with("calls")
    requests = (activity(2), activity(3))
    turn = TurnInput(
        run_id=world.newest(W1).run_id,
        observed_seq=1,
        outcome=Waits(wait=WaitKind.RESULT, name="activity 2"),
        requests=requests,
    )
    allowed = decide(world.loop.partition, world.newest(W1), turn, FACTS)
    assert [type(event) for event in getattr(allowed, "events", ())] == [ActivityScheduled, ActivityScheduled]
    refused = decide(world.loop.partition, world.newest(W1), turn, facts)
    assert [type(event) for event in getattr(refused, "events", ())] == [RunBlocked]
