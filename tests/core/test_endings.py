"""Ends that come from outside: cancel, terminate, time-outs, and a start that takes another run's place."""

import pytest

from aion_common.ids import WorkflowId
from aion_common.limits import CANCEL_GRACE_MS
from aion_common.records.commands import IdConflict, VersionRouted
from aion_common.records.common import RunTimeout
from aion_common.records.replies import (
    CancelAccepted,
    Rejection,
    RejectionCode,
    SignalAccepted,
    StartAccepted,
    TerminateAccepted,
)
from aion_executor.core.run import RunStatus
from executor.given import TYPES, V1, cancel, routed, signal, start, terminate
from executor.world import World

W1 = WorkflowId("w1")


@pytest.fixture
def world() -> World:
    return World().after(routed(V1, 1))


def events(world: World) -> list[str]:
    return world.events(world.newest(W1).run_id)


def refused_with(world: World, command_id: str) -> RejectionCode:
    answer = world.answer(command_id)
    assert isinstance(answer, Rejection)
    return answer.code


def test_run_that_is_asked_to_cancel_ends_as_cancelled(world: World) -> None:
    world.after(start("c1", "two_signals")).after(cancel("c2", "no stock"))
    run = world.newest(W1)
    assert run.status is RunStatus.CANCELLED
    assert world.answer("c2") == CancelAccepted(run_id=run.run_id, seq=3)
    assert events(world) == ["RunStarted", "TurnEnded", "RunCancelRequested", "RunCancelled"]


def test_run_may_tidy_up_before_it_ends(world: World) -> None:
    world.after(start("c1", "tidies"), cancel("c2"))
    assert world.newest(W1).status is RunStatus.RUNNING
    world.after(signal("s1", "tidied", b'"all done"'))
    assert world.newest(W1).status is RunStatus.COMPLETED


def test_request_is_given_before_a_signal_that_came_after_it(world: World) -> None:
    world.after(start("c1", "two_signals"))
    world.after(cancel("c2"), signal("s1", "a"))
    assert world.newest(W1).status is RunStatus.CANCELLED


def test_request_waits_for_the_run_to_read_what_came_before_it(world: World) -> None:
    world.after(start("c1", "tidies"))
    world.after(signal("s1", "a"), cancel("c2"))
    assert world.newest(W1).status is RunStatus.COMPLETED


def test_second_request_is_answered_with_the_first(world: World) -> None:
    world.after(start("c1", "tidies"), cancel("c2", "one"), cancel("c3", "two"))
    assert world.answer("c2") == world.answer("c3")
    assert events(world).count("RunCancelRequested") == 1


def test_run_that_does_not_tidy_up_in_time_is_ended(world: World) -> None:
    world.after(start("c1", "park"), cancel("c2", "no stock"))
    world.now_ms += CANCEL_GRACE_MS - 1
    world.run()
    assert world.newest(W1).status is RunStatus.RUNNING
    world.now_ms += 1
    world.run()
    assert world.newest(W1).status is RunStatus.CANCELLED
    assert not world.vms.processes


def test_blocked_run_can_be_cancelled_and_terminated(world: World) -> None:
    world.after(start("c1", "park"))
    world.vms.code = {**world.vms.code, "park": world.vms.code["at_once"]}
    world.loop.gone(world.vms.die(), world.now_ms)
    world.after(signal("s1", "x"))
    assert world.newest(W1).status is RunStatus.BLOCKED
    world.after(cancel("c2"))
    world.now_ms += CANCEL_GRACE_MS
    world.run()
    assert world.newest(W1).status is RunStatus.CANCELLED


def test_terminated_run_ends_at_once(world: World) -> None:
    world.after(start("c1", "two_signals"), terminate("c2", "wrong order"))
    run = world.newest(W1)
    assert run.status is RunStatus.TERMINATED
    assert world.answer("c2") == TerminateAccepted(run_id=run.run_id, seq=run.seq)
    assert not world.vms.processes


def test_turn_that_ends_after_the_run_was_terminated_is_not_recorded(world: World) -> None:
    world.after(start("c1", "two_signals"))
    world.send(signal("s1", "a"))
    world.loop.gather(world.now_ms)
    world.send(terminate("c2"))
    world.run()
    assert events(world)[-1] == "RunTerminated"


