"""`aion pack` turns sources into the same archive each time, and says what it cannot use."""

import shutil
import subprocess
from pathlib import Path

import pytest

from aion_common.package.archive import read_archive
from aion_common.package.version import content_version
from cli.command_line import CommandLine, command_line

ORDER = "-module(order).\n-export([run/1, main/1]).\nrun(A) -> order_rules:check(A).\nmain(A) -> A.\n"
RULES = '-module(order_rules).\n-include("limits.hrl").\n-export([check/1]).\ncheck(A) -> {A, ?LIMIT}.\n'


@pytest.fixture
def aion(capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return command_line(capsys)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder: a project with two sources and an include file."""
    monkeypatch.chdir(tmp_path)
    for name, text in {
        "src/order.erl": ORDER,
        "src/order_rules.erl": RULES,
        "include/limits.hrl": "-define(LIMIT, 3).\n",
    }.items():
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    return tmp_path


def test_a_folder_is_packed_and_its_version_is_told(aion: CommandLine, folder: Path) -> None:
    outcome = aion("pack", "src", "--entry", "order")
    archive = read_archive((folder / "order.aion").read_bytes())
    assert outcome.code == 0
    assert [name for name, _ in archive.modules] == ["order", "order_rules"]
    assert ["version", archive.version] in outcome.lines
    assert archive.manifest.types()[0].function == "run"


def test_the_same_sources_give_the_same_bytes_wherever_they_lie(aion: CommandLine, folder: Path) -> None:
    shutil.copytree(folder / "src", folder / "elsewhere" / "deep" / "src")
    shutil.copytree(folder / "include", folder / "elsewhere" / "deep" / "include")
    assert aion("pack", "src", "--entry", "order", "-o", "a.aion").code == 0
    assert aion("pack", "elsewhere/deep/src/order_rules.erl", "elsewhere/deep/src/order.erl", "-o", "b.aion").code == 0
    assert (folder / "a.aion").read_bytes() == (folder / "b.aion").read_bytes()


def test_compiled_modules_are_packed_as_they_are(aion: CommandLine, folder: Path) -> None:
    (folder / "order.erl").write_text(ORDER)
    subprocess.run(["erlc", "+deterministic", "order.erl"], cwd=folder, check=True)
    beam = (folder / "order.beam").read_bytes()
    outcome = aion("--json", "pack", "order.beam", "-o", "o.aion")
    assert outcome.json == {
        "path": "o.aion",
        "version": content_version([("order", beam)]),
        "manifest_digest": read_archive((folder / "o.aion").read_bytes()).manifest_digest,
        "bytes": (folder / "o.aion").stat().st_size,
        "workflow_types": ["order"],
        "modules": ["order"],
    }
    assert aion("pack", "order.erl", "-o", "p.aion", "--json").json["version"] == outcome.json["version"]


def test_in_a_folder_the_source_wins_over_the_module_beside_it(aion: CommandLine, folder: Path) -> None:
    (folder / "src" / "order.beam").write_bytes(b"stale")
    assert aion("pack", "src", "--entry", "order").code == 0


def test_types_time_out_and_schemas_go_into_the_manifest(aion: CommandLine, folder: Path) -> None:
    (folder / "in.json").write_text('{"type": "object"}')
    schemas = ("--input-schema", "@in.json", "--output-schema", "true")
    types = ("--type", "rules=order_rules:check", "--internal-type", "sub=order")
    assert aion("pack", "src", "--entry", "order:main", "--timeout", "90s", *types, *schemas).code == 0
    manifest = read_archive((folder / "order.aion").read_bytes()).manifest
    entries = [(e.workflow_type, e.module, e.function, e.timeout_ms, e.internal) for e in manifest.types()]
    assert entries == [
        ("order", "order", "main", 90_000, False),
        ("rules", "order_rules", "check", None, False),
        ("sub", "order", "run", None, True),
    ]
    assert b'"input_schema":{"type":"object"}' in manifest.canonical_json


def test_what_the_compiler_warns_of_is_passed_on(aion: CommandLine, folder: Path) -> None:
    (folder / "src" / "order.erl").write_text(ORDER + "unused() -> 1.\n")
    outcome = aion("pack", "src", "--entry", "order")
    assert outcome.code == 0
    assert "unused/0 is unused" in outcome.err


def test_a_source_that_does_not_compile_fails_with_the_place(aion: CommandLine, folder: Path) -> None:
    (folder / "src" / "order.erl").write_text("-module(order).\nrun(A) -> B.\n")
    outcome = aion("pack", "src")
    assert outcome.code == 1
    assert "src/order.erl does not compile" in outcome.err
    assert "order.erl:2" in outcome.err
    assert not list(folder.glob("*.aion"))


def test_a_module_of_another_name_than_its_file_is_told_with_the_file(aion: CommandLine, folder: Path) -> None:
    (folder / "src" / "refund.erl").write_text(ORDER)
    outcome = aion("pack", "src/refund.erl")
    assert outcome.code == 1
    assert "src/refund.erl: Module name 'order' does not match file name 'refund'" in outcome.err
    assert "aion-pack-" not in outcome.err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["pack"], 2, "Missing argument"),
        (["pack", "nothing.erl"], 2, "there is no nothing.erl"),
        (["pack", "include"], 2, "has no .erl or .beam files"),
        (["pack", "include/limits.hrl"], 2, "neither .erl, .beam nor a folder"),
        (["pack", "src", "src/order.erl"], 2, "module order was given twice"),
        (["pack", "src/order_rules.erl"], 2, "no module exports run/1"),
        (["pack", "src", "--entry", "order:"], 2, "is not an entry"),
        (["pack", "src", "--entry", "order:none"], 1, "begins at order:none/1, which the module does not export"),
        (["pack", "src", "--entry", "none"], 1, "the archive has no module 'none'"),
        (["pack", "src", "--type", "rules"], 2, "is not a workflow type"),
        (["pack", "src", "--type", "order=order_rules:check"], 1, "'order' twice"),
        (["pack", "src", "--timeout", "soon"], 2, "is not a duration"),
        (["pack", "src", "--input-schema", "@none.json"], 2, "--input-schema: cannot read @none.json"),
        (
            ["pack", "src", "--input-schema", "1" * 5_000],
            2,
            "--input-schema is not JSON: an integer of 5000 digits is too long",
        ),
        (["pack", "src", "-o", "none/o.aion"], 2, "there is no folder none"),
        (["pack", "src", "--colour"], 2, "No such option"),
    ],
)
def test_what_cannot_be_packed_is_said(aion: CommandLine, folder: Path, arguments: list[str], code: int, words: str) -> None:
    outcome = aion(*arguments)
    assert outcome.code == code
    assert words in outcome.err
    assert outcome.out == ""
    assert not list(folder.glob("*.aion"))


def test_several_possible_entries_are_named(aion: CommandLine, folder: Path) -> None:
    (folder / "src" / "refund.erl").write_text("-module(refund).\n-export([run/1]).\nrun(A) -> A.\n")
    outcome = aion("pack", "src")
    assert outcome.code == 2
    assert "the modules order, refund export run/1: say where a run begins with --entry" in outcome.err


def test_without_a_compiler_it_is_said_what_to_install(
    aion: CommandLine, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(folder))
    outcome = aion("pack", "src", "--json")
    assert outcome.code == 1
    assert '"code": "no_compiler"' in outcome.err
    assert "Install Erlang/OTP" in outcome.err
