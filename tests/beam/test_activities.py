"""Activities in the SDK: what is asked for, what comes of it, in which order; live and on every replay."""

import pytest

from aion_beam.frames import Cancel, Input, Waiting
from aion_beam.turn_codec import DEFAULT_RETRY, DEFAULT_TIMEOUTS
from aion_common.records.common import ActivityTimeouts, Backoff, RetryPolicy, json_payload
from aion_common.records.events import TimeoutKind
from aion_common.turns import ScheduleActivity
from beam.bench import Bench, sig
from beam.stories import Shown, done, failed, fired, shown, story, timed_out

CANCEL = Cancel(reason="why")
GO = sig("go")
CANCELLED = ["error", "cancelled", "the run has cancelled it", None, "none"]
DECLINED = ["error", "declined", "no", None, "none"]


@pytest.mark.parametrize(
    ("end", "result"),
    [
        (done(1, b'{"n":1}'), ["ok", {"n": 1}]),
        (done(1, None), ["ok", None]),
        (failed(1), DECLINED),
        (failed(1, "broken", b"[7]"), ["error", "broken", "no", [7], "none"]),
        *[(timed_out(1, kind), ["error", "timeout", f"the time {kind} is over", None, kind.value]) for kind in TimeoutKind],
    ],
    ids=repr,
)
async def test_what_comes_of_an_activity(bench: Bench, end: Input, result: Shown) -> None:
    assert await story(bench, "calls", b"[1]", [end]) == [["activity 1", "call 1 charge"], result]


async def test_an_activity_is_asked_for_with_its_input_and_the_usual_options(bench: Bench) -> None:
    outcome = await bench.run("calls", b'{"order":7}')
    assert isinstance(outcome, Waiting)
    assert outcome.requests == (
        ScheduleActivity(
            activity=1,
            activity_type="charge",
            queue="default",
            input=json_payload(b'{"order":7}'),
            retry=DEFAULT_RETRY,
            timeouts=DEFAULT_TIMEOUTS,
        ),
    )
    assert isinstance(outcome.requests[0], ScheduleActivity)
    assert outcome.requests[0].retry is DEFAULT_RETRY


async def test_options_that_are_given_count_and_the_others_stay_usual(bench: Bench) -> None:
    outcome = await bench.run("calls_with")
    assert isinstance(outcome, Waiting)
    first, second = outcome.requests
    assert first == ScheduleActivity(
        activity=1,
        activity_type="charge",
        queue="fast-1_a",
        input=json_payload(b"{}"),
        retry=RetryPolicy(
            attempts=3,
            backoff=Backoff.LINEAR,
            initial_ms=10,
            max_ms=100,
            jitter_percent=0,
            non_retryable=("declined", "gone"),
        ),
        timeouts=ActivityTimeouts(schedule_to_start_ms=1, start_to_close_ms=2, schedule_to_close_ms=3, heartbeat_ms=4),
    )
    assert isinstance(second, ScheduleActivity)
    assert second.retry == RetryPolicy(
        attempts=None,
        backoff=Backoff.EXPONENTIAL,
        initial_ms=1_000,
        max_ms=100_000,
        jitter_percent=50,
        non_retryable=(),
    )
    assert second.timeouts == DEFAULT_TIMEOUTS


@pytest.mark.parametrize(
    ("option", "key", "sentence"),
    [
        ('["queue","Fast"]', "queue", 'queue is <<"Fast">>, not of a-z, 0-9, _ and -, beginning with a letter or digit'),
        ('["queue","_a"]', "queue", None),
        ('["queue",""]', "queue", None),
        (f'["queue","{"a" * 64}"]', "queue", None),
        ('["queue",7]', "queue", None),
        ('["heartbeat",0]', "heartbeat", "heartbeat is 0, not a whole number of 1 to 1123200000"),
        ('["start_to_close",1.5]', "start_to_close", None),
        ('["schedule_to_close",1123200001]', "schedule_to_close", None),
        ('["colour","red"]', "colour", 'colour is <<"red">>, given, but there is no such option'),
        ('["retry",3]', "retry", "retry is 3, not a map"),
        ('["retry","attempts",0]', "attempts", None),
        ('["retry","backoff","fixed"]', "backoff", None),
        ('["retry","initial",-1]', "initial", None),
        ('["retry","jitter",101]', "jitter", None),
        ('["retry","non_retryable","gone"]', "non_retryable", None),
        ('["retry","non_retryable",[7]]', "non_retryable", None),
        ('["retry","tries",7]', "tries", None),
    ],
)
async def test_a_bad_option_is_refused_in_the_call(bench: Bench, option: str, key: str, sentence: str | None) -> None:
    [told] = await story(bench, "bad_option", option.encode())
    assert isinstance(told, list)
    assert told[0] == key
    assert sentence is None or told[1] == sentence


