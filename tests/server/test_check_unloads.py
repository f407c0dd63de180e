"""The checker on unloads and parked starts: what must not happen while a version closes, each made by hand and named."""

import pytest
from msgspec.structs import replace

from aion_common.ids import CommandId, WorkflowId
from aion_common.records.events import CatalogApplied, HistoryRecord, Progress, RunStarted, StartParked, StartReleased
from aion_common.records.replies import PinCount, PinKind, PinsReported
from aion_common.wire import decode, encode
from executor.given import V1, V2, closing, kept, routed, signal, start, unloaded
from executor.world import World
from server.checked import assert_named, chained, changed, checked, place_of, with_event

W2, W3, W4 = WorkflowId("w2"), WorkflowId("w3"), WorkflowId("w4")


@pytest.fixture
def world() -> World:
    """V2 is routed; V1, with an open run, was to be unloaded and is kept: a start waited. Then its run ends and it goes."""
    world = World().after(routed(V1, 1), start("c1", "park"), routed(V2, 2))
    world.after(closing(V1, 1), start("c2", "at_once", workflow_id=W2, version=V1), start("c3", "at_once", workflow_id=W3))
    world.after(kept(V1, 1), start("c4", "at_once", workflow_id=W4))
    world.after(signal("s1", "go"))
    world.after(closing(V1, 2), start("c5", "at_once", workflow_id=W2, version=V1))
    return world.after(unloaded(V1, 2))


async def test_sound_unload_keeps_its_promises(world: World) -> None:
    report = await checked(world.history, world)
    assert report.broken == []
    assert (report.runs, report.closed, report.parked) == (4, 4, 0)


async def test_pins_are_compared_where_the_version_began_to_close() -> None:
    """In one batch: the version closes, the run that pins it times out, and the verdict comes."""
    world = World().after(routed(V1, 1), start("c1", "park", run_timeout_ms=500), routed(V2, 2))
    world.now_ms += 500
    world.loop.dues_from = len(world.commands) + 1
    world.after(closing(V1, 1), kept(V1, 1))
    kinds = [type(decode(value).event).__name__ for value in world.history[-4:]]
    assert kinds == ["Progress", "CatalogApplied", "RunTimedOut", "CatalogApplied"]
    assert (await checked(world.history, world)).broken == []


async def test_start_that_waits_is_counted(world: World) -> None:
    world.after(closing(V2, 3), start("c9", "park", version=V2))
    assert (await checked(world.history, world)).parked == 1


@pytest.mark.parametrize(
    ("event", "number", "sentence"),
    [
        (StartParked, 0, "a start that is released was parked"),
        (StartReleased, 0, "decided before later commands"),
        (CatalogApplied, 2, "a start is parked for the version that is closing"),
        (CatalogApplied, 3, "a start is released after the verdict"),
        (CatalogApplied, 5, "takes effect: VersionUnloaded"),
    ],
)
async def test_missing_step_of_an_unload_is_named(world: World, event: type, number: int, sentence: str) -> None:
    history = list(world.history)
    del history[place_of(history, event, number)]
    assert_named(await checked(history, world), sentence)


@pytest.mark.parametrize("event", [StartParked, StartReleased])
async def test_start_that_is_parked_or_released_twice_is_named(world: World, event: type) -> None:
    history = list(world.history)
    at = place_of(history, event)
    assert_named(await checked([*history[:at], history[at], *history[at:]], world), "once")


async def test_start_that_is_released_before_the_verdict_is_named(world: World) -> None:
    history = list(world.history)
    verdict, released = place_of(history, CatalogApplied, 3), place_of(history, StartReleased)
    history.insert(verdict, history.pop(released))
    assert_named(await checked(history, world), "a start is released after the verdict")


async def test_start_that_is_released_and_not_decided_is_named(world: World) -> None:
    history = list(world.history)
    released = place_of(history, StartReleased)
    del history[released + 1]
    assert_named(await checked(history, world), "is decided in the same batch")


