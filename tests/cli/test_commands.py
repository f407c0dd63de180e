"""Each command asks the gateway what it should, prints for people or for programs, and ends with the right exit code."""

import io
import json
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from aion_cli.app import app
from cli.command_line import CommandLine, command_line
from cli.scripted_gateway import DROP, Answer, Request, ScriptedGateway, problem, scripted_gateway

V1, V2, RUN = "1a" * 32, "2b" * 32, "c3" * 16
STARTED = {"workflow_id": "o-1", "run_id": RUN, "version": V1, "status": "running"}
SIGNALLED = {"workflow_id": "o-1", "run_id": RUN, "seq": 3}
ROUTED = {"workflow_type": "order", "version": V1, "previous_version": V2, "route_epoch": 3, "route_changed": True}
DEPLOYED = {
    "records": [{"workflow_type": "order", "version": V1, "manifest_digest": "d4" * 32, "deployed_at": 1_700_000_000_000}],
    "freshly_loaded": True,
    "route_changed": True,
    "warnings": ["module order calls os:timestamp/0"],
}
FAILURE = {"kind": "error", "message": "out of stock", "details": {"item": 7}}


def loaded(version: str, *, route_active: bool) -> dict[str, object]:
    record = {"workflow_type": "order", "version": version, "manifest_digest": "d4" * 32, "deployed_at": 1_700_000_000_000}
    return record | {"route_active": route_active}


VERSIONS = Answer(body={"versions": [loaded(V1, route_active=False), loaded(V2, route_active=True)]})


@pytest.fixture
def gateway() -> Iterator[ScriptedGateway]:
    with scripted_gateway() as gateway:
        yield gateway