@pytest.mark.parametrize("wish", [cancel, terminate])
def test_closed_or_missing_run_cannot_be_ended(world: World, wish: object) -> None:
    assert callable(wish)
    world.after(wish("c0", workflow_id=W1), start("c1", "at_once"))
    world.after(wish("c2", workflow_id=W1))
    assert refused_with(world, "c0") is RejectionCode.NOT_FOUND
    assert refused_with(world, "c2") is RejectionCode.CLOSED


def test_start_may_take_the_place_of_an_open_run(world: World) -> None:
    world.after(start("c1", "two_signals"))
    first = world.newest(W1)
    world.after(start("c2", "park", id_conflict=IdConflict.TERMINATE_EXISTING))
    assert isinstance(world.answer("c2"), StartAccepted)
    assert world.events(first.run_id)[-1] == "RunTerminated"
    assert world.newest(W1).run_id != first.run_id
    assert len(world.answers("c2")) == 1


def test_start_that_cannot_run_leaves_the_open_run_alone(world: World) -> None:
    world.after(start("c1", "two_signals"), start("c2", "nobody", id_conflict=IdConflict.TERMINATE_EXISTING))
    assert refused_with(world, "c2") is RejectionCode.UNKNOWN_WORKFLOW_TYPE
    assert world.newest(W1).status is RunStatus.RUNNING


def test_end_of_the_old_run_and_start_of_the_new_one_are_in_one_batch(world: World) -> None:
    world.after(start("c1", "two_signals"))
    before = len(world.history)
    world.after(start("c2", "two_signals", id_conflict=IdConflict.TERMINATE_EXISTING))
    assert [type(record.event).__name__ for record in world.records()[before : before + 3]] == [
        "Progress",
        "RunTerminated",
        "RunStarted",
    ]


@pytest.mark.parametrize("keep_store", [None, True, False])
def test_run_is_ended_when_its_time_is_over_and_never_before(world: World, keep_store: bool | None) -> None:
    world.after(start("c1", "two_signals", run_timeout_ms=5_000))
    if keep_store is not None:
        world.crash(keep_store=keep_store)
        world.run()
    world.now_ms += 4_999
    world.run()
    assert world.newest(W1).status is RunStatus.RUNNING
    world.now_ms += 1
    world.run()
    assert world.newest(W1).status is RunStatus.TIMED_OUT


def test_package_says_how_long_runs_may_take_if_their_start_does_not(world: World) -> None:
    marker = routed(V1, 2)
    assert isinstance(marker.body, VersionRouted)
    timeouts = (RunTimeout(workflow_type=TYPES[1], timeout_ms=700),)
    body = VersionRouted(
        namespace=marker.body.namespace,
        version=V1,
        types=TYPES,
        routed_types=TYPES,
        route_epoch=2,
        package=marker.body.package,
        timeouts=timeouts,
    )
    world.after(type(marker)(body=body), start("c1", "two_signals"))
    assert world.newest(W1).timeout_at == world.now_ms + 700
    world.after(start("c2", "two_signals", workflow_id=WorkflowId("w2"), run_timeout_ms=9))
    assert world.newest(WorkflowId("w2")).timeout_at == world.now_ms + 9


def test_what_came_before_the_deadline_is_decided_before_it(world: World) -> None:
    world.after(start("c1", "two_signals", run_timeout_ms=5_000))
    world.send(signal("s1", "a"), signal("s2", "b"))
    world.loop.dues_from = len(world.commands)
    world.now_ms += 60_000
    world.run()
    assert isinstance(world.answer("s1"), SignalAccepted)
    assert events(world) == ["RunStarted", "TurnEnded", "SignalReceived", "SignalReceived", "RunTimedOut"]


def test_time_does_nothing_while_the_backlog_is_not_known(world: World) -> None:
    world.after(start("c1", "two_signals", run_timeout_ms=5_000))
    world.loop.dues_from = None
    world.now_ms += 60_000
    world.run()
    assert world.newest(W1).status is RunStatus.RUNNING
    world.loop.backlog_offered()
    world.run()
    assert world.newest(W1).status is RunStatus.TIMED_OUT


def test_deadline_that_is_far_away_is_found_when_it_comes_near(world: World) -> None:
    day_ms = 24 * 3_600_000
    world.after(start("c1", "two_signals", run_timeout_ms=day_ms))
    while world.newest(W1).status is RunStatus.RUNNING:
        assert world.now_ms < day_ms + 2_000, world.told()
        due_ms = world.loop.next_due_ms()
        assert due_ms is not None
        world.now_ms = max(due_ms, world.now_ms + 1)
        world.run()
    assert world.now_ms == 1_000 + day_ms
