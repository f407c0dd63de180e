"""How a run ends: every kind of result and of failure, as a real VM tells it."""

import json
import random
from collections.abc import Mapping, Sequence

import pytest
import structlog.testing

from aion_beam.frames import Completed, Failed
from aion_common.ids import WorkflowType
from beam.bench import Bench
from support import eventually


@pytest.mark.parametrize(
    ("function", "result"),
    [
        ("answer", 42),
        ("ok_value", {"answer": 42, "list": [1.5, None, "text", {"a": 1}, ["a", True]]}),
        ("busy", "done"),
        ("prints", "printed"),
        ("prints_everywhere", "printed"),
        ("lazy", [[1, 2], [["a", [1]]], 0, 3, 0]),
        ("lost_link", "oops"),
    ],
)
async def test_a_result_is_json(bench: Bench, function: str, result: object) -> None:
    outcome = await bench.run(function)
    assert isinstance(outcome, Completed), outcome
    assert json.loads(outcome.json) == result
    assert outcome.observed_seq == 1


async def test_every_output_device_of_a_run_is_the_log(bench: Bench) -> None:
    with structlog.testing.capture_logs() as logs:
        await bench.run("prints_everywhere")
        lines = await eventually(lambda: printed(logs) if len(printed(logs)) == 4 else None)
    assert lines == ["to standard_io", "to standard_error", "to user", "to standard_error"]


def printed(logs: Sequence[Mapping[str, object]]) -> list[object]:
    return [log["line"] for log in logs if log["event"] == "VM printed"]


async def test_the_argument_is_the_inputs_bytes(bench: Bench) -> None:
    argument = '{"name": "Ünal", "n": [1, 2]}'.encode()
    outcome = await bench.run("echo", argument)
    assert isinstance(outcome, Completed)
    assert outcome.json == argument


async def test_json_means_the_same_on_both_sides(bench: Bench) -> None:
    draw = random.Random(7)
    documents = [document(draw, 4) for _ in range(500)]
    outcome = await bench.run("recode", json.dumps(documents).encode())
    assert isinstance(outcome, Completed), outcome
    assert json.loads(outcome.json) == documents


def document(draw: random.Random, depth: int) -> object:
    kind = draw.randrange(7 if depth else 5)
    match kind:
        case 0:
            return draw.choice([None, True, False])
        case 1:
            return draw.randrange(-(10**25), 10**25) >> draw.randrange(80)
        case 2:
            return draw.uniform(-1, 1) * 10.0 ** draw.randrange(-30, 30)
        case 3 | 4:
            # A text that is JSON itself would become what it holds.
            return "t" + "".join(
                chr(draw.choice([draw.randrange(1, 128), 0xE9, 0x20AC, 0x1F600])) for _ in range(draw.randrange(9))
            )
        case 5:
            return [document(draw, depth - 1) for _ in range(draw.randrange(5))]
        case _:
            return {f"k{draw.randrange(99)}": document(draw, depth - 1) for _ in range(draw.randrange(5))}


@pytest.mark.parametrize(
    ("function", "kind", "message"),
    [
        ("error_value", "error", '{"code":7}'),
        ("error_text", "error", "no stock"),
        ("crash_error", "crash", "error: {boom,1} in flows:crash_error/1"),
        ("crash_exit", "crash", "exit: gone in flows:crash_exit/1"),
        ("crash_throw", "crash", "throw: ball in flows:crash_throw/1"),
        ("undefined_call", "crash", "error: undef in nowhere:to_be_found/1"),
        ("kills_itself", "crash", "the run's process was killed by other code"),
        ("hungry", "limit", "the run's heap went over 8388608 bytes"),
        ("big_result", "limit", "the result has 300002 bytes of JSON; 262144 are allowed"),
    ],
)
async def test_a_failure_says_why(bench: Bench, function: str, kind: str, message: str) -> None:
    outcome = await bench.run(function)
    assert isinstance(outcome, Failed), outcome
    assert (outcome.kind, outcome.message) == (kind, message)


async def test_a_heap_over_its_limit_is_told_from_a_kill(bench: Bench) -> None:
    runs = [bench.start("hungry") for _ in range(30)]
    outcomes = [await bench.next(run) for run in runs]
    assert [outcome.kind for outcome in outcomes if isinstance(outcome, Failed)] == ["limit"] * 30


@pytest.mark.parametrize(
    ("function", "part"), [("bad_result", "at value.items[1] is a process"), ("bad_error", "at value is a function")]
)
async def test_what_json_cannot_hold_is_named(bench: Bench, function: str, part: str) -> None:
    outcome = await bench.run(function)
    assert isinstance(outcome, Failed)
    assert outcome.kind == "bad_result"
    assert part in outcome.message


async def test_a_crash_has_details(bench: Bench) -> None:
    outcome = await bench.run("crash_error")
    assert isinstance(outcome, Failed)
    assert outcome.details is not None
    details = json.loads(outcome.details)
    assert (details["class"], details["reason"]) == ("error", "{boom,1}")
    assert "crash_error" in details["stacktrace"]


async def test_an_error_value_is_kept_as_details(bench: Bench) -> None:
    outcome = await bench.run("error_value")
    assert isinstance(outcome, Failed)
    assert outcome.details == b'{"code":7}'


async def test_a_long_message_is_cut_between_characters(bench: Bench) -> None:
    outcome = await bench.run("long_error")
    assert isinstance(outcome, Failed)
    assert outcome.message == "é" * 2048


async def test_a_type_without_entry_fails(bench: Bench) -> None:
    outcome = await bench.run("nothing_of_the_kind")
    assert isinstance(outcome, Failed)
    assert outcome.kind == "bad_entry"
    assert "nothing_of_the_kind" in outcome.message


async def test_an_entry_that_is_not_exported_fails(bench: Bench) -> None:
    bench.shelf.package = type(bench.shelf.package)(
        modules=bench.shelf.package.modules, entries={WorkflowType("ghost"): ("flows", "ghost")}
    )
    outcome = await bench.run("ghost")
    assert isinstance(outcome, Failed)
    assert (outcome.kind, outcome.message) == ("bad_entry", "flows:ghost/1 is not exported by the package")


async def test_neighbours_of_a_run_that_fails_go_on(bench: Bench) -> None:
    parked = bench.start("park")
    await bench.next(parked)
    assert isinstance(await bench.run("hungry"), Failed)
    assert isinstance(await bench.run("kills_itself"), Failed)
    bench.signal(parked, 3, "go")
    assert isinstance(await bench.next(parked), Completed)