@pytest.fixture
def aion(gateway: ScriptedGateway, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return command_line(capsys, url=gateway.url)


def test_versions_are_listed_with_the_routed_one(gateway: ScriptedGateway, aion: CommandLine) -> None:
    gateway.script(VERSIONS, VERSIONS)
    outcome = aion("versions")
    assert outcome.code == 0
    assert outcome.lines[0] == ["TYPE", "VERSION", "ROUTED", "DEPLOYED", "PINS", "MANIFEST"]
    assert outcome.lines[1][:2] == ["order", V1[:12]]
    assert outcome.lines[2][:3] == ["order", V2[:12], "yes"]
    assert aion("versions", "order", "--json").json == VERSIONS.body
    assert gateway.calls[1] == "GET /v1/versions?namespace=default&workflow_type=order&pins=true"


def test_an_empty_list_says_what_to_do(gateway: ScriptedGateway, aion: CommandLine) -> None:
    gateway.script(Answer(body={"versions": []}))
    assert "`aion deploy` loads one" in aion("versions").out


def test_common_options_stand_before_or_behind_the_command(gateway: ScriptedGateway, aion: CommandLine) -> None:
    gateway.script(VERSIONS, VERSIONS)
    assert aion("--json", "-n", "shop", "versions").json == aion("versions", "--namespace", "shop", "--json").json
    assert gateway.calls == ["GET /v1/versions?namespace=shop&pins=true"] * 2


def test_the_environment_names_server_and_namespace(
    gateway: ScriptedGateway, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway.script(VERSIONS)
    monkeypatch.setenv("AION_URL", gateway.url)
    monkeypatch.setenv("AION_NAMESPACE", "shop")
    assert command_line(capsys)("versions").code == 0
    assert gateway.calls == ["GET /v1/versions?namespace=shop&pins=true"]


def test_an_archive_is_deployed_as_it_is(gateway: ScriptedGateway, aion: CommandLine, tmp_path: Path) -> None:
    gateway.script(Answer(body=DEPLOYED), Answer(body=DEPLOYED | {"freshly_loaded": False, "route_changed": False}))
    archive = tmp_path / "o.aion"
    archive.write_bytes(b"whatever the server says of it")
    outcome = aion("deploy", str(archive), "--idempotency-key", "k-1")
    assert outcome.code == 0
    assert ["version", V1] in outcome.lines
    assert "Loaded; new starts run on it." in outcome.out
    assert "warning: module order calls os:timestamp/0" in outcome.err
    assert gateway.requests[0].body == archive.read_bytes()
    assert gateway.requests[0].key == "k-1"
    assert "Nothing changed" in aion("deploy", str(archive)).out


def test_sources_are_packed_and_deployed_in_one_go(gateway: ScriptedGateway, aion: CommandLine, tmp_path: Path) -> None:
    gateway.script(Answer(body=DEPLOYED | {"freshly_loaded": False}))
    (tmp_path / "order.erl").write_text("-module(order).\n-export([run/1]).\nrun(A) -> A.\n")
    outcome = aion("deploy", str(tmp_path), "--json")
    assert outcome.json["freshly_loaded"] is False
    assert gateway.requests[0].body[:4] == b"PK\x03\x04"


def test_a_version_may_be_given_by_its_first_digits(gateway: ScriptedGateway, aion: CommandLine) -> None:
    gateway.script(VERSIONS, Answer(body=ROUTED), Answer(body=ROUTED))
    outcome = aion("route", "order", V1[:8].upper())
    assert outcome.code == 0
    assert outcome.out == f"New starts of order run on {V1[:12]}; before, on {V2[:12]}.\n"
    assert gateway.requests[1].json == {"version": V1}
    assert aion("route", "order", V1, "--json").json == ROUTED
    assert len(gateway.calls) == 3


@pytest.mark.parametrize(
    ("digits", "code", "words"),
    [
        ("1a1a1a1", 2, "at least the first 8"),
        ("not-a-version", 2, "is not a version"),
        ("99999999", 1, f"unknown_version: no loaded version begins with 99999999\n  Loaded are:\n    {V1}\n    {V2}"),
    ],
)
def test_digits_that_mean_no_version_are_refused(
    gateway: ScriptedGateway, aion: CommandLine, digits: str, code: int, words: str
) -> None:
    if code == 1:
        gateway.script(VERSIONS)
    outcome = aion("route", "order", digits)
    assert outcome.code == code
    assert words in outcome.err


def test_digits_that_mean_several_versions_are_refused(gateway: ScriptedGateway, aion: CommandLine) -> None:
    twin = V1[:40] + "f" * 24
    gateway.script(Answer(body={"versions": [loaded(V1, route_active=True), loaded(twin, route_active=False)]}))
    outcome = aion("start", "order", "--version", V1[:10], "--json")
    assert outcome.code == 1
    assert json.loads(outcome.err)["code"] == "ambiguous_version"
    assert json.loads(outcome.err)["loaded"] == sorted([V1, twin])


def test_a_start_is_told_with_ids_and_version(gateway: ScriptedGateway, aion: CommandLine) -> None:
    gateway.script(Answer(status=201, body=STARTED), Answer(status=201, body=STARTED))
    options = ["--workflow-id", "o-1", "--id-conflict", "use_existing", "--input", '{"item": 7}', "--version", V1]
    outcome = aion("start", "order", *options, "--idempotency-key", "k-1")
    assert outcome.code == 0
    assert outcome.lines == [["workflow", "o-1"], ["run", RUN], ["version", V1], ["status", "running"]]
    assert gateway.requests[0].key == "k-1"
    assert gateway.requests[0].json == {
        "workflow_type": "order",
        "input": {"item": 7},
        "workflow_id": "o-1",
        "version": V1,
        "id_conflict": "use_existing",
    }
    assert aion("start", "order", "--json").json == STARTED
    assert gateway.requests[1].json == {"workflow_type": "order", "id_conflict": "reject"}


def test_input_comes_from_a_file_or_from_stdin(
    gateway: ScriptedGateway, aion: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway.script(Answer(status=201, body=STARTED), Answer(status=201, body=STARTED))
    (tmp_path / "in.json").write_text('["ü"]', encoding="utf-8")
    monkeypatch.setattr(sys, "stdin", io.StringIO("null"))
    assert aion("start", "order", "--input", f"@{tmp_path}/in.json").code == 0
    assert aion("start", "order", "--input", "-").code == 0
    assert [request.json["input"] for request in gateway.requests] == [["ü"], None]


def test_waiting_for_a_start_ends_with_its_result(gateway: ScriptedGateway, aion: CommandLine) -> None:
    gateway.script(
        Answer(status=201, body=STARTED),
        Answer(status=202, body={"status": "running"}),
        Answer(status=202, body={"status": "blocked"}),
        Answer(status=DROP),
        Answer(body={"status": "completed", "result": {"n": 2}}),
    )
    outcome = aion("start", "order", "--wait")
    assert outcome.code == 0
    assert ["result", '{"n":', "2}"] in outcome.lines
    assert "`aion describe o-1` says why" in outcome.err
    assert set(gateway.calls[1:]) == {f"GET /v1/workflows/o-1/result?namespace=default&run_id={RUN}&wait_ms=60000"}


def test_a_run_that_failed_while_it_was_waited_for_is_exit_code_1(gateway: ScriptedGateway, aion: CommandLine) -> None:
    gateway.script(Answer(status=201, body=STARTED), Answer(body={"status": "failed", "failure": FAILURE}))
    outcome = aion("start", "order", "--wait", "--json")
    assert outcome.code == 1
    assert outcome.json == STARTED | {"status": "failed", "failure": FAILURE}
    assert json.loads(outcome.err)["code"] == "run_failed"
    assert json.loads(outcome.err)["failure"] == FAILURE


def test_a_bounded_wait_asks_in_parts_and_ends_with_exit_code_1(gateway: ScriptedGateway, aion: CommandLine) -> None:
    still_open = Answer(status=202, body={"status": "running"})
    gateway.script(Answer(status=201, body=STARTED), still_open, still_open)
    outcome = aion("start", "order", "--wait-ms", "70000")
    assert outcome.code == 1
    assert "not_closed: o-1 is still running" in outcome.err
    assert [call.rpartition("=")[2] for call in gateway.calls[1:]] == ["60000", "10000"]


def test_a_signal_is_told_with_its_place_in_the_history(gateway: ScriptedGateway, aion: CommandLine) -> None:
    gateway.script(Answer(status=202, body=SIGNALLED), Answer(status=202, body=SIGNALLED))
    assert aion("signal", "o-1", "release").out == f"Signal release is event 3 of run {RUN}.\n"
    assert aion("signal", "o-1", "approve", '{"by": "anna"}', "--run-id", RUN, "--json").json == SIGNALLED
    assert [request.body for request in gateway.requests] == [b"", b'{"by": "anna"}']


@pytest.mark.parametrize("text", ["12345678901234567890.123", "0.10000000000000000555", "1e400", "7" * 5_000, '{"a" : 1.50}'])
def test_numbers_go_in_with_every_digit(gateway: ScriptedGateway, aion: CommandLine, tmp_path: Path, text: str) -> None:
    gateway.script(Answer(status=201, body=STARTED), Answer(status=202, body=SIGNALLED))
    (tmp_path / "in.json").write_text(f"{text}\n", encoding="utf-8")
    assert aion("start", "order", "--input", f"@{tmp_path}/in.json").code == 0
    assert aion("signal", "o-1", "add", text).code == 0
    assert f'"input":{text}'.encode() in gateway.requests[0].body
    assert gateway.requests[1].body == text.encode()


@pytest.mark.parametrize("text", ["12345678901234567890.123", "0.10000000000000000555", "1e400", "7" * 5_000])
def test_numbers_come_out_with_every_digit(gateway: ScriptedGateway, aion: CommandLine, text: str) -> None:
    ended = json_answer(f'{{"status": "completed", "result": {text}}}')
    description = json.dumps(STARTED | {"namespace": "default", "workflow_type": "order", "started_at": 1})
    described = json_answer(f'{description[:-1]}, "status": "completed", "result": {text}}}')
    data = f'{{"payload": {{"content_type": "application/json", "json": {text}}}}}'
    event = f'{{"seq": 1, "type": "SignalReceived", "recorded_at": 1, "chain": "", "data": {data}}}'
    events = json_answer(f'{{"events": [{event}], "next_seq": null}}')
    gateway.script(ended, ended, described, described, events, events)
    assert aion("result", "o-1").out == f"{text}\n"
    assert f'"result": {text}\n' in aion("result", "o-1", "--json").out
    assert text in aion("describe", "o-1").out.replace("\n", "").replace(" ", "")
    assert f'"result": {text}\n' in aion("describe", "o-1", "--json").out
    assert f"payload={text}"[:60] in aion("history", "o-1").out
    assert f'"json": {text}\n' in aion("history", "o-1", "--json").out


def json_answer(text: str) -> Answer:
    """An answer of exactly this text."""
    return Answer(body=text.encode())


def test_the_digits_of_a_failure_are_shown_to_programs(gateway: ScriptedGateway, aion: CommandLine) -> None:
    failure = '{"kind": "error", "message": "no", "details": 1.10000000000000000001}'
    gateway.script(json_answer(f'{{"status": "failed", "failure": {failure}}}'))
    assert '"details": 1.10000000000000000001\n' in aion("result", "o-1", "--json").err


@pytest.mark.parametrize(
    ("failure", "shown"),
    [
        (FAILURE, ["o-1 is failed: out of stock (error)", "  item: 7"]),
        ({"kind": "error", "message": "late", "details": "late"}, ["o-1 is failed: late (error)"]),
        ({"kind": "limit", "message": "too large"}, ["o-1 is failed: too large (limit)"]),
        (
            {"kind": "error", "message": '{"failed":"pay","why":{"code":7}}', "details": {"failed": "pay", "why": {"code": 7}}},
            ["o-1 is failed: error", "  failed: pay", '  why: {"code": 7}'],
        ),
        ({"kind": "error", "message": "[" + "7," * 2047 + "7", "details": [7] * 3_000}, ["o-1 is failed: error"]),
        (
            {"kind": "crash", "message": "error: badarith", "details": {"stacktrace": "[{m,run,1},\n {n}]"}},
            ["o-1 is failed: error: badarith (crash)", "  stacktrace: [{m,run,1},", "   {n}]"],
        ),
    ],
)
def test_a_failure_is_told_once_with_its_details_name_by_name(
    gateway: ScriptedGateway, aion: CommandLine, failure: dict[str, object], shown: list[str]
) -> None:
    gateway.script(Answer(body={"status": "failed", "failure": failure}))
    told = aion("result", "o-1").err.splitlines()
    assert told[: len(shown)] == [f"run_failed: {shown[0]}", *shown[1:]]
    assert told[-1] == "  `aion history o-1` shows what led to it."


def test_waiting_for_a_result_is_shown_on_a_terminal(
    gateway: ScriptedGateway, aion: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    ended = Answer(body={"status": "completed", "result": 7})
    gateway.script(ended, ended)
    assert "waiting for o-1 to close; Ctrl-C stops waiting" in aion("result", "o-1", "--wait-ms", "5").err
    assert "waiting" not in aion("result", "o-1").err


@pytest.mark.parametrize(
    ("answer", "ending"),
    [
        (Answer(body={"status": "completed", "result": {"ok": "ü"}}), (0, '{"ok": "ü"}\n', "")),
        (Answer(body={"status": "completed", "result": None}), (0, "null\n", "")),
        (Answer(status=202, body={"status": "running"}), (0, "running\n", "")),
        (Answer(body={"status": "failed", "failure": FAILURE}), (1, "", "o-1 is failed: out of stock (error)")),
        (
            Answer(body={"status": "failed", "failure": {"kind": "crash", "message": "\x1b[31m[bold]red"}}),
            (1, "", "is failed: \\x1b[31m[bold]red (crash)"),
        ),
        (Answer(body={"status": "terminated"}), (1, "", "run_terminated: o-1 is terminated")),
    ],
)
def test_a_result_is_printed_alone(
    gateway: ScriptedGateway, aion: CommandLine, answer: Answer, ending: tuple[int, str, str]
) -> None:
    gateway.script(answer)
    outcome = aion("result", "o-1", "--wait-ms", "5")
    assert (outcome.code, outcome.out) == ending[:2]
    assert ending[2] in outcome.err
    assert gateway.calls == ["GET /v1/workflows/o-1/result?namespace=default&wait_ms=5"]


def test_a_description_shows_what_is_known(gateway: ScriptedGateway, aion: CommandLine) -> None:
    description = STARTED | {
        "namespace": "default",
        "workflow_type": "order",
        "status": "blocked",
        "started_at": 1_700_000_000_000,
        "closed_at": None,
        "failure": None,
        "blocked": {"expected": "a wait for release", "found": "completed"},
        "pending": {"activities": 0, "signals": 2},
        "history_length": 4,
        "resident": False,
    }
    gateway.script(Answer(body=description), Answer(body=description))
    outcome = aion("describe", "o-1")
    assert ["blocked", "expected", "a", "wait", "for", "release,", "found", "completed"] in outcome.lines
    assert ["pending", "2", "signals"] in outcome.lines
    assert "closed" not in outcome.out
    assert aion("describe", "o-1", "--json").json == description


def test_a_history_is_read_to_its_end(gateway: ScriptedGateway, aion: CommandLine) -> None:
    started = {"workflow_type": "order", "version": V1, "input": {"content_type": "application/json", "json": {"item": 7}}}
    first = {"seq": 1, "type": "RunStarted", "recorded_at": 1_700_000_000_000, "chain": "00", "data": started}
    second = {"seq": 2, "type": "TurnEnded", "recorded_at": 1_700_000_000_001, "chain": "01", "data": {"name": None}}
    pages = [Answer(body={"events": [first], "next_seq": 2}), Answer(body={"events": [second], "next_seq": None})]
    gateway.script(*pages, *pages)
    outcome = aion("history", "o-1")
    assert outcome.lines[1][3:] == ["RunStarted", "workflow_type=order", f"version={V1[:12]}", 'input={"item":', "7}"]
    assert outcome.lines[2][3:] == ["TurnEnded"]
    assert aion("history", "o-1", "--json").json == {"events": [first, second], "next_seq": None}
    assert gateway.calls[1] == "GET /v1/workflows/o-1/history?namespace=default&from_seq=2"


def test_a_limited_history_stops_there(gateway: ScriptedGateway, aion: CommandLine) -> None:
    event = {"seq": 5, "type": "TurnEnded", "recorded_at": 1, "chain": "", "data": {}}
    gateway.script(Answer(body={"events": [event], "next_seq": 6}))
    assert aion("history", "o-1", "--from-seq", "5", "--limit", "1", "--json").json["next_seq"] == 6
    assert gateway.calls == ["GET /v1/workflows/o-1/history?namespace=default&from_seq=5&limit=1"]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (problem("unknown_version", 404, loaded=[V1, V2]), f"Loaded are:\n    {V1}\n    {V2}"),
        (problem("unknown_version", 404, loaded=[]), "No version is loaded: `aion deploy` loads one."),
        (problem("unknown_workflow_type", 404), "`aion versions` lists what is loaded"),
        (problem("already_started", 409, run_id=RUN), f"Run {RUN} of this workflow id is open"),
        (problem("payload_too_large", 413, limit_bytes=262_144), "At most 262144 bytes"),
        (problem("invalid_argument", 400, field="input"), "invalid_argument: detail of invalid_argument"),
        (problem("manifest_mismatch", 409), "a version keeps its manifest for ever"),
        (Answer(status=502, body=b"<html>"), "http_502"),
        (Answer(body=b"<html>"), "the address of Aion's gateway?"),
    ],
)
def test_a_refusal_says_what_to_do_next(gateway: ScriptedGateway, aion: CommandLine, answer: Answer, words: str) -> None:
    gateway.script(answer)
    outcome = aion("start", "order")
    assert outcome.code == 1
    assert words in outcome.err
    assert outcome.out == ""


def test_a_refusal_is_json_for_programs(gateway: ScriptedGateway, aion: CommandLine) -> None:
    gateway.script(problem("already_started", 409, run_id=RUN))
    outcome = aion("--json", "start", "order")
    assert outcome.code == 1
    assert outcome.out == ""
    assert json.loads(outcome.err)["code"] == "already_started"
    assert json.loads(outcome.err)["run_id"] == RUN


def test_a_repeat_has_the_same_key_and_is_told_once(gateway: ScriptedGateway, aion: CommandLine) -> None:
    gateway.script(*[problem("shutting_down", 503)] * 3, Answer(status=202, body=SIGNALLED))
    outcome = aion("signal", "o-1", "release")
    assert outcome.code == 0
    assert outcome.err == "shutting_down: detail of shutting_down; trying again for up to 30 s\n"
    assert len({request.key for request in gateway.requests}) == 1


def test_an_unclear_outcome_names_the_key_that_makes_a_repeat_safe(gateway: ScriptedGateway, aion: CommandLine) -> None:
    gateway.always(problem("unavailable", 503, idempotency_key="k-9"))
    outcome = aion("start", "order")
    assert outcome.code == 1
    assert "--idempotency-key k-9" in outcome.err


def test_a_server_that_is_not_there_is_named_with_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    with scripted_gateway() as gateway:
        url = gateway.url
    outcome = command_line(capsys, url=url)("versions")
    assert outcome.code == 1
    assert outcome.err.startswith(f"no answer from {url}: ")
    assert "Connection refused; trying again for up to 30 s\n" in outcome.err
    assert re.search(f"unreachable: no answer from {url} in 30.[0-9] s: ", outcome.err)
    assert "`aion-server dev` starts one on this machine" in outcome.err
    assert "AION_URL" in outcome.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--url", "localhost", "versions"], "is not an address"),
        (["start"], "Missing argument"),
        (["start", "order", "--input", "{item: 7}"], "--input is not JSON"),
        (["start", "order", "--input", "NaN"], "--input is not JSON"),
        (["start", "order", "--input", "[" * 200_000], "--input is not JSON: nested too deep"),
        (["start", "order", "--input", '"\udcff"'], "--input is not JSON: not UTF-8"),
        (["start", "order", "--input", "@/nowhere.json"], "cannot read @/nowhere.json"),
        (["start", "order", "--id-conflict", "maybe"], "maybe"),
        (["start", "order", "--wait-ms", "-1"], "greater than or equal to 0"),
        (["start", "order", "--idempotency-key", "a\nb"], "idempotency key"),
        (["signal", "o-1", "release", "text"], "the payload is not JSON"),
        (["deploy", "none.aion"], "there is no file none.aion"),
        (["deploy", "a.aion", "b.aion"], "is deployed as it is"),
        (["deploy", "a.aion", "--entry", "order"], "is deployed as it is"),
        (["fly"], "No such command"),
        ([], "Usage"),
    ],
)
def test_a_wrong_call_sends_nothing_and_is_exit_code_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    outcome = command_line(capsys)(*arguments)
    assert outcome.code == 2
    assert words in outcome.err + outcome.out


@pytest.mark.parametrize("command", [command.name for command in app.registered_commands])
def test_every_command_explains_itself(capsys: pytest.CaptureFixture[str], command: str) -> None:
    outcome = command_line(capsys)(command, "--help")
    assert outcome.code == 0
    assert "--json" in outcome.out


def test_the_program_tells_its_version(capsys: pytest.CaptureFixture[str]) -> None:
    outcome = command_line(capsys)("--version")
    assert outcome.code == 0
    assert outcome.out.startswith("aion ")


def test_ctrl_c_while_waiting_is_exit_code_130_without_a_traceback(gateway: ScriptedGateway) -> None:
    gateway.script(Answer(status=201, body=STARTED), Answer(status=202, body={"status": "running"}))
    program = [sys.executable, "-c", "from aion_cli.app import main; main()", "--url", gateway.url, "start", "order", "--wait"]
    started = threading.Event()

    def interrupt(_request: Request) -> None:
        started.wait()
        if len(gateway.requests) == 2:
            process.send_signal(signal.SIGINT)

    gateway.on_request = interrupt
    process = subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    started.set()
    _, err = process.communicate()
    assert process.returncode == 130
    assert "Traceback" not in err
    assert "started o-1" in err
