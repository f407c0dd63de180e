"""Timers, time-outs and scopes in the SDK, live and on every replay."""

import pytest

from aion_beam.frames import Cancel, Input
from beam.bench import Bench, sig
from beam.stories import Shown, done, failed, fired, story

CANCEL = Cancel(reason="why")
GO = sig("go")
CANCELLED = ["error", "cancelled", "the run has cancelled it", None, "none"]


async def test_sleep_ends_with_its_timer(bench: Bench) -> None:
    assert await story(bench, "sleeps", b"null", [GO], [fired(1)]) == [["timer 1", "timer 1 60000"], ["timer 1"], 20_000]
    assert await story(bench, "sleeps", b"null", [CANCEL]) == [["timer 1", "timer 1 60000"], "Cancelled"]


async def test_a_timer_gives_its_value(bench: Bench) -> None:
    assert await story(bench, "tagged_timer", b"null", [fired(1)]) == [["timer 1", "timer 1 7"], ["ok", {"tag": 1}]]


async def test_a_cancelled_timer_stays_cancelled_though_it_fires(bench: Bench) -> None:
    told = await story(bench, "cancels_timer", b"null", [fired(1)], [GO])
    assert told == [["go", "timer 1 1000", "cancel timer 1"], ["go"], CANCELLED]


WAITS_PACKED = ["signal packed or timer 1", "timer 1 1000"]


@pytest.mark.parametrize(
    ("deliveries", "told"),
    [
        ([[sig("packed", b"1")], [sig("sent")]], [["sent", "cancel timer 1"], [["ok", 1], ["ok", None]]]),
        ([[fired(1)], [sig("packed")], [sig("sent")]], [["sent"], ["sent"], ["timeout", ["ok", None]]]),
        ([[fired(1), sig("packed"), sig("sent")]], [["timeout", ["ok", None]]]),
        ([[sig("packed"), fired(1), sig("sent")]], [[["ok", None], ["ok", None]]]),
        ([[sig("sent")], [fired(1)]], [["signal packed or timer 1"], ["timeout", ["ok", None]]]),
        ([[CANCEL, fired(1)]], ["Cancelled"]),
        ([[fired(1), CANCEL]], ["Cancelled"]),
    ],
    ids=repr,
)
async def test_a_signal_or_a_time(bench: Bench, deliveries: list[list[Input]], told: list[Shown]) -> None:
    assert await story(bench, "signal_or_time", b"null", *deliveries) == [WAITS_PACKED, *told]


async def test_a_time_of_zero_does_not_wait(bench: Bench) -> None:
    told = await story(bench, "polls_signal", b"null", [sig("a", b"1"), sig("b", b"2"), GO])
    assert told == [["go"], ["timeout", ["ok", 1], ["ok", 2]]]


IN_TIME = ["activity 2 or timer 1", "timer 1 1000", "call 2 a"]


@pytest.mark.parametrize(
    ("inputs", "result"),
    [
        ([done(2)], ["ok", "ok", 1]),
        ([failed(2)], ["ok", "error", "declined", "no", None, "none"]),
        ([fired(1)], "timeout"),
        ([fired(1), done(2)], "timeout"),
        ([done(2), fired(1)], ["ok", "ok", 1]),
        ([fired(1), CANCEL], "timeout"),
        ([CANCEL, fired(1)], "Cancelled"),
    ],
    ids=repr,
)
async def test_a_scope_ends_with_what_comes_first(bench: Bench, inputs: list[Input], result: Shown) -> None:
    assert await story(bench, "in_time", b"null", inputs) == [IN_TIME, result]


