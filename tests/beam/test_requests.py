"""What a turn asks for beside the calls that wait for it: plain receives, limits, replays that differ, queries."""

import asyncio
from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from aion_beam.frames import CaughtUp, Completed, Diverged, Turn, Wait, Waiting
from aion_common.records.events import WaitKind
from aion_common.turns import CancelActivity, CancelTimer, Request, StartTimer
from beam.bench import WAITS_IN_RECEIVE, Bench, sig, turn, waits_for
from beam.stories import commands_of, done, fired, recorded_turns, shown, story

GO = sig("go")


async def test_no_result_ever_stands_in_the_mailbox(bench: Bench) -> None:
    told = await story(bench, "parks_with_calls", b"null", [done(1)], [sig("x")], [done(2, b"2")], [sig("stop")])
    assert told == [["receive", "call 1 a"], ["receive"], ["receive", "call 2 b"], ["receive"], ["x", ["ok", 1], ["ok", 2]]]
    told = await story(bench, "parks_with_calls", b"null", [done(1), sig("x")], [done(2, b"2"), sig("stop")])
    assert told == [["receive", "call 1 a"], ["receive", "call 2 b"], ["x", ["ok", 1], ["ok", 2]]]


async def test_what_a_run_asks_for_after_a_time_out_of_its_own_is_told_without_any_input(bench: Bench) -> None:
    run = bench.start("wakes_and_calls")
    outcome = await bench.next(run)
    while isinstance(outcome, Waiting) and not outcome.requests:
        outcome = await bench.next(run)
    assert isinstance(outcome, Waiting)
    assert shown(outcome) == ["receive", "call 1 a"]
    bench.pool.deliver(run, 3, 3_000, [done(1)])
    assert shown(await bench.next(run)) == ["receive"]
    bench.pool.deliver(run, 5, 5_000, [GO])
    assert shown(await bench.next(run)) == ["ok", 1]
    recorded = [turn(1, end=WAITS_IN_RECEIVE), _asked(outcome.requests, end=WAITS_IN_RECEIVE)]
    for history in ([*recorded, turn(3, done(1), end=WAITS_IN_RECEIVE)], recorded[1:]):
        again = bench.start("wakes_and_calls", b"null", *history, turn(5, done(1), GO))
        assert shown(await bench.next(again)) == ["ok", 1]


async def test_a_replay_that_misses_a_short_receive_takes_its_requests_all_the_same(bench: Bench) -> None:
    lived: list[Waiting] = []
    run = bench.start("times_out_between")
    while not lived or lived[-1].kind is WaitKind.RECEIVE:
        outcome = await bench.next(run)
        assert isinstance(outcome, Waiting)
        lived.append(outcome)
    requests = [request for outcome in lived for request in outcome.requests]
    end = Wait(kind=WaitKind.RESULT, name="2 of 2 results")
    apart = [_asked(requests[:1], end=WAITS_IN_RECEIVE), _asked(requests[1:], end=end)]
    for history in (apart, [turn(1, end=WAITS_IN_RECEIVE), _asked(requests, end=end)], [_asked(requests, end=end)]):
        again = bench.start("times_out_between", b"null", *history)
        assert await bench.next(again) == CaughtUp(activation=again)
        bench.pool.deliver(again, 9, 9_000, [done(2, b"2"), done(1)])
        assert shown(await bench.next(again)) == ["ok", 1, 2]


async def test_a_history_that_ends_in_a_receive_of_its_own_goes_on_with_requests(bench: Bench) -> None:
    run = bench.start("wakes_and_calls", b"null", turn(1, end=WAITS_IN_RECEIVE))
    outcome = await bench.next(run)
    if outcome == CaughtUp(activation=run):
        outcome = await bench.next(run)
    assert shown(outcome) == ["receive", "call 1 a"]


PLACE = "having been given the events up to 1"


