"""How a run waits, and how what is delivered reaches it: only between its turns, at once, in order."""

import json

import pytest

from aion_beam.frames import Completed, Waiting
from aion_common.records.events import WaitKind
from beam.bench import Bench, sig, turn, waits_for


def waiting_in_receive(seq: int, activation: int) -> Waiting:
    return Waiting(activation=activation, observed_seq=seq, kind=WaitKind.RECEIVE, name=None)


def waiting_for(name: str, seq: int, activation: int) -> Waiting:
    return Waiting(activation=activation, observed_seq=seq, kind=WaitKind.SIGNAL, name=name)


async def test_a_plain_receive_is_found_and_gets_the_signal(bench: Bench) -> None:
    run = bench.start("park")
    assert await bench.next(run) == waiting_in_receive(1, run)
    bench.signal(run, 3, "release", b'{"by":"anna"}')
    outcome = await bench.next(run)
    assert isinstance(outcome, Completed)
    assert outcome.observed_seq == 3
    assert json.loads(outcome.json) == {"name": "release", "payload": {"by": "anna"}}


async def test_the_sdk_says_for_which_signal_it_waits(bench: Bench) -> None:
    run = bench.start("two_signals")
    assert await bench.next(run) == waiting_for("a", 1, run)
    bench.signal(run, 3, "a", b"1")
    assert await bench.next(run) == waiting_for("b", 3, run)
    bench.signal(run, 5, "b", b"2")
    assert await bench.next(run) == Completed(activation=run, observed_seq=5, json=b"[1,2]")


async def test_signals_that_came_first_are_taken_without_waiting(bench: Bench) -> None:
    outcome = await bench.run("two_signals", b"null", turn(3, sig("b", b"2"), sig("a", b"1")))
    assert isinstance(outcome, Completed)
    assert outcome.json == b"[1,2]"


async def test_a_signal_of_another_name_ends_its_turn_in_the_same_wait(bench: Bench) -> None:
    run = bench.start("two_signals")
    await bench.next(run)
    bench.signal(run, 3, "b", b"2")
    assert await bench.next(run) == waiting_for("a", 3, run)
    bench.signal(run, 5, "a", b"1")
    assert await bench.next(run) == Completed(activation=run, observed_seq=5, json=b"[1,2]")


async def test_every_turn_in_a_plain_receive_is_found(bench: Bench) -> None:
    run = bench.start("count")
    for seq in range(1, 20):
        assert await bench.next(run) == waiting_in_receive(seq, run)
        bench.signal(run, seq + 1, "one")
    await bench.next(run)
    bench.signal(run, 30, "stop")
    assert await bench.next(run) == Completed(activation=run, observed_seq=30, json=b"19")


async def test_a_message_that_nobody_takes_ends_its_turn(bench: Bench) -> None:
    run = bench.start("deaf")
    await bench.next(run)
    bench.signal(run, 3, "anything")
    assert await bench.next(run) == waiting_in_receive(3, run)


async def test_inputs_delivered_during_a_turn_come_after_it(bench: Bench) -> None:
    run = bench.start("count")
    for seq in (2, 3):
        bench.signal(run, seq, "one")
    bench.signal(run, 4, "stop")
    assert [await bench.next(run) for _ in range(4)] == [
        *(waiting_in_receive(seq, run) for seq in (1, 2, 3)),
        Completed(activation=run, observed_seq=4, json=b"2"),
    ]


@pytest.mark.parametrize("function", ["busy", "churns", "lazy", "prints"])
async def test_runs_that_work_are_not_taken_for_waiting(bench: Bench, function: str) -> None:
    # In a new VM, so that all of them load the same modules at the same time.
    runs = [bench.start(function) for _ in range(1 if function == "busy" else 30)]
    for run in runs:
        assert isinstance(await bench.next(run), Completed)


async def test_a_run_that_works_does_not_hide_one_that_waits(bench: Bench) -> None:
    working = bench.start("forever")
    run = bench.start("park")
    assert await bench.next(run) == waiting_in_receive(1, run)
    assert bench.listener.is_quiet(working)
    bench.pool.kill(working)


