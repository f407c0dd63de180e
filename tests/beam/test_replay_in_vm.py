"""A recorded history is given to a new process turn by turn, and what the process does is held against it."""

import json

from aion_beam.frames import CaughtUp, Completed, Diverged, Waiting
from aion_common.records.events import WaitKind
from beam.bench import WAITS_IN_RECEIVE, Bench, sig, turn, waits_for


async def test_a_run_is_brought_back_to_its_wait_and_goes_on(bench: Bench) -> None:
    history = [turn(1, end=waits_for("a")), turn(3, sig("a", b"1"), end=waits_for("b"))]
    run = bench.start("two_signals", b"null", *history)
    assert await bench.next(run) == CaughtUp(activation=run)
    bench.signal(run, 5, "b", b"2")
    assert await bench.next(run) == Completed(activation=run, observed_seq=5, json=b"[1,2]")


async def test_only_the_live_turn_is_reported(bench: Bench) -> None:
    history = [turn(1, end=waits_for("a")), turn(3, sig("a", b"1"), end=waits_for("b")), turn(5, sig("b", b"2"))]
    run = bench.start("two_signals", b"null", *history)
    assert await bench.next(run) == Completed(activation=run, observed_seq=5, json=b"[1,2]")
    assert await bench.settled(run)


async def test_plain_receives_get_the_signals_at_their_place(bench: Bench) -> None:
    history = [turn(1, end=WAITS_IN_RECEIVE)]
    history += [turn(seq, sig("one"), end=WAITS_IN_RECEIVE) for seq in range(3, 103, 2)]
    run = bench.start("count", b"null", *history, turn(200, sig("stop")))
    assert await bench.next(run) == Completed(activation=run, observed_seq=200, json=b"50")


async def test_a_signal_of_another_name_is_replayed_in_its_turn(bench: Bench) -> None:
    history = [turn(1, end=waits_for("a")), turn(3, sig("b", b"2"), end=waits_for("a"))]
    run = bench.start("two_signals", b"null", *history, turn(5, sig("a", b"1")))
    assert await bench.next(run) == Completed(activation=run, observed_seq=5, json=b"[1,2]")


async def test_the_time_is_the_recorded_one(bench: Bench) -> None:
    run = bench.start("clock", b"null", turn(1, end=waits_for("go")), turn(9, sig("go")))
    outcome = await bench.next(run)
    assert isinstance(outcome, Completed)
    times = json.loads(outcome.json)
    assert (times["before"], times["later"]) == (1000, 9000)


async def test_a_long_history_travels_in_pieces(bench: Bench) -> None:
    payload = b'"%s"' % (b"x" * 10_000)
    history = [turn(1, end=WAITS_IN_RECEIVE)]
    history += [turn(seq, *[sig("one", payload)] * 5, end=WAITS_IN_RECEIVE) for seq in range(3, 303)]
    run = bench.start("count", b"null", *history, turn(400, *[sig("one", payload)] * 1000, sig("stop")))
    assert await bench.next(run) == Completed(activation=run, observed_seq=400, json=b"2500")


async def test_a_run_that_ends_where_it_waited_has_diverged(bench: Bench) -> None:
    run = bench.start("answer", b"null", turn(1, end=waits_for("a")), turn(3, sig("a")))
    outcome = await bench.next(run)
    assert outcome == Diverged(
        activation=run,
        expected='the run waits for signal "a" having been given the events up to 1',
        found="the run completes",
    )
    assert await bench.settled(run)


async def test_a_run_that_waits_for_another_signal_has_diverged(bench: Bench) -> None:
    outcome = await bench.run("two_signals", b"null", turn(1, end=waits_for("z")))
    assert isinstance(outcome, Diverged)
    assert outcome.found == 'the run waits for signal "a"'


async def test_a_run_that_stays_in_a_receive_that_is_not_recorded_has_diverged(bench: Bench) -> None:
    outcome = await bench.run("park", b"null", turn(1, end=waits_for("z")))
    assert isinstance(outcome, Diverged)
    assert outcome.found == "the run waits in a receive"


async def test_a_run_that_ends_before_it_gets_what_it_was_given_has_diverged(bench: Bench) -> None:
    outcome = await bench.run("answer", b"null", turn(1, end=WAITS_IN_RECEIVE), turn(3, sig("a"), end=waits_for("b")))
    assert isinstance(outcome, Diverged)


async def test_a_turn_without_inputs_is_waited_for(bench: Bench) -> None:
    history = [turn(1, end=waits_for("go")), turn(3, sig("go"), end=WAITS_IN_RECEIVE)]
    run = bench.start("waits_then_wakes", b"null", *history)
    assert await bench.next(run) == CaughtUp(activation=run)
    assert await bench.next(run) == Completed(activation=run, observed_seq=3, json=b'"woke"')


async def test_going_on_by_itself_is_replayed_and_comes_to_the_next_recorded_wait(bench: Bench) -> None:
    history = [turn(1, end=WAITS_IN_RECEIVE), turn(1, end=WAITS_IN_RECEIVE), turn(3, sig("go"))]
    outcome = await bench.run("wakes_then_parks", b"null", *history)
    assert isinstance(outcome, Completed)
    assert outcome.json == b'["nobody","go"]'


async def test_a_recorded_wait_that_was_only_seen_by_chance_may_be_missing(bench: Bench) -> None:
    run = bench.start("two_signals", b"null", turn(1, end=WAITS_IN_RECEIVE), turn(1, end=waits_for("a")))
    assert await bench.next(run) == CaughtUp(activation=run)


async def test_a_time_out_that_came_before_the_live_inputs_is_told_with_what_it_had_seen(bench: Bench) -> None:
    run = bench.start("two_signals", b"null", turn(1, end=WAITS_IN_RECEIVE), turn(3, sig("a", b"1")))
    assert await bench.next(run) == Waiting(activation=run, observed_seq=1, kind=WaitKind.SIGNAL, name="a")
    assert await bench.next(run) == Waiting(activation=run, observed_seq=3, kind=WaitKind.SIGNAL, name="b")
