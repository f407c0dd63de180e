"""Signals and turns: what a run observes, in which order, also after a replay."""

import pytest

from aion_common import limits
from aion_common.ids import RunId, WorkflowId
from aion_common.records.events import RunCompleted, RunFailed, TurnEnded, WaitKind
from aion_common.records.replies import Rejection, RejectionCode, SignalAccepted
from aion_common.records.tasks import TaskCompleted
from aion_executor.shell import waking
from executor.given import V1, V2, W1, cancel, routed, signal, start
from executor.world import World


@pytest.fixture
def world() -> World:
    return World().after(routed(V1, 1))


def test_parked_run_answers_when_signalled(world: World) -> None:
    run = world.after(start("c1", "park"), signal("c2", "any")).newest(W1)
    assert world.answer("c2") == SignalAccepted(run_id=run.run_id, seq=2)
    assert run.status == "completed"


def test_parked_run_stays_on_its_version(world: World) -> None:
    world.after(start("c1", "park"))
    world.after(routed(V2, 2))
    world.crash(keep_store=False)
    run = world.after(signal("c2", "any")).newest(W1)
    assert (run.version, run.status) == (V1, "completed")
    results = [record.event.result.data for record in world.records() if isinstance(record.event, RunCompleted)]
    assert results == [b"1"]


def test_input_during_a_turn_is_observed_by_the_next_one(world: World) -> None:
    world.send(start("c1", "two_signals"))
    world.loop.gather(world.now_ms)
    world.send(signal("c2", "a", b"5"))
    world.run()
    turns = [record.event for record in world.records() if isinstance(record.event, TurnEnded)]
    assert turns == [
        TurnEnded(observed_seq=1, wait=WaitKind.SIGNAL, name="a"),
        TurnEnded(observed_seq=2, wait=WaitKind.SIGNAL, name="b"),
    ]


@pytest.mark.parametrize("keep_store", [True, False])
def test_signal_before_a_crash_is_replayed_at_its_place(world: World, *, keep_store: bool) -> None:
    world.after(start("c1", "two_signals"), signal("c2", "a", b"10"))
    world.crash(keep_store=keep_store)
    run = world.after(signal("c3", "b", b"20")).newest(W1)
    assert run.status == "completed"
    results = [record.event.result.data for record in world.records() if isinstance(record.event, RunCompleted)]
    assert results == [b"[10,20]"]


def test_signals_wait_for_the_one_who_receives_them(world: World) -> None:
    world.after(start("c1", "two_signals"), signal("c2", "b", b"2"), signal("c3", "a", b"1"))
    results = [record.event.result.data for record in world.records() if isinstance(record.event, RunCompleted)]
    assert results == [b"[1,2]"]


def test_signal_to_nobody_is_refused(world: World) -> None:
    answer = world.after(signal("c1", "s")).answer("c1")
    assert isinstance(answer, Rejection)
    assert answer.code is RejectionCode.NOT_FOUND


def test_signal_to_a_run_of_another_workflow_id_is_refused(world: World) -> None:
    run = world.after(start("c1", "park")).newest(W1)
    answer = world.after(signal("c2", "s", workflow_id=WorkflowId("w2"), run_id=run.run_id)).answer("c2")
    assert isinstance(answer, Rejection)
    assert answer.code is RejectionCode.NOT_FOUND


def test_signal_to_a_closed_run_is_refused_with_its_status(world: World) -> None:
    run = world.after(start("c1", "at_once")).newest(W1)
    world.after(start("c2", "park"), signal("c3", "s", run_id=RunId(run.run_id)))
    answer = world.answer("c3")
    assert isinstance(answer, Rejection)
    assert (answer.code, answer.status) == (RejectionCode.CLOSED, "completed")


def test_failure_is_recorded(world: World) -> None:
    run = world.after(start("c1", "fails")).newest(W1)
    assert run.status == "failed"
    failures = [record.event.failure for record in world.records() if isinstance(record.event, RunFailed)]
    assert [(failure.kind, failure.message) for failure in failures] == [("error", "fails")]


def test_run_is_blocked_when_its_replay_differs(world: World) -> None:
    run = world.after(start("c1", "park")).newest(W1)
    world.crash(keep_store=True)
    world.vms.code = {**world.vms.code, "park": world.vms.code["at_once"]}
    world.after(signal("c2", "any"))
    run = world.newest(W1)
    assert run.status == "blocked"
    assert run.blocked is not None
    assert "Waits" in run.blocked.expected
    assert "Completes" in run.blocked.found
    assert world.events(run.run_id)[-1] == "RunBlocked"


def test_blocked_run_still_takes_signals_but_is_not_woken(world: World) -> None:
    world.after(start("c1", "park"))
    world.crash(keep_store=True)
    world.vms.code = {**world.vms.code, "park": world.vms.code["at_once"]}
    world.after(signal("c2", "any"))
    starts = world.vms.starts
    world.after(signal("c3", "any"))
    assert isinstance(world.answer("c3"), SignalAccepted)
    assert world.vms.starts == starts


