"""The checker on timers, activities and their workers: each too early, twice, for nobody or torn apart, and named."""

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from aion_common.checking import RunCheck, RunHistory
from aion_common.ids import RunId, WorkflowId
from aion_common.records.common import json_payload
from aion_common.records.events import (
    ActivityCancelled,
    ActivityCompleted,
    ActivityFailed,
    ActivityRetried,
    ActivityScheduled,
    ActivityStarted,
    ActivityTimedOut,
    Failure,
    HeartbeatsReceived,
    HistoryRecord,
    Progress,
    TimeoutKind,
    TimerCancelled,
    TimerFired,
    TimerStarted,
)
from aion_common.records.tasks import TaskCompleted, TaskFailed, TaskHeartbeat, TaskStarted
from aion_common.wire import decode, encode
from executor.given import DEFAULT, V1, routed, start
from executor.world import World
from server.checked import Change, assert_named, chained, changed, checked, place_of, with_event

W2, W3, W4 = (WorkflowId(f"w{number}") for number in range(2, 5))
DONE = TaskCompleted(result=json_payload(b"7"))


def later(world: World, ms: int) -> None:
    """Time passes, and does what it does."""
    world.now_ms += ms
    world.run()


@pytest.fixture
def world() -> World:
    """A run that sleeps; one whose first activity fails, then goes silent, then succeeds, and whose second is not taken by
    anybody; a race that is won by time, and one by the worker; an activity whose queue comes later."""
    world = World().after(routed(V1, 1), start("c1", "sleeps"), start("c2", "calls", workflow_id=W2))
    failure = Failure(kind="busy", message="no", details=None)
    world.report(world.tasks[-1], TaskStarted())
    world.report(world.tasks[-1], TaskFailed(failure=failure, retryable=True))
    later(world, 0)
    later(world, 100)
    world.report(world.tasks[-1], TaskStarted())
    later(world, 0)
    later(world, 400)
    world.report(world.tasks[-1], TaskHeartbeat(details=None))
    later(world, 0)
    later(world, 500)
    later(world, 200)
    world.report(world.tasks[-1], DONE)
    later(world, 0)
    later(world, 60_000)
    world.after(start("c3", "races", workflow_id=W3), start("c4", "races", workflow_id=W4))
    world.report(world.tasks[-1], DONE)
    later(world, 0)
    later(world, 1_000)
    world.queues.clear()
    world.after(start("c5", "calls"))
    later(world, 100)
    world.queues.add("default")
    later(world, 200)
    return world


async def test_sound_waits_keep_their_promises(world: World) -> None:
    report = await checked(world.history, world)
    assert report.broken == []
    kinds = [type(record.event).__name__ for record in world.records()]
    counted = {kind: kinds.count(kind) for kind in sorted(set(kinds)) if kind.startswith(("Act", "Timer", "Heart"))}
    assert counted == {
        "ActivityCancelled": 1,
        "ActivityCompleted": 2,
        "ActivityFailed": 3,
        "ActivityRetried": 3,
        "ActivityScheduled": 5,
        "ActivityStarted": 2,
        "ActivityTimedOut": 2,
        "HeartbeatsReceived": 1,
        "TimerCancelled": 1,
        "TimerFired": 2,
        "TimerStarted": 3,
    }


def at(ms: int) -> Change:
    """A change of an event's time, by so much."""
    return lambda record: replace(record, recorded_at=record.recorded_at + ms)


def of(field: str, change: Callable[[int], int]) -> Change:
    """A change of a number in the event."""
    return lambda record: replace(record, event=replace(record.event, **{field: change(getattr(record.event, field))}))


def with_times(**fields: int | None) -> Change:
    """A change of an activity's time-outs."""

    def change(record: HistoryRecord) -> HistoryRecord:
        assert isinstance(record.event, ActivityScheduled)
        return replace(record, event=replace(record.event, timeouts=replace(record.event.timeouts, **fields)))

    return change


def with_retry(**fields: object) -> Change:
    """A change of an activity's policy."""

    def change(record: HistoryRecord) -> HistoryRecord:
        assert isinstance(record.event, ActivityScheduled)
        return replace(record, event=replace(record.event, retry=replace(record.event.retry, **fields)))

    return change


