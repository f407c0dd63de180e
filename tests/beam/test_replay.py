"""From the records of a run to the turns that a VM replays."""

import pytest
from msgspec.structs import replace

from aion_beam.frames import Cancel, History, Input, RunInfo, Signal, Start, Turn, Wait
from aion_beam.replay import is_input, replay_of, start_records
from aion_beam.turn_codec import DEFAULT_RETRY, DEFAULT_TIMEOUTS
from aion_common.ids import Namespace, RunId, Version, WorkflowId, WorkflowType
from aion_common.records.common import json_payload
from aion_common.records.events import (
    ActivityCancelled,
    ActivityCompleted,
    ActivityFailed,
    ActivityRetried,
    ActivityScheduled,
    ActivityStarted,
    ActivityTimedOut,
    Event,
    Failure,
    HistoryRecord,
    RunCancelRequested,
    RunStarted,
    SignalReceived,
    TimeoutKind,
    TimerCancelled,
    TimerFired,
    TimerStarted,
    TurnCommand,
    TurnEnded,
    WaitKind,
)

STARTED = RunStarted(workflow_type=WorkflowType("order"), version=Version("0" * 64), input=json_payload(b"[7]"))
GO = SignalReceived(name="go", payload=json_payload(b"1"))
STOP = RunCancelRequested(reason="why", deadline_ms=60_000)
FAILURE = Failure(kind="declined", message="no", details=None)
BARE = SignalReceived(name="bare", payload=None)


def test_a_new_run_has_one_live_turn() -> None:
    replay = replay_of(history(STARTED))
    assert replay.argument == b"[7]"
    assert replay.turns == (Turn(observed_seq=1, now_ms=100, inputs=(), end=None),)


def test_a_run_without_input_gets_null() -> None:
    started = RunStarted(workflow_type=STARTED.workflow_type, version=STARTED.version, input=None)
    assert replay_of(history(started)).argument == b"null"


def test_signals_before_the_first_turn_belong_to_it() -> None:
    assert replay_of(history(STARTED, GO, BARE)).turns == (
        Turn(observed_seq=3, now_ms=300, inputs=(signal("go", b"1"), signal("bare", b"null")), end=None),
    )


def test_inputs_are_given_at_the_turn_that_observed_them() -> None:
    records = history(STARTED, waits(1, "go"), GO, BARE, waits(3, None), waits(4, None), GO)
    assert replay_of(records).turns == (
        Turn(observed_seq=1, now_ms=100, inputs=(), end=Wait(kind=WaitKind.SIGNAL, name="go")),
        Turn(observed_seq=3, now_ms=300, inputs=(signal("go", b"1"),), end=Wait(kind=WaitKind.RECEIVE, name=None)),
        Turn(observed_seq=4, now_ms=400, inputs=(signal("bare", b"null"),), end=Wait(kind=WaitKind.RECEIVE, name=None)),
        Turn(observed_seq=7, now_ms=700, inputs=(signal("go", b"1"),), end=None),
    )


def test_a_request_to_cancel_is_an_input_in_its_order() -> None:
    records = history(STARTED, waits(1, "go"), BARE, STOP, GO, waits(4, "undo"))
    assert replay_of(records).turns[1:] == (
        Turn(
            observed_seq=4,
            now_ms=400,
            inputs=(signal("bare", b"null"), Cancel(reason="why")),
            end=Wait(kind=WaitKind.SIGNAL, name="undo"),
        ),
        Turn(observed_seq=5, now_ms=500, inputs=(signal("go", b"1"),), end=None),
    )


def test_a_run_that_waits_has_no_live_turn() -> None:
    replay = replay_of(history(STARTED, waits(1, "go")))
    assert [turn.end for turn in replay.turns] == [Wait(kind=WaitKind.SIGNAL, name="go")]
    assert replay.observed_seq == 1


def test_a_turn_that_observed_nothing_new_has_no_inputs_and_keeps_the_time() -> None:
    replay = replay_of(history(STARTED, GO, waits(2, None), waits(2, "go")))
    assert replay.turns[1] == Turn(observed_seq=2, now_ms=200, inputs=(), end=Wait(kind=WaitKind.SIGNAL, name="go"))


def test_a_signal_recorded_during_a_turn_comes_after_it() -> None:
    replay = replay_of(history(STARTED, GO, waits(1, None)))
    assert [len(turn.inputs) for turn in replay.turns] == [0, 1]
    assert replay.turns[1].end is None


def test_the_commands_of_a_turn_are_its_own() -> None:
    first: list[TurnCommand] = [TimerStarted(timer=1, fire_at=900, turn=None), calls(2, results(1, "activity 2"))]
    second: list[TurnCommand] = [TimerCancelled(timer=1, turn=None), ActivityCancelled(activity=2, turn=waits(5, "go"))]
    records = history(STARTED, *first, GO, done(2), *second, TimerFired(timer=1), results(8, "timer 9"))
    assert replay_of(records).turns == (
        Turn(
            observed_seq=1,
            now_ms=100,
            inputs=(),
            end=Wait(kind=WaitKind.RESULT, name="activity 2"),
            commands=(first[0], first[1]),
        ),
        Turn(
            observed_seq=5,
            now_ms=500,
            inputs=(signal("go", b"1"), done(2)),
            end=Wait(kind=WaitKind.SIGNAL, name="go"),
            commands=(second[0], second[1]),
        ),
        Turn(
            observed_seq=8,
            now_ms=800,
            inputs=(TimerFired(timer=1),),
            end=Wait(kind=WaitKind.RESULT, name="timer 9"),
        ),
    )


