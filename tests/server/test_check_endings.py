"""The checker on ends from outside: cancels, terminations and time-outs, each too early, twice or for no reason, and named."""

import pytest
from msgspec.structs import replace

from aion_common.ids import CommandId, WorkflowId
from aion_common.limits import CANCEL_GRACE_MS
from aion_common.records.commands import IdConflict, VersionRouted
from aion_common.records.common import RunTimeout
from aion_common.records.events import RunCancelled, RunCancelRequested, RunStarted, RunTerminated, RunTimedOut
from aion_common.wire import decode, encode
from executor.given import TYPES, V1, cancel, routed, start, terminate
from executor.world import World
from server.checked import Change, assert_named, chained, changed, checked, place_of, with_event

W2, W3, W4, W5 = (WorkflowId(f"w{number}") for number in range(2, 6))


@pytest.fixture
def world() -> World:
    """Runs that were cancelled by themselves and by the deadline, terminated, replaced, and timed out."""
    marker = routed(V1, 1)
    assert isinstance(marker.body, VersionRouted)
    timeouts = (RunTimeout(workflow_type=TYPES[0], timeout_ms=10 * CANCEL_GRACE_MS),)
    world = World().after(replace(marker, body=replace(marker.body, timeouts=timeouts)))
    world.after(start("c1", "two_signals"), cancel("x1", "no stock"), cancel("x2"))
    world.after(start("c2", "park", workflow_id=W2), cancel("x3", workflow_id=W2))
    world.after(start("c3", "two_signals", workflow_id=W3), terminate("t1", workflow_id=W3))
    world.after(start("c4", "park", workflow_id=W4))
    world.after(start("c5", "at_once", workflow_id=W4, id_conflict=IdConflict.TERMINATE_EXISTING))
    world.after(start("c6", "two_signals", workflow_id=W5, run_timeout_ms=5_000))
    world.now_ms += 5_000
    world.run()
    world.now_ms += CANCEL_GRACE_MS
    world.run()
    return world


async def test_sound_endings_keep_their_promises(world: World) -> None:
    report = await checked(world.history, world)
    assert report.broken == []
    assert (report.runs, report.closed) == (6, 6)
    assert set(report.endings) == {"x1", "x3", "t1"}
    assert report.missing([CommandId(name) for name in ("x1", "x2", "x3", "t1", "t9")]) == ["t9"]


@pytest.mark.parametrize(
    ("kind", "number", "change", "sentence"),
    [
        (RunTimedOut, 0, with_event(timeout_ms=4_000), "the time-out that it began with"),
        (RunStarted, -1, with_event(run_timeout_ms=5_001), "by its time-out when it is over, not before"),
        (RunStarted, -1, with_event(run_timeout_ms=None), "by its time-out when it is over, not before"),
        (RunStarted, -1, with_event(run_timeout_ms=4_999), "the time-out of its start, or of its package"),
        (RunStarted, 1, with_event(run_timeout_ms=None), "the time-out of its start, or of its package"),
        (RunCancelRequested, 1, with_event(deadline_ms=9_999_999), "after its time to clean up, not before"),
        (RunCancelRequested, 0, with_event(deadline_ms=0), "gets time to clean up"),
        (RunCancelRequested, 0, lambda record: replace(record, cause=None), "names its command"),
        (RunCancelled, 0, with_event(observed_seq=1), "was asked to, and had heard it"),
        (RunCancelled, 0, with_event(observed_seq=9), "observes what was there"),
        (RunTerminated, 0, lambda record: replace(record, cause=None), "makes room for a start at once"),
    ],
)
async def test_broken_promise_about_an_end_is_named(
    world: World, kind: type, number: int, change: Change, sentence: str
) -> None:
    assert_named(await checked(changed(world, kind, change, number), world), sentence)


@pytest.mark.parametrize(("number", "sentence"), [(0, "a run that gives up was asked to"), (1, "after its time to clean up")])
async def test_end_for_a_cancel_that_nobody_asked_for_is_named(world: World, number: int, sentence: str) -> None:
    history = list(world.history)
    del history[place_of(history, RunCancelRequested, number)]
    assert_named(await checked(history, world), sentence)


async def test_second_request_and_second_end_are_named(world: World) -> None:
    history = list(world.history)
    at = place_of(history, RunCancelRequested)
    report = await checked(chained([*history[:at], history[at], *history[at:]]), world)
    assert_named(report, "is asked to cancel once")
    assert_named(report, "x1 is decided once")
    ended = decode(history[place_of(history, RunCancelled)])
    again = replace(ended, seq=ended.seq + 1, recorded_at=decode(history[-1]).recorded_at)
    assert_named(await checked(chained([*history, encode(again)]), world), "nothing follows a terminal event")


async def test_run_that_makes_room_for_nobody_is_named(world: World) -> None:
    history = list(world.history)
    del history[place_of(history, RunTerminated, 1) + 1]
    assert_named(await checked(history, world), "makes room for a start at once")


async def test_run_that_is_replaced_by_a_start_that_did_not_say_so_is_named(world: World) -> None:
    commands = list(world.commands)
    at = next(offset for offset, given in enumerate(commands) if getattr(given, "command", None) and _id(given) == "c5")
    meek = start("c5", "at_once", workflow_id=W4)
    world.commands[at] = replace(commands[at], command=meek)
    assert_named(await checked(world.history, world), "only if it says so")


def _id(given: object) -> str:
    return str(given.command.command_id)  # type: ignore[attr-defined]