def test_dead_vm_costs_no_run(world: World) -> None:
    world.send(start("c1", "park"), start("c2", "two_signals", workflow_id=WorkflowId("w2")))
    world.loop.gather(world.now_ms)
    world.loop.gone(world.vms.die(), world.now_ms)
    world.run()
    assert world.newest(W1).wait is WaitKind.RECEIVE
    world.loop.gone(world.vms.die(), world.now_ms)
    world.after(signal("c3", "any"))
    assert world.newest(W1).status == "completed"


def dies(world: World) -> None:
    """The shared VM dies, and the loop goes on."""
    world.loop.gone(world.vms.die(), world.now_ms)
    world.loop.gather(world.now_ms)
    world.loop.bring_in(world.now_ms)


def test_run_that_was_in_a_turn_at_two_deaths_gets_a_vm_of_its_own_and_is_blocked_if_that_dies(world: World) -> None:
    world.send(start("c1", "park"))
    world.loop.gather(world.now_ms)
    for _ in range(2):
        dies(world)
    assert len(world.vms.alone) == 1
    world.loop.gone(world.vms.die_alone(), world.now_ms)
    world.run()
    assert world.newest(W1).status == "blocked"


def test_neighbour_of_a_run_that_kills_vms_is_not_blocked(world: World) -> None:
    neighbour = WorkflowId("neighbour")
    world.send(start("c1", "park"), start("c2", "park", workflow_id=neighbour))
    world.loop.gather(world.now_ms)
    for _ in range(2):
        dies(world)
    killer = min(world.vms.alone)
    world.vms.kill(killer)
    world.loop.gone([killer], world.now_ms)
    world.run()
    assert {world.newest(W1).status, world.newest(neighbour).status} == {"blocked", "running"}


def test_other_suspects_go_back_to_the_shared_vm_when_the_killer_is_found(world: World) -> None:
    world.send(start("c1", "park"), start("c2", "park", workflow_id=WorkflowId("neighbour")))
    world.loop.gather(world.now_ms)
    for _ in range(2):
        dies(world)
    assert len(world.vms.alone) == 2
    killer = min(world.vms.alone)
    world.vms.kill(killer)
    world.loop.gone([killer], world.now_ms)
    world.loop.gather(world.now_ms)
    world.loop.bring_in(world.now_ms)
    assert world.vms.processes.keys() - world.vms.alone == world.vms.processes.keys()
    assert len(world.vms.processes) == 1


def test_run_that_kills_its_vm_out_of_a_soft_wait_is_blocked() -> None:
    world = World().after(routed(V1, 1, wakes_itself=True), start("c1", "park"))
    for _ in range(2):
        world.loop.gone(world.vms.die(), world.now_ms)
        world.run()
    world.loop.gone(world.vms.die_alone(), world.now_ms)
    world.run()
    assert world.newest(W1).status == "blocked"


def test_deaths_far_apart_are_not_in_a_row(world: World) -> None:
    world.send(start("c1", "two_signals"))
    world.loop.gather(world.now_ms)
    for _ in range(5):
        dies(world)
        world.now_ms += 100_000
    world.run()
    assert not world.vms.alone
    assert world.newest(W1).status == "running"


@pytest.mark.parametrize("wakes_itself", [False, True])
def test_suspect_that_behaves_goes_back_to_the_others(*, wakes_itself: bool) -> None:
    world = World().after(routed(V1, 1, wakes_itself=wakes_itself))
    world.send(start("c1", "park"))
    world.loop.gather(world.now_ms)
    for _ in range(2):
        dies(world)
    assert len(world.vms.alone) == 1
    world.run()
    assert bool(world.vms.alone & world.vms.processes.keys()) == wakes_itself, "who may still go on by itself stays a while"
    world.now_ms += 11_000
    world.loop.evict_idle(world.now_ms)
    world.run()
    assert not world.vms.alone & world.vms.processes.keys()
    assert world.after(signal("c2", "any")).newest(W1).status == "completed"


def test_suspect_that_dies_alone_is_blocked_however_long_it_waited_for_its_place(world: World) -> None:
    world.send(start("c1", "park"))
    world.loop.gather(world.now_ms)
    for _ in range(2):
        dies(world)
    world.now_ms += 1_000_000
    world.loop.gone(world.vms.die_alone(), world.now_ms)
    world.run()
    assert world.newest(W1).status == "blocked"


def test_suspect_whose_turn_does_not_end_gives_its_place_back(world: World) -> None:
    world.send(start("c1", "park"))
    world.loop.gather(world.now_ms)
    for _ in range(2):
        dies(world)
    world.vms.ready.clear()
    world.now_ms += 61_000
    world.loop.evict_idle(world.now_ms)
    world.run()
    assert world.newest(W1).wait is WaitKind.RECEIVE
    assert not world.vms.alone & world.vms.processes.keys()


def test_runs_that_may_wake_themselves_are_replayed_by_a_new_owner() -> None:
    world = World().after(routed(V1, 1, wakes_itself=True), start("c1", "park"))
    world.crash(keep_store=True)
    world.run()
    assert world.vms.starts == 1