def test_what_happens_on_the_way_to_a_result_is_no_input() -> None:
    failed = ActivityFailed(activity=1, attempt=2, failure=FAILURE, retry_at=None)
    timed_out = ActivityTimedOut(activity=2, attempt=1, timeout=TimeoutKind.HEARTBEAT, retry_at=None)
    events: list[Event] = [
        ActivityStarted(activity=1, attempt=1, worker="w"),
        ActivityFailed(activity=1, attempt=1, failure=FAILURE, retry_at=900),
        ActivityTimedOut(activity=2, attempt=1, timeout=TimeoutKind.HEARTBEAT, retry_at=900),
        ActivityRetried(activity=1, attempt=2, heartbeat=None),
        failed,
        timed_out,
    ]
    assert [event for event in events if is_input(event)] == [failed, timed_out]
    turns = replay_of(history(STARTED, calls(1, None), calls(2, results(1, "2 of 2 results")), *events)).turns
    assert turns[1:] == (Turn(observed_seq=9, now_ms=900, inputs=(failed, timed_out), end=None),)


@pytest.mark.parametrize(
    "event", [GO, STOP, TimerFired(timer=1), ActivityCompleted(activity=1, attempt=1, result=None)], ids=repr
)
def test_inputs_are_known(event: Event) -> None:
    assert is_input(event)


def test_a_result_recorded_during_a_turn_comes_after_it() -> None:
    """The turn had not seen it, and cancelled what it was the result of."""
    cancel = ActivityCancelled(activity=1, turn=waits(1, "go"))
    turns = replay_of(history(STARTED, calls(1, waits(1, "stop")), done(1), cancel)).turns
    assert [(turn.inputs, turn.commands) for turn in turns[1:]] == [((), (cancel,)), ((done(1),), ())]


def test_what_is_cut_into_records_is_all_there_in_order() -> None:
    events: list[Event] = [STARTED, STOP]
    for seq in range(3, 60, 4):
        events += [
            ActivityCompleted(activity=seq, attempt=1, result=json_payload(b"x" * seq * 20)),
            calls(seq + 1, None),
            calls(seq + 2, waits(seq, None)),
        ]
    for seq in range(len(events) + 1, len(events) + 61, 2):
        events += [SignalReceived(name=f"n{seq}", payload=json_payload(b"x" * seq * 20)), waits(seq, None)]
    events += [SignalReceived(name=f"last{n}", payload=json_payload(b"y" * 700)) for n in range(9)]
    replay = replay_of(history(*events))
    info = RunInfo(namespace="default", workflow_id="w", run_id="r", workflow_type="order", version="v")
    for part_bytes in (1, 1_000, 10_000, 10_000_000):
        start, *rest = start_records(5, ("m", "f"), info, replay, part_bytes=part_bytes)
        assert isinstance(start, Start)
        assert [record.more for record in (start, *rest)] == [True] * len(rest) + [False]
        pieces = list(start.turns)
        for record in rest:
            assert isinstance(record, History)
            pieces += record.turns
        turns: list[Turn] = []
        given: tuple[Input, ...] = ()
        for piece in pieces:
            given += piece.inputs
            if isinstance(piece, Turn):
                turns.append(replace(piece, inputs=given))
                given = ()
        assert tuple(turns) == replay.turns


def waits(observed_seq: int, name: str | None) -> TurnEnded:
    return TurnEnded(observed_seq=observed_seq, wait=WaitKind.RECEIVE if name is None else WaitKind.SIGNAL, name=name)


def results(observed_seq: int, name: str) -> TurnEnded:
    return TurnEnded(observed_seq=observed_seq, wait=WaitKind.RESULT, name=name)


def calls(activity: int, turn: TurnEnded | None) -> ActivityScheduled:
    return ActivityScheduled(
        activity=activity,
        activity_type="charge",
        queue="default",
        input=None,
        retry=DEFAULT_RETRY,
        timeouts=DEFAULT_TIMEOUTS,
        turn=turn,
    )


def done(activity: int) -> ActivityCompleted:
    return ActivityCompleted(activity=activity, attempt=1, result=json_payload(b"7"))


def signal(name: str, payload: bytes) -> Signal:
    return Signal(name=name, payload=payload)


def history(*events: Event) -> list[HistoryRecord]:
    """Event n was recorded at 100 n ms."""
    return [
        HistoryRecord(
            namespace=Namespace("default"),
            workflow_id=WorkflowId("w"),
            run_id=RunId("r"),
            seq=seq,
            recorded_at=100 * seq,
            owner_epoch=0,
            chain=b"",
            cause=None,
            event=event,
        )
        for seq, event in enumerate(events, 1)
    ]