async def test_a_time_out_of_its_own_begins_a_turn_without_inputs(bench: Bench) -> None:
    run = bench.start("wakes")
    assert await bench.next(run) == waiting_in_receive(1, run)
    assert await bench.next(run) == Completed(activation=run, observed_seq=1, json=b'"woke"')


async def test_a_second_wait_after_an_own_time_out_is_told_before_the_next_turn(bench: Bench) -> None:
    run = bench.start("wakes_then_parks")
    later = bench.start("wakes")
    assert await bench.next(run) == waiting_in_receive(1, run)
    await bench.next(later)
    # The other run has the same time-out and began later: when it has woken, this one has.
    await bench.next(later)
    bench.signal(run, 3, "go")
    assert await bench.next(run) == waiting_in_receive(1, run)
    assert await bench.next(run) == Completed(activation=run, observed_seq=3, json=b'["nobody","go"]')


async def test_what_comes_while_a_run_goes_on_by_itself_is_held_until_it_waits(bench: Bench) -> None:
    run = bench.start("wakes_then_works")
    later = bench.start("wakes")
    assert await bench.next(run) == waiting_in_receive(1, run)
    await bench.next(later)
    await bench.next(later)
    bench.signal(run, 3, "go", b"3")
    assert await bench.next(run) == waiting_for("go", 1, run)
    assert await bench.next(run) == Completed(activation=run, observed_seq=3, json=b'["nobody",3]')


async def test_the_time_is_that_of_the_newest_event_given(bench: Bench) -> None:
    run = bench.start("clock")
    await bench.next(run)
    bench.signal(run, 7, "go")
    outcome = await bench.next(run)
    assert isinstance(outcome, Completed)
    assert json.loads(outcome.json) == {
        "before": 1000,
        "later": 7000,
        "info": {
            "namespace": "default",
            "workflow_id": "order-1",
            "run_id": "ab" * 16,
            "workflow_type": "clock",
            "version": "0" * 64,
        },
    }


async def test_a_killed_activation_says_nothing_more(bench: Bench) -> None:
    run = bench.start("count")
    await bench.next(run)
    bench.pool.kill(run)
    bench.pool.kill(run)
    bench.signal(run, 3, "stop")
    assert await bench.settled(run)


async def test_a_payload_larger_than_a_frame_arrives_whole(bench: Bench) -> None:
    run = bench.start("count")
    await bench.next(run)
    inputs = [sig("one", b'"%s"' % (b"x" * 200_000)) for _ in range(40)]
    bench.pool.deliver(run, 42, 42_000, [*inputs, sig("stop")])
    assert await bench.next(run) == Completed(activation=run, observed_seq=42, json=b"40")


async def test_signals_keep_their_order_over_deliveries_of_one_and_of_several(bench: Bench) -> None:
    run = bench.start("in_order")
    assert await bench.next(run) == waiting_for("a", 1, run)
    bench.pool.deliver(run, 3, 3000, [sig("b", b"1"), sig("b", b"2")])
    bench.signal(run, 5, "b", b"3")
    bench.signal(run, 7, "a")
    outcomes = [await bench.next(run) for _ in range(3)]
    assert outcomes[-1] == Completed(activation=run, observed_seq=7, json=b"[1,2,3]")


async def test_signals_keep_their_order_in_a_replay(bench: Bench) -> None:
    first = turn(3, sig("b", b"1"), sig("b", b"2"), end=waits_for("a"))
    turns = [turn(1, end=waits_for("a")), first, turn(5, sig("b", b"3"), end=waits_for("a"))]
    outcome = await bench.run("in_order", b"null", *turns, turn(7, sig("a")))
    assert isinstance(outcome, Completed)
    assert outcome.json == b"[1,2,3]"


async def test_a_run_that_is_woken_has_all_that_it_was_given(bench: Bench) -> None:
    number = 10_000
    for _ in range(3):
        run = bench.start("mail")
        assert await bench.next(run) == waiting_in_receive(1, run)
        bench.pool.deliver(run, number + 1, 3000, [sig("b", b'"%050d"' % each) for each in range(number)])
        assert await bench.next(run) == Completed(activation=run, observed_seq=number + 1, json=b"%d" % number)
