"""Unload as the owner of a partition sees it: pins exact at the marker, starts parked until the verdict."""

import pytest

from aion_common import limits
from aion_common.ids import WorkflowId
from aion_common.records.replies import (
    PinCount,
    PinKind,
    PinsReported,
    Rejection,
    RejectionCode,
    StartAccepted,
)
from aion_executor.core.partition import version_key
from executor.given import DEFAULT, V1, V2, closing, kept, routed, signal, start, unloaded
from executor.world import World

W2, W3 = WorkflowId("w2"), WorkflowId("w3")


@pytest.fixture
def world() -> World:
    """V1 is loaded, V2 is routed."""
    return World().after(routed(V1, 1), routed(V2, 2))


def report(world: World, attempt: int = 1) -> PinsReported:
    answer = world.answer(f"unload/{attempt}/0")
    assert isinstance(answer, PinsReported)
    return answer


def counts(world: World, attempt: int = 1) -> dict[PinKind, int]:
    return {count.kind: count.number for count in report(world, attempt).counts}


def test_nothing_pins_a_version_on_which_nothing_runs(world: World) -> None:
    world.after(start("c1", "at_once", version=V1), start("c2", "park", workflow_id=W2)).after(closing(V1, 1))
    assert report(world) == PinsReported(partition=0, attempt=1, counts=(), pins=())


def test_run_in_a_vm_pins_its_version_as_live(world: World) -> None:
    world.after(start("c1", "park", version=V1), closing(V1, 1))
    assert report(world).counts == (PinCount(kind=PinKind.LIVE_RUN, number=1),)
    assert [(pin.kind, pin.workflow_id) for pin in report(world).pins] == [(PinKind.LIVE_RUN, "w1")]


def test_open_run_outside_any_vm_pins_its_version_as_recoverable(world: World) -> None:
    world.after(start("c1", "two_signals", version=V1))
    world.crash(keep_store=False)
    world.after(closing(V1, 1))
    assert counts(world) == {PinKind.RECOVERABLE_RUN: 1}


def test_start_in_the_same_batch_as_the_marker_is_counted(world: World) -> None:
    world.send(start("c1", "park", version=V1), closing(V1, 1), start("c2", "park", version=V1, workflow_id=W2))
    world.run()
    assert [pin.workflow_id for pin in report(world).pins] == ["w1"]


def test_run_that_closed_in_the_same_batch_is_not_counted(world: World) -> None:
    world.after(start("c1", "park", version=V1))
    world.after(signal("s1", "x"), closing(V1, 1))
    assert world.newest(WorkflowId("w1")).closed_at is not None
    world.after(kept(V1, 1), closing(V1, 2))
    assert counts(world, 2) == {}


def test_start_that_names_a_closing_version_waits_and_runs_when_the_version_is_kept(world: World) -> None:
    world.after(closing(V1, 1), start("c1", "at_once", version=V1))
    assert not world.answers("c1")
    world.after(kept(V1, 1))
    answer = world.answer("c1")
    assert isinstance(answer, StartAccepted)
    assert answer.version == V1


def test_start_that_names_a_closing_version_is_refused_when_it_is_gone(world: World) -> None:
    world.after(closing(V1, 1), start("c1", "at_once", version=V1))
    world.after(unloaded(V1, 1))
    answer = world.answer("c1")
    assert isinstance(answer, Rejection)
    assert (answer.code, answer.loaded) == (RejectionCode.UNKNOWN_VERSION, (V2,))


def test_starts_without_a_version_and_of_other_versions_go_on(world: World) -> None:
    world.after(closing(V1, 1), start("c1", "at_once"), start("c2", "at_once", version=V2, workflow_id=W2))
    assert all(isinstance(world.answer(command_id), StartAccepted) for command_id in ("c1", "c2"))


@pytest.mark.parametrize("keep_store", [True, False])
def test_parked_start_outlives_its_owner(world: World, keep_store: bool) -> None:
    world.after(closing(V1, 1), start("c1", "at_once", version=V1))
    world.crash(keep_store=keep_store)
    world.after(kept(V1, 1))
    assert isinstance(world.answer("c1"), StartAccepted)