@pytest.mark.parametrize(
    ("function", "change", "expected", "found"),
    [
        ("calls", [StartTimer(timer=1, delay_ms=1)], "the run starts timer 1", 'the run calls activity "charge" (1)'),
        ("calls", [], "the run waits for activity 1", 'the run calls activity "charge" (1)'),
        (
            "calls_elsewhere",
            "calls",
            'the run calls activity "charge" (1)',
            'the run calls activity "charge" (1) on queue "fast"',
        ),
        ("sleeps", "calls", 'the run calls activity "charge" (1)', "the run starts timer 1"),
        ("cancels_timer", [StartTimer(timer=1, delay_ms=1)], 'the run waits for signal "go"', "the run cancels timer 1"),
        (
            "cancels_timer",
            [StartTimer(timer=1, delay_ms=1), CancelTimer(timer=2)],
            "the run cancels timer 2",
            "the run cancels timer 1",
        ),
        (
            "cancels_timer",
            [StartTimer(timer=1, delay_ms=1), CancelActivity(activity=1)],
            "the run cancels activity 1",
            "the run cancels timer 1",
        ),
        (
            "sleeps",
            [StartTimer(timer=1, delay_ms=1), StartTimer(timer=2, delay_ms=1)],
            "the run starts timer 2",
            "the run waits for timer 1",
        ),
    ],
)
async def test_a_replay_that_asks_for_something_else_has_diverged(
    bench: Bench, function: str, change: list[Request] | str, expected: str, found: str
) -> None:
    lived = await bench.run(function)
    assert isinstance(lived, Waiting)
    if isinstance(change, str):
        other = await bench.run(change)
        assert isinstance(other, Waiting)
        change = list(other.requests)
    [recorded] = recorded_turns([lived], [])
    run = bench.start(function, b"null", replace(recorded, commands=commands_of(change)))
    assert await bench.next(run) == Diverged(activation=run, expected=f"{expected} {PLACE}", found=found)
    assert await bench.settled(run)


async def test_a_replay_that_ends_instead_of_asking_has_diverged(bench: Bench) -> None:
    asked = _asked([StartTimer(timer=1, delay_ms=1)], end=waits_for("go"))
    run = bench.start("answer", b"null", asked)
    assert await bench.next(run) == Diverged(
        activation=run, expected=f"the run starts timer 1 {PLACE}", found="the run completes"
    )


async def test_a_replay_that_waits_for_another_result_has_diverged(bench: Bench) -> None:
    lived = await bench.run("sleeps")
    assert isinstance(lived, Waiting)
    [recorded] = recorded_turns([replace(lived, name="timer 2")], [])
    outcome = await bench.run("sleeps", b"null", recorded)
    assert isinstance(outcome, Diverged)
    assert (outcome.expected, outcome.found) == (f"the run waits for timer 2 {PLACE}", "the run waits for timer 1")


async def test_a_run_that_stays_in_a_receive_between_its_recorded_requests_has_diverged(bench: Bench) -> None:
    lived = await bench.run("parks_with_calls")
    assert isinstance(lived, Waiting)
    [recorded] = recorded_turns([lived], [])
    more = replace(recorded, commands=(*recorded.commands, *commands_of([StartTimer(timer=2, delay_ms=1)])))
    outcome = await bench.run("parks_with_calls", b"null", more)
    assert isinstance(outcome, Diverged)
    assert (outcome.expected, outcome.found) == (f"the run starts timer 2 {PLACE}", "the run waits in a receive")


async def test_an_input_over_the_limit_is_refused_in_the_call(bench: Bench) -> None:
    told = await story(bench, "too_large", b"null")
    assert told == ["the input has 262146 bytes of JSON; 262144 are allowed"]


async def test_requests_over_the_limit_of_a_turn_are_refused_in_the_call(bench: Bench) -> None:
    told = await story(bench, "too_many", b"null", [GO], [sig("done")])
    assert isinstance(told[0], list)
    assert (told[0][0], len(told[0]), told[0][-1]) == ("go", 1_001, "timer 1000 1")
    assert told[1:] == [["done", "timer 1001 1"], [1_000, "the turn starts more than 1000 timers and activities"]]
    assert await story(bench, "maps_too_many", b"null") == ["the turn starts more than 1000 timers and activities"]


async def test_bytes_over_the_limit_of_a_turn_are_refused_in_the_call(bench: Bench) -> None:
    told = await story(bench, "too_much", b"null", [GO], [sig("done")])
    assert told == [
        ["go", "call 1 a", "call 2 a", "call 3 a", "call 4 small"],
        ["done", "call 5 a"],
        [3, "the turn asks for more than 716800 bytes of history"],
    ]


async def test_a_name_that_no_signal_can_have_is_refused_in_the_call(bench: Bench) -> None:
    assert await story(bench, "bad_name", b"null") == [["refused", "refused", "refused"]]


async def test_a_query_is_answered_beside_a_run_that_awaits(bench: Bench) -> None:
    run = bench.start("queried")
    assert shown(await bench.next(run)) == ["activity 1", "call 1 a"]
    answers = await asyncio.gather(*(bench.pool.query(run, "stage", b"null") for _ in range(20)))
    assert answers == [b'"calling"'] * 20
    bench.pool.deliver(run, 3, 3_000, [fired(9), done(1)])
    assert await bench.next(run) == Completed(activation=run, observed_seq=3, json=b'["ok",1]')


def _asked(requests: Sequence[Request], end: Wait) -> Turn:
    return replace(turn(1, end=end), commands=commands_of(requests))