@pytest.mark.parametrize("function", ["bad_input", "no_ref", "in_other_process"])
async def test_what_makes_no_sense_is_refused_in_the_call(bench: Bench, function: str) -> None:
    outcome = await bench.run(function)
    while isinstance(outcome, Waiting):
        outcome = await bench.next(outcome.activation)
    assert await bench.settled(outcome.activation)
    assert getattr(outcome, "json", outcome) == b'"refused"'


async def test_results_that_came_before_they_were_asked_for_are_kept(bench: Bench) -> None:
    calls, both = ["go", "call 1 a", "call 2 b"], [["ok", 2], ["ok", 1]]
    assert await story(bench, "awaits_late", b"null", [done(1), done(2, b"2")], [GO]) == [calls, ["go"], both]
    assert await story(bench, "awaits_late", b"null", [GO, done(2, b"2"), done(1)]) == [calls, both]
    told = await story(bench, "awaits_late", b"null", [done(1)], [GO], [done(7)], [done(2, b"2")])
    assert told == [calls, ["go"], ["activity 2"], ["activity 2"], both]


async def test_an_outcome_is_given_once(bench: Bench) -> None:
    told = await story(bench, "awaits_twice", b"null", [done(1)])
    assert told[1] == "the outcome of timer or activity 1 has been taken"


async def test_a_cancelled_activity_stays_cancelled_whatever_comes_of_it(bench: Bench) -> None:
    told = await story(bench, "cancels_call", b"null", [GO], [done(1)], [sig("later")])
    assert told == [["go", "call 1 a"], ["later", "cancel call 1"], ["later"], CANCELLED]


async def test_what_has_ended_is_not_cancelled(bench: Bench) -> None:
    assert await story(bench, "cancels_ended", b"null", [done(1), GO]) == [["go", "call 1 a"], ["ok", 1]]
    assert await story(bench, "cancels_ended", b"null", [GO, done(1)]) == [["go", "call 1 a"], ["ok", 1]]
    assert await story(bench, "cancels_ended", b"null", [GO]) == [["go", "call 1 a"], CANCELLED]


ALL = ["3 of 3 results", "call 1 a", "call 2 b", "call 3 c"]


@pytest.mark.parametrize(
    ("deliveries", "told"),
    [
        ([[done(3, b"3"), done(1), done(2, b"2")]], [["ok", 1, 2, 3]]),
        ([[done(3, b"3")], [GO], [done(1)], [done(2, b"2")]], [*(3 * [None]), ["ok", 1, 2, 3]]),
        ([[done(1)], [failed(3)]], [["2 of 3 results"], DECLINED]),
        ([[failed(3), failed(2, "later")]], [DECLINED]),
        ([[failed(2), CANCEL]], [DECLINED]),
        ([[done(1), CANCEL, done(2), done(3)]], ["Cancelled"]),
        ([[CANCEL, done(1), done(2), done(3)]], ["Cancelled"]),
    ],
    ids=repr,
)
async def test_all_waits_for_all_or_the_first_error(bench: Bench, deliveries: list[list[Input]], told: list[Shown]) -> None:
    lived = await story(bench, "collects", b"null", *deliveries)
    assert lived[0] == ALL
    assert lived[-1] == told[-1]
    if told[0] is None:
        assert lived[1:4] == [["2 of 3 results"], ["2 of 3 results"], ["1 of 3 results"]]


async def test_all_of_nothing_is_there_at_once(bench: Bench) -> None:
    assert await story(bench, "collects_none", b"null") == [[]]


@pytest.mark.parametrize(
    ("before", "result"),
    [
        ([done(1), done(2, b"2"), done(3, b"3")], None),
        ([failed(2), done(1), failed(1, "never")], DECLINED),
        ([failed(3), failed(1, "later"), done(2)], DECLINED),
    ],
)
async def test_all_of_what_has_ended_goes_by_the_order_of_the_history(bench: Bench, before: list[Input], result: Shown) -> None:
    told = await story(bench, "collects_ended", b"null", before, [GO], *([] if result else [[fired(4)]]))
    if result is None:
        assert told[2:] == [["1 of 4 results", "timer 4 500"], ["ok", "in_time", 1, 2, 3]]
    else:
        assert told[2] == result


