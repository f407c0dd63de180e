"""Starts: versions, conflicts, repeats."""

import pytest

from aion_common.ids import Version, WorkflowId
from aion_common.records.commands import IdConflict
from aion_common.records.events import RunStarted
from aion_common.records.replies import Rejection, RejectionCode, SignalAccepted, StartAccepted
from executor.given import V1, V2, W1, routed, signal, start
from executor.world import World


@pytest.fixture
def world() -> World:
    return World().after(routed(V1, 1))


def test_start_runs_on_the_routed_version(world: World) -> None:
    world.after(start("c1", "at_once"))
    run = world.newest(W1)
    assert (run.version, run.status) == (V1, "completed")
    assert world.answer("c1") == StartAccepted(run_id=run.run_id, version=V1, created=True)
    assert world.events(run.run_id) == ["RunStarted", "RunCompleted"]


def test_route_counts_from_its_position_in_the_log(world: World) -> None:
    before, after = WorkflowId("before"), WorkflowId("after")
    world.after(start("c1", "park", workflow_id=before), routed(V2, 2), start("c2", "park", workflow_id=after))
    assert world.newest(before).version == V1
    assert world.newest(after).version == V2


def test_marker_that_comes_twice_or_late_changes_nothing(world: World) -> None:
    world.after(routed(V2, 2), routed(V1, 1), start("c1", "park"))
    assert world.newest(W1).version == V2


def test_named_version_wins_over_the_route(world: World) -> None:
    world.after(routed(V2, 2), start("c1", "park", version=V1))
    assert world.newest(W1).version == V1


def test_unknown_version_names_the_loaded_ones(world: World) -> None:
    world.after(routed(V2, 2), start("c1", "park", version=Version("f" * 64)))
    answer = world.answer("c1")
    assert isinstance(answer, Rejection)
    assert (answer.code, answer.loaded) == (RejectionCode.UNKNOWN_VERSION, (V1, V2))


@pytest.mark.parametrize("version", [None, V1])
def test_unknown_type_is_refused(world: World, version: Version | None) -> None:
    answer = world.after(start("c1", "nobody", version=version)).answer("c1")
    assert isinstance(answer, Rejection)
    assert answer.code is RejectionCode.UNKNOWN_WORKFLOW_TYPE


def test_second_open_run_is_refused_and_names_the_first(world: World) -> None:
    answer = world.after(start("c1", "park"), start("c2", "park")).answer("c2")
    assert isinstance(answer, Rejection)
    assert (answer.code, answer.run_id) == (RejectionCode.ALREADY_STARTED, world.newest(W1).run_id)


def test_use_existing_answers_with_the_open_run(world: World) -> None:
    world.after(start("c1", "park"), start("c2", "park", id_conflict=IdConflict.USE_EXISTING))
    assert world.answer("c2") == StartAccepted(run_id=world.newest(W1).run_id, version=V1, created=False)


def test_workflow_id_is_free_again_after_its_run_closed(world: World) -> None:
    first = world.after(start("c1", "at_once")).newest(W1)
    second = world.after(start("c2", "at_once")).newest(W1)
    assert first.run_id != second.run_id
    assert second.status == "completed"


def test_oversized_input_is_refused(world: World) -> None:
    answer = world.after(start("c1", "park", given_input=b'"' + b"x" * 300_000 + b'"')).answer("c1")
    assert isinstance(answer, Rejection)
    assert (answer.code, answer.field, answer.limit_bytes) == (RejectionCode.PAYLOAD_TOO_LARGE, "input", 256 * 1024)


@pytest.mark.parametrize("keep_store", [True, False])
@pytest.mark.parametrize("together", [True, False])
def test_repeat_gets_the_first_answer(world: World, *, keep_store: bool, together: bool) -> None:
    wishes = (start("c1", "at_once"), start("c2", "nobody"), signal("c3", "s", workflow_id=WorkflowId("nowhere")))
    world.send(*wishes)
    if not together:
        world.run()
        world.crash(keep_store=keep_store)
    world.after(*wishes)
    for command_id in ("c1", "c2", "c3"):
        assert len(world.answers(command_id)) >= 2
        world.answer(command_id)
    assert sum(isinstance(record.event, RunStarted) for record in world.records()) == 1


def test_refusal_stays_although_the_reason_is_gone(world: World) -> None:
    world.after(start("c1", "at_once", version=V2))
    world.after(routed(V2, 2), start("c1", "at_once", version=V2))
    answer = world.answer("c1")
    assert isinstance(answer, Rejection)


def test_repeated_start_of_a_closed_run_starts_nothing(world: World) -> None:
    world.after(start("c1", "at_once"))
    world.after(start("c2", "park"), start("c1", "at_once"))
    answer = world.answer("c1")
    assert isinstance(answer, StartAccepted)
    assert answer.run_id != world.newest(W1).run_id


def test_key_of_a_signal_used_for_a_start_gets_the_signals_answer(world: World) -> None:
    world.after(start("c1", "park"), signal("k", "s"), start("k", "park", workflow_id=W1))
    assert isinstance(world.answer("k"), SignalAccepted)


def test_key_of_a_start_used_for_a_signal_gets_the_starts_answer(world: World) -> None:
    run = world.after(start("k", "park"), signal("k", "s")).newest(W1)
    assert world.answer("k") == StartAccepted(run_id=run.run_id, version=V1, created=True)
    assert run.status == "running"


def test_records_that_are_not_ours_are_passed_over(world: World) -> None:
    world.after(None, start("c1", "at_once"), None)
    assert world.newest(W1).status == "completed"
    assert world.loop.partition.commands_next == len(world.commands)


def test_flip_warms_the_vm_of_the_new_version(world: World) -> None:
    world.after(routed(V2, 2), routed(V2, 2))
    assert world.vms.warmed == [V1, V2]