def test_sleepers_are_not_woken_by_a_take_over(world: World) -> None:
    world.after(start("c1", "park"), start("c2", "two_signals", workflow_id=WorkflowId("w2")))
    world.crash(keep_store=True)
    world.run()
    assert world.vms.starts == 0


def test_idle_run_leaves_the_vm_and_comes_back(world: World) -> None:
    world.after(start("c1", "two_signals"), signal("c2", "a", b"1"))
    world.now_ms += 700_000
    world.loop.evict_idle(world.now_ms)
    assert len(world.loop.residents) == 0
    assert world.after(signal("c3", "b", b"2")).newest(W1).status == "completed"


def test_turn_that_ended_before_its_vm_died_is_recorded_once(world: World) -> None:
    world.send(start("c1", "two_signals"))
    world.loop.gather(world.now_ms)
    world.pump()
    world.loop.gone(world.vms.die(), world.now_ms)
    run = world.after(signal("c2", "a"), signal("c3", "b")).newest(W1)
    observed = [record.event.observed_seq for record in world.records() if isinstance(record.event, TurnEnded)]
    assert observed == sorted(set(observed))
    assert run.status == "completed"


def test_batch_does_not_wait_for_a_run_that_was_evicted(world: World) -> None:
    world.send(start("c1", "at_once"))
    world.loop.gather(world.now_ms)
    world.pump()
    world.loop.gone(world.vms.die(), world.now_ms)
    world.loop.gather(world.now_ms)
    assert world.loop.is_due(world.now_ms)


def test_runs_that_waited_longest_make_room(world: World) -> None:
    world.loop.waking.residents_max = 3
    ids = [WorkflowId(f"w{number}") for number in range(6)]
    for workflow_id in ids:
        world.now_ms += 1
        world.after(start(f"c-{workflow_id}", "two_signals", workflow_id=workflow_id))
    assert len(world.loop.residents) <= 3
    assert world.loop.residents.is_resident(world.newest(ids[-1]).run_id)
    for workflow_id in ids:
        world.after(*(signal(f"{name}-{workflow_id}", name, workflow_id=workflow_id) for name in "ab"))
        assert world.newest(workflow_id).status == "completed"


@pytest.mark.parametrize("during", [0, 1], ids=["alone", "while another signal comes"])
def test_long_history_is_read_in_slices_before_its_run_is_woken(
    world: World, monkeypatch: pytest.MonkeyPatch, during: int
) -> None:
    monkeypatch.setattr(waking, "HISTORY_SLICE_EVENTS", 3)
    world.after(start("c1", "two_signals"))
    for number in range(4):
        world.after(signal(f"x{number}", "x"))
    world.crash(keep_store=True)
    world.send(signal("a", "a", b"1"))
    world.loop.gather(world.now_ms)
    slices = 0
    while not world.vms.starts:
        world.loop.bring_in(world.now_ms)
        slices += 1
        if slices == 1 and during:
            world.send(signal("y", "x"))
            world.loop.gather(world.now_ms)
    assert slices >= 2
    run = world.after(signal("b", "b", b"2")).newest(W1)
    assert run.status == "completed"
    assert world.vms.starts == 1


def test_long_history_is_replayed_after_a_death(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waking, "HISTORY_SLICE_EVENTS", 1)
    world.after(start("c1", "two_signals"), signal("a", "a"))
    world.loop.gone(world.vms.die(), world.now_ms)
    world.after(signal("b", "b"))
    assert world.newest(W1).status == "completed"


def test_overloaded_is_decided_anew_when_repeated(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PENDING_SIGNALS_MAX", 2)
    world.send(start("c1", "two_signals"))
    world.loop.gather(world.now_ms)
    world.send(*(signal(f"x{number}", "x") for number in range(2)))
    world.loop.gather(world.now_ms)
    refused = world.after(signal("c2", "a")).answer("c2")
    assert isinstance(refused, Rejection)
    assert refused.code is RejectionCode.OVERLOADED
    assert refused.reason == "2 signals wait for the run's next turn"
    assert isinstance(world.after(signal("c2", "a")).answers("c2")[-1], SignalAccepted)


@pytest.mark.parametrize("keep_store", [True, False])
def test_only_signals_count_against_their_limit(world: World, monkeypatch: pytest.MonkeyPatch, *, keep_store: bool) -> None:
    monkeypatch.setattr(limits, "PENDING_SIGNALS_MAX", 2)
    world.after(start("c1", "calls"))
    world.report(world.tasks[0], TaskCompleted(result=None))
    world.send(cancel("e1"), signal("s1", "a"))
    world.loop.gather(world.now_ms)
    world.append()
    world.crash(keep_store=keep_store)
    world.send(signal("s2", "a"), signal("s3", "a"))
    world.loop.gather(world.now_ms)
    world.append()
    world.flush()
    assert isinstance(world.answer("s2"), SignalAccepted)
    assert isinstance(world.answer("s3"), Rejection)