async def test_start_that_does_not_name_the_closing_version_is_not_parked(world: World) -> None:
    def unnamed(record: HistoryRecord) -> HistoryRecord:
        assert isinstance(record.event, StartParked)
        body = replace(record.event.command.body, version=None)
        return replace(record, event=replace(record.event, command=replace(record.event.command, body=body)))

    assert_named(await checked(changed(world, StartParked, unnamed), world), "which it names")


async def test_run_on_a_closing_version_is_named(world: World) -> None:
    started = place_of(world.history, RunStarted, 1)
    assert decode(world.history[started]).cause.command_id == "c3"
    report = await checked(changed(world, RunStarted, with_event(version=V1), 1), world)
    assert_named(report, "no run starts on a version while it is closing")


async def test_run_on_a_version_that_was_unloaded_is_named(world: World) -> None:
    world.after(start("c9", "park", version=V2))
    report = await checked(changed(world, RunStarted, with_event(version=V1), -1), world)
    assert_named(report, "the version is loaded here")
    assert_named(report, "a start that names a version runs on it")


async def test_unload_of_a_version_with_an_open_run_is_named(world: World) -> None:
    world.after(routed(V1, 3), start("c9", "park"), routed(V2, 4), closing(V1, 3))
    assert world.newest(WorkflowId("w1")).closed_at is None
    world.after(unloaded(V1, 3))
    assert_named(await checked(world.history, world), "nothing needs a version that is unloaded, but 1 open runs do")


async def test_unload_of_a_routed_version_is_named(world: World) -> None:
    world.after(closing(V2, 3))
    assert_named(await checked(world.history, world), "a version that is routed is not unloaded")


async def test_unload_of_a_version_that_is_not_loaded_is_named(world: World) -> None:
    world.after(closing(V1, 3))
    assert_named(await checked(world.history, world), "that somebody wants to unload is loaded")


async def test_verdict_on_another_attempt_is_named(world: World) -> None:
    verdict = place_of(world.history, CatalogApplied, 3)

    def another(record: HistoryRecord) -> HistoryRecord:
        assert isinstance(record.event, CatalogApplied)
        return replace(record, event=replace(record.event, marker=kept(V1, 7).body))

    assert isinstance(decode(world.history[verdict]).event.marker, type(kept(V1, 1).body))
    assert_named(await checked(changed(world, CatalogApplied, another, 3), world), "the attempt that were waited for")


async def test_attempt_that_does_not_grow_is_named(world: World) -> None:
    marker = decode(world.history[place_of(world.history, CatalogApplied, 4)])
    again = replace(marker, event=CatalogApplied(marker=closing(V1, 1).body))
    history = [*world.history, encode(again)]
    assert_named(await checked(history, world), "attempts to unload grow")


async def test_pins_that_are_not_the_open_runs_are_named(world: World) -> None:
    def more(record: HistoryRecord) -> HistoryRecord:
        progress = record.event
        assert isinstance(progress, Progress)
        counts = (PinCount(kind=PinKind.RECOVERABLE_RUN, number=5),)
        answers = tuple(
            replace(answered, answer=replace(answered.answer, counts=counts))
            if isinstance(answered.answer, PinsReported)
            else answered
            for answered in progress.answers
        )
        return replace(record, event=replace(progress, answers=answers))

    reports = [
        number
        for number, record in enumerate(record for record in world.records() if isinstance(record.event, Progress))
        if any(isinstance(answered.answer, PinsReported) for answered in record.event.answers)  # type: ignore[union-attr]
    ]
    assert_named(await checked(changed(world, Progress, more, reports[0]), world), "the 1 open runs, not 5")
    assert_named(await checked(changed(world, Progress, more, reports[1]), world), "the 0 open runs, not 5")


async def test_start_that_overtakes_a_parked_one_is_named(world: World) -> None:
    history = list(world.history)
    released = place_of(history, StartReleased)
    later = next(offset for offset, value in enumerate(history) if offset > released and _command_of(value) == CommandId("c4"))
    history.insert(released, history.pop(later))
    assert_named(await checked(chained(history), world), "decided before later commands")


def _command_of(value: bytes) -> CommandId | None:
    cause = decode(value).cause
    return None if cause is None else cause.command_id