def beat_of(**fields: object) -> Change:
    """A change of a heartbeat."""

    def change(record: HistoryRecord) -> HistoryRecord:
        assert isinstance(record.event, HeartbeatsReceived)
        (beat,) = record.event.heartbeats
        return replace(record, event=HeartbeatsReceived(heartbeats=(replace(beat, **fields),)))

    return change


TURNS = [
    (ActivityScheduled, 0, with_event(turn=None), "the commands of a turn stand together"),
    (ActivityScheduled, -1, with_event(turn=None), "the commands of a turn stand together"),
    (TimerStarted, -1, of("timer", lambda _: 1), "the number 1 is used once"),
    (ActivityScheduled, 1, of("activity", lambda _: 1), "the number 1 is used once"),
]
TIMERS = [
    (TimerStarted, 0, of("fire_at", lambda ms: ms + 60_000), "fires when its time has come"),
    (TimerStarted, 0, of("fire_at", lambda _: 0), "fires later than it starts"),
    (TimerFired, 0, with_event(timer=9), "but 9 does"),
    (TimerCancelled, 0, with_event(timer=9), "but 9 was not"),
    (TimerCancelled, 0, with_event(timer=1), "but 1 was not"),
]
ATTEMPTS = [
    (ActivityStarted, 0, with_event(attempt=2), "attempt 2 of activity 1 begins once"),
    (ActivityCompleted, 0, with_event(attempt=2), "is completed while it is the present one"),
    (ActivityCompleted, 0, with_event(activity=9), "nothing is told of an activity that nobody waits for, such as 9"),
    (ActivityFailed, 0, with_event(attempt=3), "fails while it is the present one"),
    (ActivityFailed, 0, with_event(retry_at=5), "begins later"),
    (ActivityFailed, 0, with_event(retry_at=10**9), "when its activity is given up"),
    (ActivityFailed, 0, of("retry_at", lambda ms: ms + 50), "begins when it was said, not before"),
    (ActivityFailed, 0, with_event(failure=Failure(kind="broken", message="", details=None)), "is final"),
    (ActivityFailed, 1, with_event(retry_at=None), "that nobody waits for"),
    (ActivityTimedOut, 0, with_event(attempt=1), "times out while it is the present one"),
    (ActivityTimedOut, 0, with_event(attempt=3), "times out while it is the present one"),
    (
        ActivityTimedOut,
        0,
        with_event(timeout=TimeoutKind.SCHEDULE_TO_START),
        "time of attempt 2 of activity 1 is over, not before",
    ),
    (ActivityTimedOut, 0, with_event(timeout=TimeoutKind.SCHEDULE_TO_CLOSE), "nothing is tried again after"),
    (ActivityTimedOut, 0, with_event(timeout=TimeoutKind.START_TO_CLOSE), "the start_to_close time of attempt 2"),
    (ActivityTimedOut, 1, with_event(timeout=TimeoutKind.SCHEDULE_TO_CLOSE), "the schedule_to_close time of attempt 1"),
    (ActivityRetried, 0, with_event(attempt=1), "attempts go up by one"),
    (ActivityRetried, 0, with_event(attempt=3), "attempts go up by one"),
    (ActivityCancelled, 0, with_event(activity=2), "but 2 was not"),
    (ActivityScheduled, 0, with_retry(attempts=2), "is the last one, of 2"),
    (ActivityScheduled, 0, with_times(heartbeat_ms=501), "the heartbeat time of attempt 2"),
    (ActivityScheduled, 0, with_times(heartbeat_ms=None), "the heartbeat time of attempt 2"),
    (ActivityScheduled, 1, with_times(schedule_to_start_ms=60_001), "the schedule_to_start time of attempt 1"),
]
QUEUES = [
    (ActivityScheduled, 0, with_event(has_queue=False), "fails at once, but [1] did not"),
    (
        ActivityFailed,
        1,
        with_event(failure=Failure(kind="busy", message="", details=None)),
        "fails while it is the present one",
    ),
    (ActivityFailed, 1, of("retry_at", lambda ms: ms + 50), "for want of a queue at its time, not before"),
    (ActivityFailed, 2, with_event(attempt=3), "fails while it is the present one"),
]
BEATS = [
    (HeartbeatsReceived, 0, beat_of(attempt=1), "but attempt 1 of activity 1"),
    (HeartbeatsReceived, 0, beat_of(activity=2), "but attempt 2 of activity 2"),
    (HeartbeatsReceived, 0, beat_of(run_id=RunId("f" * 32)), "a heartbeat is of a present attempt"),
    (HeartbeatsReceived, 0, at(1), "the heartbeat time of attempt 2"),
    (Progress, -1, with_event(results_next=0), "decided results stay decided"),
]


