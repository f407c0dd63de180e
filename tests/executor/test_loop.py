"""The loop's own promises: one writer, watermark, limits of batches, time, residents, room."""

import pytest
from msgspec.structs import replace

from aion_common.ids import WorkflowId, WorkflowType
from aion_common.limits import INPUTS_PER_BATCH_MAX, MIB, SENT_THROUGH_LAG_MS, TURN_WAIT_MS
from aion_common.records.events import Progress, RunStarted, TurnEnded, WaitKind
from aion_executor import processor
from aion_executor.core.inputs import Waits
from aion_executor.core.partition import version_key
from aion_executor.shell.residents import TurnEnd
from aion_executor.store.api import Table
from aion_executor.store.behind import WriteBehind
from aion_executor.store.keys import META_KEY
from aion_executor.store.memory import MemoryTables
from executor.given import DEFAULT, V1, V2, W1, routed, signal, start
from executor.world import World


@pytest.fixture
def world() -> World:
    return World().after(routed(V1, 1))


def progress(world: World) -> Progress:
    """The newest."""
    return [record.event for record in world.records() if isinstance(record.event, Progress)][-1]


def test_batch_that_lies_elsewhere_than_expected_is_not_believed(world: World) -> None:
    world.send(start("c1", "at_once"))
    world.loop.gather(world.now_ms)
    world.loop.seal(world.now_ms)
    with pytest.raises(AssertionError, match="one writer"):
        world.loop.acknowledged(len(world.history) + 1)


def test_watermark_follows_what_was_sent(world: World) -> None:
    world.after(start("c1", "park"))
    sent_through = len(world.history) - 1
    world.after(start("c2", "park", workflow_id=WorkflowId("w2")))
    assert progress(world).sent_through == sent_through


def test_watermark_never_runs_ahead_of_sends(world: World) -> None:
    world.after(start("c1", "park"))
    sent_through = len(world.history) - 1
    world.send(start("c2", "park", workflow_id=WorkflowId("w2")))
    world.loop.gather(world.now_ms)
    world.pump()
    world.append()
    world.send(start("c3", "park", workflow_id=WorkflowId("w3")))
    world.loop.gather(world.now_ms)
    world.append()
    assert progress(world).sent_through == sent_through


def test_watermark_reaches_the_log_when_nothing_else_happens_and_only_once(world: World) -> None:
    world.after(start("c1", "park"))
    sent_through = len(world.history) - 1
    assert not world.loop.is_due(world.now_ms + SENT_THROUGH_LAG_MS - 1)
    world.now_ms += SENT_THROUGH_LAG_MS
    world.run()
    assert progress(world).sent_through == sent_through
    written = len(world.history)
    world.now_ms += 10 * SENT_THROUGH_LAG_MS
    world.run()
    assert len(world.history) == written


def test_input_that_comes_twice_is_decided_once(world: World) -> None:
    world.send(start("c1", "park"))
    world.loop.offer(world.commands[-1:])
    world.run()
    assert len(world.answers("c1")) == 1


def test_time_does_not_go_back_with_the_clock(world: World) -> None:
    world.after(start("c1", "park"))
    world.now_ms -= 500
    world.after(start("c2", "park", workflow_id=WorkflowId("w2")))
    times = [record.recorded_at for record in world.records()]
    assert times == sorted(times)


def test_batches_are_cut_by_number(world: World) -> None:
    number = INPUTS_PER_BATCH_MAX + 50
    world.after(*(start(f"c{i}", "at_once", workflow_id=WorkflowId(f"w{i}")) for i in range(number)))
    sizes, started = [], 0
    for record in world.records():
        if isinstance(record.event, Progress):
            sizes.append(started)
            started = 0
        started += isinstance(record.event, RunStarted)
    assert max([*sizes, started]) <= INPUTS_PER_BATCH_MAX
    assert sum(sizes) + started == number


def test_batches_stay_below_what_a_broker_takes(world: World) -> None:
    text = b'"' + b"x" * 250_000 + b'"'
    world.send(*(start(f"c{i}", "park", workflow_id=WorkflowId(f"w{i}"), given_input=text) for i in range(8)))
    while True:
        world.loop.gather(world.now_ms)
        world.pump()
        if not world.loop.is_due(world.now_ms):
            break
        before = len(world.history)
        world.append()
        assert sum(len(value) for value in world.history[before:]) < MIB
    assert sum(isinstance(record.event, RunStarted) for record in world.records()) == 8