async def test_a_scope_that_is_over_cancels_what_it_started_and_nested_ones_end_with_it(bench: Bench) -> None:
    begun = [
        "activity 5 or timer 3 or timer 1",
        *["timer 1 1000", "call 2 outer", "timer 3 500", "call 4 inner", "call 5 slow"],
    ]
    told = await story(bench, "nests", b"null", [fired(1)], [GO])
    assert told == [begun, ["go", "cancel call 5", "cancel timer 3", "cancel call 2", "cancel call 4"], "timeout"]
    told = await story(bench, "nests", b"null", [fired(3)], [fired(1)], [GO])
    assert told == [begun, ["signal go or timer 1", "cancel call 5", "cancel call 4"], ["go", "cancel call 2"], "timeout"]
    told = await story(bench, "nests", b"null", [fired(3)], [GO], [GO])
    assert told == [
        begun,
        ["signal go or timer 1", "cancel call 5", "cancel call 4"],
        ["go", "cancel timer 1"],
        ["ok", "timeout"],
    ]
    told = await story(bench, "nests", b"null", [fired(3), fired(1), GO])
    assert told == [begun, "timeout"]
    told = await story(bench, "nests", b"null", [fired(1), fired(3), done(2)], [GO])
    assert told == [begun, ["go", "cancel call 5", "cancel call 4"], "timeout"]


async def test_what_a_scope_leaves_open_when_it_returns_goes_on(bench: Bench) -> None:
    told = await story(bench, "scope_leaves", b"null", [fired(1)], [done(2)])
    assert told == [["activity 2", "timer 1 1000", "call 2 a", "cancel timer 1"], ["activity 2"], ["ok", 1]]


@pytest.mark.parametrize(
    ("inputs", "result"),
    [([sig("packed", b"7")], 7), ([fired(1), sig("packed")], "too_late"), ([sig("packed", b"7"), fired(1)], 7)],
    ids=repr,
)
async def test_a_scope_around_a_wait_for_a_signal(bench: Bench, inputs: list[Input], result: Shown) -> None:
    waits = ["signal packed or timer 1", "timer 1 1000"]
    assert await story(bench, "scope_signal", b"null", [GO], inputs) == [waits, waits[:1], result]


@pytest.mark.parametrize(
    ("deliveries", "last"),
    [
        ([[done(2), fired(1), done(3)]], "timeout"),
        ([[done(2), done(3), fired(1)]], ["ok", "ok", 1, 1]),
        ([[done(2)], [fired(1), done(3)]], "timeout"),
        ([[done(2)], [done(3)]], ["ok", "ok", 1, 1]),
        ([[done(2), CANCEL, fired(1)]], "Cancelled"),
        ([[done(2), fired(1), CANCEL]], "Cancelled"),
        ([[failed(2), fired(1)]], ["ok", "error", "declined", "no", None, "none"]),
    ],
    ids=repr,
)
async def test_a_scope_around_all(bench: Bench, deliveries: list[list[Input]], last: Shown) -> None:
    told = await story(bench, "scope_of_two", b"null", *deliveries)
    assert told[0] == ["2 of 2 results or timer 1", "timer 1 1000", "call 2 a", "call 3 b"]
    assert told[-1] == last


async def test_code_that_swallows_the_end_of_its_time_gets_it_again(bench: Bench) -> None:
    told = await story(bench, "swallows_time", b"null", [fired(1)])
    assert told == [["signal x or timer 1", "timer 1 1000", "call 2 a"], "timeout"]


async def test_a_scope_that_fails_takes_its_timer_along(bench: Bench) -> None:
    told = await story(bench, "scope_fails", b"null", [fired(1)], [GO])
    assert told == [["go", "timer 1 1000", "cancel timer 1"], ["go"], "caught"]


async def test_a_cancel_goes_through_a_scope_and_leaves_what_has_a_name(bench: Bench) -> None:
    told = await story(bench, "cancelled_in_scope", b"null", [CANCEL], [done(3)], [done(1)])
    assert told == [
        ["2 of 2 results or timer 2", "call 1 before", "timer 2 1000", "call 3 inside"],
        ["activity 1", "cancel timer 2"],
        ["activity 1"],
        ["ok", 1],
    ]


@pytest.mark.parametrize(
    ("deliveries", "result"),
    [
        ([[fired(1), CANCEL]], ["timeout", "cancelled"]),
        ([[CANCEL, fired(1)], [sig("y")]], ["cancelled", "nothing"]),
        ([[sig("x"), CANCEL, fired(1)]], [["ok", ["ok", None]], "cancelled"]),
    ],
    ids=repr,
)
async def test_of_a_time_and_a_cancel_the_first_ends_the_wait(
    bench: Bench, deliveries: list[list[Input]], result: Shown
) -> None:
    assert (await story(bench, "catches_both", b"null", *deliveries))[-1] == result
