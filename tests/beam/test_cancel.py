"""A request to cancel: raised once, in the SDK, where the history says; everything else goes its way."""

import os
import signal

import pytest

from aion_beam.frames import Cancel, Cancelled, CaughtUp, Completed, Failed, Input, Turn, Waiting
from aion_common.records.events import WaitKind
from beam.bench import KEY, WAITS_IN_RECEIVE, Bench, sig, turn, waits_for

CANCEL = Cancel(reason="why")


def waiting_for(name: str | None, seq: int, activation: int) -> Waiting:
    kind = WaitKind.RECEIVE if name is None else WaitKind.SIGNAL
    return Waiting(activation=activation, observed_seq=seq, kind=kind, name=name)


@pytest.mark.parametrize("reason", ["kündigung", None])
async def test_a_run_that_waits_in_the_sdk_is_cancelled(bench: Bench, reason: str | None) -> None:
    run = bench.start("two_signals")
    await bench.next(run)
    bench.cancel(run, 3, reason)
    assert await bench.next(run) == Cancelled(activation=run, observed_seq=3, reason=reason)
    assert await bench.settled(run)


async def test_a_cancel_before_the_first_wait_is_raised_in_it(bench: Bench) -> None:
    outcome = await bench.run("two_signals", b"null", turn(3, CANCEL, sig("a")))
    assert isinstance(outcome, Cancelled)
    assert outcome.observed_seq == 3


async def test_code_may_catch_a_cancel_and_wait_again(bench: Bench) -> None:
    run = bench.start("cleans_up")
    await bench.next(run)
    bench.cancel(run, 3)
    assert await bench.next(run) == waiting_for("undo", 3, run)
    bench.signal(run, 5, "undo", b"7")
    assert await bench.next(run) == Completed(activation=run, observed_seq=5, json=b'{"reason":"why","undo":7}')


async def test_a_cancel_raised_again_after_cleaning_up_cancels_the_run(bench: Bench) -> None:
    run = bench.start("gives_up_late")
    await bench.next(run)
    bench.cancel(run, 3)
    assert await bench.next(run) == waiting_for("undo", 3, run)
    bench.signal(run, 5, "undo")
    assert await bench.next(run) == Cancelled(activation=run, observed_seq=5, reason="why")


async def test_a_cancel_that_was_swallowed_is_not_raised_again(bench: Bench) -> None:
    run = bench.start("swallows")
    await bench.next(run)
    bench.cancel(run, 3)
    assert await bench.next(run) == waiting_for("b", 3, run)
    bench.signal(run, 5, "b", b"2")
    assert await bench.next(run) == Completed(activation=run, observed_seq=5, json=b"2")


@pytest.mark.parametrize(
    ("inputs", "waits"),
    [((CANCEL, sig("a", b"1")), "undo"), ((sig("a", b"1"), CANCEL), None), ((sig("b"), CANCEL), "undo")],
    ids=["cancel first", "signal first", "a signal of another name first"],
)
async def test_what_comes_first_ends_the_wait(bench: Bench, inputs: tuple[Input, ...], waits: str | None) -> None:
    run = bench.start("cleans_up")
    await bench.next(run)
    bench.pool.deliver(run, 4, 4_000, inputs)
    expected = Cancelled(activation=run, observed_seq=4, reason="why") if waits is None else waiting_for(waits, 4, run)
    assert await bench.next(run) == expected


async def test_a_plain_receive_never_sees_a_cancel_and_the_next_call_of_the_sdk_raises_it(bench: Bench) -> None:
    run = bench.start("parks_then_asks")
    assert await bench.next(run) == waiting_for(None, 1, run)
    bench.cancel(run, 3)
    assert await bench.next(run) == waiting_for(None, 3, run)
    bench.signal(run, 5, "go")
    assert await bench.next(run) == Cancelled(activation=run, observed_seq=5, reason="why")


async def test_a_run_that_never_asks_the_sdk_completes(bench: Bench) -> None:
    run = bench.start("park")
    await bench.next(run)
    bench.cancel(run, 3)
    assert await bench.next(run) == waiting_for(None, 3, run)
    bench.signal(run, 5, "go")
    assert isinstance(await bench.next(run), Completed)


async def test_code_that_only_pretends_to_be_cancelled_crashes(bench: Bench) -> None:
    outcome = await bench.run("pretends")
    assert isinstance(outcome, Failed)
    assert outcome.kind == "crash"


async def test_the_end_of_a_linked_process_cancels_nobody(bench: Bench) -> None:
    run = bench.start("loses_a_link")
    await bench.next(run)
    bench.cancel(run, 3, None)
    outcome = await bench.next(run)
    while isinstance(outcome, Waiting):
        outcome = await bench.next(run)
    assert outcome == Completed(activation=run, observed_seq=3, json=b'"went_on"')


async def test_a_cancelled_run_that_cleans_up_survives_its_vm(bench: Bench) -> None:
    run = bench.start("cleans_up")
    await bench.next(run)
    bench.cancel(run, 3)
    await bench.next(run)
    os.kill(bench.pool.vm_pids()[KEY], signal.SIGKILL)
    await bench.listener.gone.get()
    history = [turn(1, end=waits_for("a")), turn(3, CANCEL, end=waits_for("undo"))]
    again = bench.start("cleans_up", b"null", *history)
    assert await bench.next(again) == CaughtUp(activation=again)
    bench.signal(again, 5, "undo", b"7")
    assert await bench.next(again) == Completed(activation=again, observed_seq=5, json=b'{"reason":"why","undo":7}')


WAITED = turn(1, end=waits_for("a"))
PARKED = [turn(1, end=WAITS_IN_RECEIVE), turn(3, CANCEL, end=WAITS_IN_RECEIVE)]


@pytest.mark.parametrize(
    ("function", "history", "seq"),
    [
        ("two_signals", [turn(3, CANCEL)], 3),
        ("two_signals", [WAITED, turn(3, CANCEL)], 3),
        ("two_signals", [WAITED, turn(3, sig("b"), end=waits_for("a")), turn(5, CANCEL, sig("a"))], 5),
        ("two_signals", [WAITED, turn(4, sig("a"), CANCEL)], 4),
        ("gives_up_late", [WAITED, turn(3, CANCEL, end=waits_for("undo")), turn(5, sig("undo"))], 5),
        ("parks_then_asks", [*PARKED, turn(5, sig("go"))], 5),
    ],
)
async def test_the_cancel_is_replayed_at_its_place(bench: Bench, function: str, history: list[Turn], seq: int) -> None:
    run = bench.start(function, b"null", *history)
    assert await bench.next(run) == Cancelled(activation=run, observed_seq=seq, reason="why")
    assert await bench.settled(run)


async def test_a_cancel_that_comes_during_a_replay_is_raised_after_it(bench: Bench) -> None:
    history = [turn(1, end=waits_for("a")), turn(3, sig("a", b"1"), end=waits_for("b"))]
    run = bench.start("two_signals", b"null", *history)
    bench.cancel(run, 5)
    assert await bench.next(run) == Cancelled(activation=run, observed_seq=5, reason="why")
