"""Commands that find runs, ask them and end them; unload and drain."""

from collections.abc import Iterator, Mapping

import pytest

from aion_cli.inputs import moment_ms
from cli.command_line import CommandLine, command_line
from cli.scripted_gateway import Answer, ScriptedGateway, problem, scripted_gateway

RUN = "0123456789abcdef" * 2
VERSION = "ab" * 32
PINS = {"live_run": 2, "recoverable_run": 1, "recorded_child": 0}
LOADED = {
    "versions": [
        {
            "workflow_type": "order",
            "version": VERSION,
            "route_active": False,
            "deployed_at": 1,
            "manifest_digest": "cd" * 32,
            "pins": PINS,
        }
    ]
}


def listed(number: int) -> Mapping[str, object]:
    return {
        "namespace": "default",
        "workflow_id": f"order-{number}",
        "run_id": RUN,
        "workflow_type": "order",
        "version": VERSION,
        "status": "running",
        "started_at": 1_700_000_000_000,
    }


@pytest.fixture
def gateway() -> Iterator[ScriptedGateway]:
    with scripted_gateway() as scripted:
        yield scripted


@pytest.fixture
def aion(gateway: ScriptedGateway, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return command_line(capsys, url=gateway.url)


def test_versions_show_their_pins(gateway: ScriptedGateway, aion: CommandLine) -> None:
    gateway.script(Answer(body=LOADED))
    assert "2 live, 1 recoverable" in aion("versions").out


def test_list_follows_the_cursor_until_there_is_enough(gateway: ScriptedGateway, aion: CommandLine) -> None:
    first = {"workflows": [listed(1), listed(2)], "next_cursor": "c"}
    gateway.script(Answer(body=first), Answer(body={"workflows": [listed(3)], "next_cursor": None}))
    outcome = aion("list", "--status", "running", "--type", "order", "--limit", "2")
    assert [line[0] for line in outcome.lines] == ["WORKFLOW", "order-1", "order-2"]
    assert "There are more than 2" in outcome.err
    assert gateway.calls[0] == "GET /v1/workflows?namespace=default&limit=3&workflow_type=order&status=running"
    assert gateway.calls[1] == "GET /v1/workflows?namespace=default&limit=3&cursor=c&workflow_type=order&status=running"


def test_list_as_json_says_whether_it_is_complete(gateway: ScriptedGateway, aion: CommandLine) -> None:
    gateway.script(Answer(body={"workflows": [listed(1)], "next_cursor": None}))
    assert aion("list", "--all", "--json").json == {"workflows": [listed(1)], "is_complete": True}


def test_query_prints_the_answer_whatever_it_is(gateway: ScriptedGateway, aion: CommandLine) -> None:
    gateway.script(Answer(body=["paid", 2]), Answer(body=None))
    assert aion("query", "order-1", "stage", '{"deep": true}').out == '["paid", 2]\n'
    assert gateway.requests[0].json == {"deep": True}
    assert aion("query", "a/b", "stage").out == "null\n"
    assert gateway.calls[1] == "POST /v1/workflows/a%2Fb/queries/stage?namespace=default"


def test_query_that_failed_says_why(gateway: ScriptedGateway, aion: CommandLine) -> None:
    gateway.script(problem("query_failed", 422))
    outcome = aion("query", "order-1", "stage")
    assert outcome.code == 1
    assert "detail of query_failed" in outcome.err


@pytest.mark.parametrize("command", ["cancel", "terminate"])
def test_runs_are_ended_with_a_reason(gateway: ScriptedGateway, aion: CommandLine, command: str) -> None:
    gateway.script(Answer(status=202, body={"workflow_id": "order-1", "run_id": RUN, "seq": 4}))
    outcome = aion(command, "order-1", "--reason", "no stock", "--run-id", RUN, "--idempotency-key", "k")
    assert "event 4" in outcome.out
    (request,) = gateway.requests
    assert request.path == f"/v1/workflows/order-1/{command}?namespace=default&run_id={RUN}"
    assert (request.json, request.key) == ({"reason": "no stock"}, "k")


def test_start_takes_a_time_out_and_may_replace_a_run(gateway: ScriptedGateway, aion: CommandLine) -> None:
    gateway.script(Answer(body={"workflow_id": "w", "run_id": RUN, "version": VERSION, "status": "running"}))
    assert aion("start", "order", "--run-timeout", "5m", "--id-conflict", "terminate_existing").code == 0
    assert gateway.requests[0].json == {
        "workflow_type": "order",
        "id_conflict": "terminate_existing",
        "run_timeout_ms": 300_000,
    }
    wrong = aion("start", "order", "--run-timeout", "soon")
    assert wrong.code == 2
    assert "not a duration" in wrong.err


def test_unload_names_what_pins_the_version(gateway: ScriptedGateway, aion: CommandLine) -> None:
    pin = {"kind": "live_run", "workflow_id": "order-1", "run_id": RUN}
    gateway.script(Answer(body=LOADED), problem("version_pinned", 409, pins_total=1, pins=[pin]))
    outcome = aion("unload", VERSION[:12], "--json")
    assert outcome.code == 1
    assert "order-1" in outcome.err
    assert gateway.calls[1] == f"DELETE /v1/versions/{VERSION}?namespace=default"


def test_unload_and_drain_are_told(gateway: ScriptedGateway, aion: CommandLine) -> None:
    gateway.script(Answer(body={"unloaded": True}), Answer(status=202, body={"draining": True}))
    assert "is unloaded" in aion("unload", VERSION).out
    assert "takes no new work" in aion("drain").out
    assert gateway.calls[1] == "POST /v1/drain"


def test_versions_are_told_without_pins_when_nobody_asks_for_them(gateway: ScriptedGateway, aion: CommandLine) -> None:
    gateway.script(Answer(body={"versions": [{**LOADED["versions"][0], "pins": None}]}))
    assert "live" not in aion("versions", "--no-pins").out
    assert gateway.calls == ["GET /v1/versions?namespace=default"]


def test_refused_unload_tells_what_to_do(gateway: ScriptedGateway, aion: CommandLine) -> None:
    pin = {"kind": "recoverable_run", "workflow_id": "order-1", "run_id": RUN}
    pinned = problem("version_pinned", 409, workflow_type="order", version=VERSION, pins_total=3, pins=[pin])
    gateway.script(pinned, problem("route_active", 409, workflow_type="order", version=VERSION))
    outcome = aion("unload", VERSION)
    assert f"It is needed by 3:\n    recoverable_run: order-1, run {RUN}\n    and 2 more" in outcome.err
    assert "route them to another version first" in aion("unload", VERSION).err


@pytest.mark.parametrize(
    ("given", "asked"),
    [("1700000000000", 1_700_000_000_000), ("2023-11-14T22:13:20+00:00", 1_700_000_000_000)],
)
def test_list_takes_moments_as_people_write_them(gateway: ScriptedGateway, aion: CommandLine, given: str, asked: int) -> None:
    gateway.script(Answer(body={"workflows": [], "next_cursor": None}))
    assert "There is no such run" in aion("list", "--started-after", given).out
    assert gateway.calls == [f"GET /v1/workflows?namespace=default&limit=51&started_after={asked}"]


def test_list_takes_a_time_span_as_so_long_ago() -> None:
    class Noon:
        def now_ms(self) -> int:
            return 10_000_000

    assert moment_ms("2h", Noon()) == 10_000_000 - 7_200_000
    assert moment_ms("9d", Noon()) == 0


def test_list_of_a_version_finds_it_by_its_first_digits(gateway: ScriptedGateway, aion: CommandLine) -> None:
    gateway.script(Answer(body=LOADED), Answer(body={"workflows": [listed(1)], "next_cursor": None}))
    assert aion("list", "--version", VERSION[:8], "--all").code == 0
    assert gateway.calls[1] == f"GET /v1/workflows?namespace=default&limit=1000&version={VERSION}"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("list", "--started-after", "yesterday"), "is no moment"),
        (("list", "--status", "sleeping"), "sleeping"),
        (("list", "--limit", "0"), "greater than or equal to 1"),
        (("query", "order-1", "stage", "text"), "the query's argument is not JSON"),
        (("start", "order", "--terminate-existing", "--id-conflict", "reject"), "contradicts"),
        (("unload", "abc"), "is not a version"),
        (("completion", "tcsh"), "tcsh"),
    ],
)
def test_wrong_call_is_told_and_nothing_is_sent(aion: CommandLine, arguments: tuple[str, ...], words: str) -> None:
    outcome = aion(*arguments)
    assert outcome.code == 2
    assert words in outcome.err


def test_start_may_replace_a_run_by_a_flag(gateway: ScriptedGateway, aion: CommandLine) -> None:
    gateway.script(Answer(body={"workflow_id": "w", "run_id": RUN, "version": VERSION, "status": "running"}))
    assert aion("start", "order", "--terminate-existing").code == 0
    assert gateway.requests[0].json == {"workflow_type": "order", "id_conflict": "terminate_existing"}