def test_slow_run_holds_a_batch_no_longer_than_the_turn_wait(world: World) -> None:
    world.send(start("c1", "park"))
    world.loop.gather(world.now_ms)
    assert not world.loop.is_due(world.now_ms + TURN_WAIT_MS - 1)
    assert world.loop.waits_for_turns
    assert world.loop.is_due(world.now_ms + TURN_WAIT_MS)


@pytest.mark.parametrize("keep_store", [True, False])
def test_new_owner_wakes_the_run_whose_turn_was_lost(world: World, *, keep_store: bool) -> None:
    world.send(start("c1", "at_once"))
    world.loop.gather(world.now_ms)
    world.append()
    world.crash(keep_store=keep_store)
    world.run()
    assert world.newest(W1).status == "completed"


def test_owner_that_dies_before_its_rows_are_written_loses_nothing() -> None:
    below = MemoryTables()
    world = World(tables=WriteBehind(below)).after(routed(V1, 1))
    world.loop.store.flush()
    at = below.get(Table.META, META_KEY)
    world.send(start("c1", "park"))
    world.loop.gather(world.now_ms)
    world.pump()
    world.append()
    assert below.get(Table.META, META_KEY) == at, "the rows of the batch wait, and die with their owner"
    world.owed.clear()
    world.tables = WriteBehind(below)
    world.own()
    world.run()
    assert len(world.answers("c1")) == 1
    assert world.events(world.newest(W1).run_id) == ["RunStarted", "TurnEnded"]
    world.after(start("c1", "park"))
    assert world.answers("c1")[0] == world.answers("c1")[1]


def test_run_that_may_wake_itself_is_brought_back_after_a_death() -> None:
    world = World().after(routed(V1, 1, wakes_itself=True), start("c1", "park"))
    world.loop.gone(world.vms.die(), world.now_ms)
    world.run()
    assert world.loop.residents.is_resident(world.newest(W1).run_id)


def test_run_that_may_wake_itself_is_not_taken_out_for_being_idle() -> None:
    world = World().after(routed(V1, 1, wakes_itself=True), start("c1", "park"))
    world.now_ms += 10_000_000
    world.loop.evict_idle(world.now_ms)
    assert world.loop.residents.is_resident(world.newest(W1).run_id)


def test_nothing_comes_of_an_activation_that_ended(world: World) -> None:
    run = world.after(start("c1", "two_signals")).newest(W1)
    activation = next(iter(world.vms.processes))
    world.loop.residents.evict(run.run_id)
    world.loop.outcome(activation, TurnEnd(observed_seq=1, outcome=Waits(wait=WaitKind.RECEIVE, name=None)), world.now_ms)
    world.run()
    assert world.newest(W1) == run


def test_late_end_of_an_earlier_turn_leaves_the_run_in_its_turn(world: World) -> None:
    world.after(start("c1", "two_signals"))
    activation = next(iter(world.vms.processes))
    world.send(signal("c2", "x"))
    world.loop.gather(world.now_ms)
    (_, of_the_signal) = world.vms.ready.pop()
    early = TurnEnd(observed_seq=1, outcome=Waits(wait=WaitKind.SIGNAL, name="a"))
    world.loop.outcome(activation, early, world.now_ms)
    world.send(signal("c3", "a"))
    world.loop.gather(world.now_ms)
    assert not world.vms.ready, "the third event is not given before the second one's turn has ended"
    world.vms.ready.append((activation, of_the_signal))
    run = world.after(signal("c4", "b")).newest(W1)
    assert run.status == "completed"


def test_abandoned_loop_leaves_no_process_behind(world: World) -> None:
    world.after(start("c1", "park"))
    world.loop.abandon()
    assert not world.vms.processes


def test_starts_beyond_the_room_wait_and_are_brought_in_as_room_comes(world: World) -> None:
    world.loop.waking.residents_max = 4
    ids = [WorkflowId(f"w{number}") for number in range(12)]
    world.send(*(start(f"c-{workflow_id}", "at_once", workflow_id=workflow_id) for workflow_id in ids))
    world.loop.gather(world.now_ms)
    assert len(world.loop.residents) == 4
    world.run()
    assert [world.newest(workflow_id).status for workflow_id in ids] == ["completed"] * 12


def test_catalog_part_of_the_store_is_written_only_when_it_changes(world: World) -> None:
    world.after(start("c1", "park"))
    meta = world.loop.store.meta()
    assert meta is not None
    assert meta.partition == replace(world.loop.partition)
    assert meta.partition.versions