RACE = ["the first of 3 results", "call 1 a", "call 2 b", "timer 3 1000"]


@pytest.mark.parametrize(
    ("inputs", "winner"),
    [
        ([done(2), done(1)], ["b", ["ok", 1]]),
        ([failed(1), done(2)], ["a", DECLINED]),
        ([fired(3), done(1)], ["t", ["ok", "fired"]]),
        ([done(1), CANCEL], ["a", ["ok", 1]]),
        ([CANCEL, done(1)], "Cancelled"),
        (
            [GO, timed_out(2, TimeoutKind.HEARTBEAT)],
            ["b", ["error", "timeout", "the time heartbeat is over", None, "heartbeat"]],
        ),
    ],
    ids=repr,
)
async def test_race_is_won_by_the_first_end_of_the_history(bench: Bench, inputs: list[Input], winner: Shown) -> None:
    assert await story(bench, "races", b"null", inputs) == [RACE, winner]


async def test_race_of_what_has_ended_goes_by_the_order_of_the_history(bench: Bench) -> None:
    calls = ["go", "call 1 a", "call 2 b"]
    told = await story(bench, "races_ended", b"null", [done(2, b"2")], [done(1), GO])
    assert told == [calls, ["go"], ["b", ["ok", 2]]]
    assert await story(bench, "races_ended", b"null", [GO, failed(1)]) == [calls, ["a", DECLINED]]
    assert await story(bench, "races_twice", b"null") == ["refused"]


async def test_map_calls_one_for_each(bench: Bench) -> None:
    told = await story(bench, "maps", b"[1,2]", [done(2, b"4"), done(1, b"2")])
    assert told == [["2 of 2 results", "call 1 double", "call 2 double"], ["ok", 2, 4]]
    told = await story(bench, "maps_fun", b"null", [done(2, b"4")], [fired(1)])
    assert told == [["2 of 2 results", "timer 1 5", "call 2 double"], ["1 of 2 results"], ["ok", "zero", 4]]
    assert await story(bench, "maps", b"[]") == [["ok"]]


async def test_steps_one_after_the_other(bench: Bench) -> None:
    told = await story(bench, "chain", b"5", *[[done(n, b"%d" % n)] for n in range(1, 6)])
    assert told == [*([f"activity {n}", f"call {n} step"] for n in range(1, 6)), 15]


async def test_a_cancel_ends_a_wait_for_an_activity_and_cancels_what_nobody_else_knows(bench: Bench) -> None:
    told = await story(bench, "cleans_up_calls", b"null", [CANCEL], [done(1)], [done(2, b"2")])
    assert told == [
        ["activity 1", "call 1 a"],
        ["activity 2", "cancel call 1", "call 2 undo"],
        ["activity 2"],
        ["why", ["ok", 2]],
    ]


async def test_what_is_cancelled_does_not_count_against_what_a_turn_may_start(bench: Bench) -> None:
    run = bench.start("undoes_map", b"[%s]" % b",".join(b"1" for _ in range(1_000)))
    assert len(getattr(await bench.next(run), "requests", ())) == 1_000
    bench.pool.deliver(run, 1_003, 1_003, [failed(500)])
    told = shown(await bench.next(run))
    assert isinstance(told, list)
    assert (len(told), told[1], told[-2:]) == (1 + 999 + 2, "cancel call 1", ["call 1001 undo", "call 1002 undo"])
    bench.pool.deliver(run, 3_005, 3_005, [done(1_001), done(1_002)])
    assert shown(await bench.next(run)) == ["ok", 1, 1]


async def test_a_fan_out_of_a_thousand_ends_one_by_one(bench: Bench) -> None:
    """Each end is a turn; the longest history of one `all`."""
    run = bench.start("maps", b"[%s]" % b",".join(b"1" for _ in range(1_000)))
    outcome = await bench.next(run)
    assert isinstance(outcome, Waiting)
    assert len(outcome.requests) == 1_000
    for n in range(1, 1_001):
        bench.pool.deliver(run, 10 * n, 10 * n, [done(1_001 - n, b"%d" % n)])
        outcome = await bench.next(run)
    assert getattr(outcome, "json", outcome) == b'["ok",%s]' % b",".join(b"%d" % n for n in range(1_000, 0, -1))