@pytest.mark.parametrize("keep_store", [True, False])
def test_start_released_and_not_yet_decided_is_decided_by_the_next_owner(world: World, keep_store: bool) -> None:
    world.after(closing(V1, 1), *(start(f"c{number}", "at_once", version=V1, workflow_id=W2) for number in range(2)))
    world.send(kept(V1, 1))
    world.loop.gather(world.now_ms)
    world.crash(keep_store=keep_store)
    world.run()
    assert isinstance(world.answer("c0"), StartAccepted)
    assert world.loop.partition.parked == ()


def test_released_starts_are_decided_before_later_commands(world: World) -> None:
    world.after(closing(V1, 1), start("c1", "park", version=V1))
    world.after(kept(V1, 1), start("c2", "park"))
    refused = world.answer("c2")
    assert isinstance(refused, Rejection)
    assert refused.code is RejectionCode.ALREADY_STARTED


def test_repeat_of_a_parked_start_gets_the_first_answer(world: World) -> None:
    world.after(closing(V1, 1), start("c1", "park", version=V1), start("c1", "park", version=V1))
    world.after(kept(V1, 1), start("c1", "park", version=V1))
    assert len(world.answers("c1")) == 3
    assert isinstance(world.answer("c1"), StartAccepted)


def test_verdict_on_another_attempt_says_nothing(world: World) -> None:
    world.after(closing(V1, 2), start("c1", "at_once", version=V1), unloaded(V1, 1), kept(V1, 3))
    assert world.loop.partition.closing is not None
    assert version_key(DEFAULT, V1) in world.loop.partition.versions
    assert not world.answers("c1")


def test_newer_attempt_takes_the_place_of_one_whose_verdict_never_came(world: World) -> None:
    world.after(closing(V1, 1), start("c1", "at_once", version=V1), closing(V1, 2))
    assert counts(world, 2) == {}
    world.after(unloaded(V1, 2))
    assert isinstance(world.answer("c1"), Rejection)


def test_closing_marker_that_comes_twice_is_answered_once(world: World) -> None:
    world.after(closing(V1, 1), closing(V1, 1))
    assert len(world.answers("unload/1/0")) == 1


def test_unloaded_version_is_unknown_and_its_vm_goes(world: World) -> None:
    world.after(closing(V1, 1), unloaded(V1, 1), start("c1", "at_once", version=V1))
    refused = world.answer("c1")
    assert isinstance(refused, Rejection)
    assert refused.code is RejectionCode.UNKNOWN_VERSION
    assert world.vms.unloaded == [V1]


def test_version_can_be_loaded_again_after_it_was_unloaded(world: World) -> None:
    world.after(closing(V1, 1), unloaded(V1, 1), routed(V1, 3), start("c1", "at_once"))
    answer = world.answer("c1")
    assert isinstance(answer, StartAccepted)
    assert answer.version == V1


def test_too_many_parked_starts_are_overloaded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PARKED_STARTS_MAX", 1)
    world.after(closing(V1, 1), start("c1", "park", version=V1), start("c2", "park", version=V1, workflow_id=W2))
    refused = world.answer("c2")
    assert isinstance(refused, Rejection)
    assert refused.code is RejectionCode.OVERLOADED


def test_report_names_the_first_pins_and_counts_all(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aion_executor.pins.PINS_NAMED_MAX", 2)
    starts = [start(f"c{number}", "park", version=V1, workflow_id=WorkflowId(f"w{number}")) for number in range(5)]
    world.after(*starts, closing(V1, 1))
    assert counts(world) == {PinKind.LIVE_RUN: 5}
    assert len(report(world).pins) == 2


def test_pins_are_reported_again_to_whoever_missed_them(world: World) -> None:
    world.send(closing(V1, 1))
    world.loop.gather(world.now_ms)
    world.append()
    world.crash(keep_store=True)
    world.run()
    assert counts(world) == {}
