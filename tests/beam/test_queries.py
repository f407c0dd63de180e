"""Queries are answered beside the run, from what it published, within bounds; nobody waits for an answer that cannot come."""

import asyncio
import json
import os
import signal

import pytest

from aion_beam.frames import Completed, Failed, QueryFailed
from aion_beam.pool import Activation
from aion_common.errors import VmDied
from aion_common.limits import QUERIES_WAITING_MAX, QUERY_MS_MAX
from beam.bench import KEY, Bench, package_of, sig, turn, waits_for


async def asked(bench: Bench, run: Activation, name: str, arguments: bytes = b"null") -> object:
    """The answer as a value, or as it is when there is none."""
    answer = await bench.pool.query(run, name, arguments)
    return json.loads(answer) if isinstance(answer, bytes) else answer.message


async def test_a_query_sees_what_was_published_last(bench: Bench) -> None:
    run = bench.start("publishes")
    await bench.next(run)
    assert await asked(bench, run, "stage") is None
    for seq, name, stage in ((3, "a", "one"), (5, "b", "two")):
        bench.signal(run, seq, name)
        await bench.next(run)
        assert await asked(bench, run, "stage") == {"stage": stage}
    assert await asked(bench, run, "arguments", b'{"n":[1]}') == {"n": [1]}


async def test_a_query_leaves_its_run_alone(bench: Bench) -> None:
    run = bench.start("park_any")
    await bench.next(run)
    assert await asked(bench, run, "arguments", b"1") == 1
    assert await bench.settled(run)
    bench.signal(run, 3, "any")
    assert await bench.next(run) == Completed(activation=run, observed_seq=3, json=b"1")


async def test_a_busy_run_is_asked_beside_its_work(bench: Bench) -> None:
    run = bench.start("forever")
    assert await asked(bench, run, "arguments", b"1") == 1
    bench.pool.kill(run)


async def test_a_query_waits_for_the_vm_and_for_the_end_of_the_replay(bench: Bench) -> None:
    history = [
        turn(1, end=waits_for("a")),
        *(turn(seq, sig("other"), end=waits_for("a")) for seq in range(3, 1003)),
        turn(2000, sig("a"), end=waits_for("b")),
        turn(2002, sig("b"), end=waits_for("c")),
    ]
    run = bench.start("publishes", b"null", *history)
    assert await asked(bench, run, "stage") == {"stage": "two"}
    again = bench.start("publishes", b"null", *history)
    assert await asked(bench, again, "stage") == {"stage": "two"}


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("refuse", "not now"),
        ("nothing_of_the_kind", "error: function_clause in flows:handle_query/3"),
        ("process", "the result cannot be JSON: "),
        ("large", "the result has 300002 bytes of JSON; 262144 are allowed"),
        ("now", "error: not_the_process_of_a_run in aion_rows:own/1"),
        ("hungry", "the query was killed, by other code or because its heap went over 8388608 bytes"),
        ("kill", "the query was killed, by other code"),
    ],
)
async def test_a_query_that_fails_says_why_and_harms_nobody(bench: Bench, name: str, sentence: str) -> None:
    run = bench.start("publishes")
    await bench.next(run)
    said = await asked(bench, run, name)
    assert isinstance(said, str)
    assert said.startswith(sentence)
    assert await asked(bench, run, "stage") is None
    assert await bench.settled(run)


async def test_a_module_without_queries_is_named(bench: Bench, beams: dict[str, bytes]) -> None:
    bench.shelf.package = package_of(beams, "two_signals")
    run = bench.start("run")
    await bench.next(run)
    assert await asked(bench, run, "stage") == "the module two_signals does not export handle_query/3"


async def test_queries_without_end_are_given_up_and_others_get_their_turn(hasty_bench: Bench) -> None:
    run = hasty_bench.start("publishes")
    await hasty_bench.next(run)
    endless = [hasty_bench.pool.query(run, "forever", b"null") for _ in range(4)]
    for query in endless:
        assert await query == QueryFailed(message="the query was not answered within 500 ms")
    assert await asked(hasty_bench, run, "stage") is None


async def test_queries_that_wait_are_bounded(hasty_bench: Bench) -> None:
    run = hasty_bench.start("publishes")
    waiting = [hasty_bench.pool.query(run, "forever", b"null") for _ in range(QUERIES_WAITING_MAX)]
    refused = await hasty_bench.pool.query(run, "stage", b"null")
    assert refused == QueryFailed(message=f"{QUERIES_WAITING_MAX} queries wait for this version's VM already")
    waiting[0].cancel()
    for query in waiting[1:]:
        assert isinstance(await query, QueryFailed)
    assert await asked(hasty_bench, run, "stage") is None


async def test_a_query_of_a_run_that_has_ended_fails(bench: Bench) -> None:
    run = bench.start("answer")
    await bench.next(run)
    with pytest.raises(VmDied):
        await bench.pool.query(run, "stage", b"null")


@pytest.mark.parametrize("end", ["completes", "killed", "vm dies", "version stops", "not begun"])
async def test_a_query_ends_with_its_activation(bench: Bench, end: str) -> None:
    if end != "not begun":
        await bench.run("answer")
    run = bench.start("park")
    endless = bench.pool.query(run, "forever", b"null")
    match end:
        case "completes":
            await bench.next(run)
            bench.signal(run, 3, "go")
        case "killed":
            bench.pool.kill(run)
        case "vm dies":
            os.kill(bench.pool.vm_pids()[KEY], signal.SIGKILL)
        case _:
            bench.pool.stop_version(KEY)
    with pytest.raises(VmDied):
        await endless


async def test_the_queries_of_a_run_that_ended_leave_their_places(bench: Bench) -> None:
    run, other = bench.start("park"), bench.start("publishes")
    await bench.next(run)
    endless = [bench.pool.query(run, "forever", b"null") for _ in range(8)]
    bench.signal(run, 3, "go")
    await bench.next(run)
    async with asyncio.timeout(QUERY_MS_MAX / 2000):
        assert await asked(bench, other, "stage") is None
    assert all(query.done() for query in endless)


async def test_a_published_term_has_a_limit(bench: Bench) -> None:
    outcome = await bench.run("publishes_too_much")
    assert isinstance(outcome, Failed)
    assert "the published term has 300006 bytes of external format; 262144 are allowed" in outcome.message