def test_two_turns_that_ended_before_a_death_are_both_recorded_once() -> None:
    world = World().after(routed(V1, 1, wakes_itself=True), start("c1", "two_signals"))
    activation = next(iter(world.vms.processes))
    world.send(signal("s1", "zz"))
    world.loop.gather(world.now_ms)
    world.vms.ready.clear()
    waits = Waits(wait=WaitKind.SIGNAL, name="a")
    world.loop.outcome(activation, TurnEnd(observed_seq=1, outcome=waits), world.now_ms)
    world.loop.outcome(activation, TurnEnd(observed_seq=3, outcome=waits), world.now_ms)
    world.loop.gone(world.vms.die(), world.now_ms)
    world.run()
    ends = [record.event.observed_seq for record in world.records() if isinstance(record.event, TurnEnded)]
    assert ends.count(3) == 1, world.told()


def test_runs_that_must_stay_keep_no_other_out() -> None:
    types = (WorkflowType("park"), WorkflowType("two_signals"))
    world = World().after(routed(V1, 1, types=types, wakes_itself=True))
    world.loop.waking.residents_max = 3
    for number in range(6):
        world.after(start(f"c{number}", "park", workflow_id=WorkflowId(f"park-{number}")))
    run = world.after(start("c10", "two_signals")).newest(W1)
    assert run.wait_name == "a"
    assert len(world.loop.residents) == 7


def test_version_whose_vm_does_not_come_up_keeps_no_other_version_out(world: World) -> None:
    world.loop.waking.residents_max = 3
    stuck = [WorkflowId(f"stuck{number}") for number in range(6)]
    world.send(*(start(f"c-{workflow_id}", "park", workflow_id=workflow_id) for workflow_id in stuck))
    world.loop.gather(world.now_ms)
    world.vms.ready.clear()
    assert len(world.loop.residents) == 3
    world.send(routed(V2, 2), start("c9", "at_once"))
    world.loop.gather(world.now_ms)
    world.now_ms += TURN_WAIT_MS
    world.run()
    assert world.newest(W1).status == "completed"


def test_run_that_may_wake_itself_stays_also_when_it_waited_before_its_turn_was_decided() -> None:
    world = World().after(routed(V1, 1, wakes_itself=True))
    world.loop.waking.residents_max = 2
    ids = [WorkflowId(f"w{number}") for number in range(INPUTS_PER_BATCH_MAX + 50)]
    world.after(*(start(f"c-{workflow_id}", "park", workflow_id=workflow_id) for workflow_id in ids))
    assert all(world.loop.residents.is_resident(world.newest(workflow_id).run_id) for workflow_id in ids)


def test_making_room_reads_no_run() -> None:
    world = World().after(routed(V1, 1, wakes_itself=True))
    world.loop.waking.residents_max = 50
    for number in range(60):
        world.after(start(f"c{number}", "park", workflow_id=WorkflowId(f"w{number}")))
    version = version_key(DEFAULT, V1)
    assert world.loop.residents.evictable_of(version, 100) == []
    assert world.loop.residents.is_any_waiting(version)


def test_numbers_of_residents_are_kept_through_everything(world: World) -> None:
    version = version_key(DEFAULT, V1)
    for number in range(5):
        world.after(start(f"c{number}", "two_signals", workflow_id=WorkflowId(f"w{number}")))
    assert (world.loop.residents.number_of(version), world.loop.residents.is_any_waiting(version)) == (5, True)
    world.after(*(signal(f"a{number}", "a", workflow_id=WorkflowId(f"w{number}")) for number in range(5)))
    world.after(*(signal(f"b{number}", "b", workflow_id=WorkflowId(f"w{number}")) for number in range(3)))
    assert world.loop.residents.number_of(version) == 2
    world.loop.gone(world.vms.die(), world.now_ms)
    world.run()
    assert (world.loop.residents.number_of(version), world.loop.residents.is_any_waiting(version)) == (0, False)


def test_run_with_an_undecided_turn_may_not_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World().after(routed(V1, 1, wakes_itself=True), start("c1", "two_signals"))
    version, activation = version_key(DEFAULT, V1), next(iter(world.vms.processes))
    world.send(signal("s1", "zz"))
    world.loop.gather(world.now_ms)
    world.append()
    world.vms.ready.clear()
    waits = Waits(wait=WaitKind.SIGNAL, name="a")
    for observed_seq in (1, 3):
        world.loop.outcome(activation, TurnEnd(observed_seq=observed_seq, outcome=waits), world.now_ms)
    monkeypatch.setattr(processor, "INPUTS_PER_BATCH_MAX", 1)
    world.loop.gather(world.now_ms)
    assert world.loop.residents.evictable_of(version, 10) == []
    world.append()
    world.loop.gather(world.now_ms)
    assert world.loop.residents.evictable_of(version, 10) == [world.newest(W1).run_id]