@pytest.mark.parametrize(("kind", "number", "change", "sentence"), [*TURNS, *TIMERS, *ATTEMPTS, *QUEUES, *BEATS])
async def test_broken_promise_about_a_wait_is_named(
    world: World, kind: type, number: int, change: Change, sentence: str
) -> None:
    assert_named(await checked(changed(world, kind, change, number), world), sentence)


@pytest.mark.parametrize(
    ("kind", "number", "sentence"),
    [
        (TimerFired, 0, "fires once"),
        (ActivityStarted, 0, "begins once"),
        (ActivityCompleted, 0, "nobody waits for"),
        (ActivityTimedOut, -1, "nobody waits for"),
        (ActivityRetried, 0, "attempts go up by one"),
    ],
)
async def test_what_happens_twice_is_named(world: World, kind: type, number: int, sentence: str) -> None:
    history = list(world.history)
    place = place_of(history, kind, number)
    twin = decode(history[place])
    history.insert(place + 1, encode(replace(twin, seq=twin.seq + 1)))
    assert_named(await checked(chained(history), world), sentence)


async def test_timer_that_fires_although_it_was_cancelled_is_named(world: World) -> None:
    history = list(world.history)
    cancelled = decode(history[place_of(history, TimerCancelled)])
    fired = replace(cancelled, event=TimerFired(timer=2), seq=cancelled.seq + 1, recorded_at=decode(history[-1]).recorded_at)
    assert_named(await checked(chained([*history, encode(fired)]), world), "if nobody cancelled it, but 2 does")


async def test_turn_that_observed_its_own_commands_is_named(world: World) -> None:
    def ahead(record: HistoryRecord) -> HistoryRecord:
        assert isinstance(record.event, TimerStarted)
        assert record.event.turn is not None
        return replace(record, event=replace(record.event, turn=replace(record.event.turn, observed_seq=record.seq - 1)))

    assert_named(await checked(changed(world, TimerStarted, ahead, -1), world), "has not observed what it does itself")


async def test_turn_that_is_torn_apart_is_named(world: World) -> None:
    torn = list(world.history)
    first = place_of(torn, ActivityScheduled, 2)
    beats = torn.pop(place_of(torn, HeartbeatsReceived))
    torn.insert(first, encode(replace(decode(beats), recorded_at=decode(torn[first]).recorded_at)))
    assert_named(await checked(torn, world), "stands together, with what it causes")
    cut = place_of(world.history, ActivityScheduled, -1)
    assert_named(await checked(world.history[: cut + 1], world), "is there as a whole")
    alone = RunCheck(RunHistory(decode(world.history[cut]).run_id, (DEFAULT, WorkflowId("w1"))))
    for value in world.history[: cut + 1]:
        if decode(value).run_id == alone.history.run_id:
            alone.take_value(value)
    alone.end()
    assert alone.broken == ["the last turn is there as a whole"]


async def test_heartbeats_may_stand_in_the_middle_of_a_batch_and_more_than_once(world: World) -> None:
    history = list(world.history)
    beats = history.pop(place_of(history, HeartbeatsReceived))
    started = place_of(history, ActivityStarted, 1)
    again = encode(replace(decode(beats), recorded_at=decode(history[started]).recorded_at))
    history.insert(started + 1, again)
    history.insert(started + 1, again)
    assert (await checked(history, world)).broken == []
