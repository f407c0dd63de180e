"""`aion worker` up to where Kafka begins: which activities it finds, and what it says when it cannot."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from aion_cli.outcome import Misused
from aion_cli.working import activities_of
from aion_server.broker import free_port
from cli.command_line import CommandLine, command_line

MODULE = """
from aion_worker import Context, activity
import json as not_an_activity

@activity
def one() -> int:
    return 1

@activity("second")
async def two(context: Context) -> int:
    return 2

both = [one, two]
mixed = [one, len]
alias = one
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder; what is imported from it is forgotten at the end."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if (getattr(sys.modules[name], "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def aion(capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return command_line(capsys)


@pytest.mark.parametrize(
    ("named", "found"),
    [
        ("shop_a", ["one", "second"]),
        ("shop_a:two", ["second"]),
        ("shop_a:both", ["one", "second"]),
    ],
)
def test_activities_are_found_in_a_module_of_the_current_folder(folder: Path, named: str, found: list[str]) -> None:
    (folder / "shop_a.py").write_text(MODULE)
    assert [one.name for one in activities_of(named)] == found


@pytest.mark.parametrize(
    ("named", "sentence"),
    [
        ("nowhere_at_all", "nowhere_at_all cannot be imported: ModuleNotFoundError: No module named 'nowhere_at_all'"),
        ("needs_more", "needs_more cannot be imported: ModuleNotFoundError: No module named 'not_installed_here'"),
        ("broken", "broken cannot be imported: ZeroDivisionError: division by zero"),
        ("misspelt", "misspelt cannot be imported: SyntaxError: "),
        ("empty", "module empty holds no activities"),
        ("shop_b:three", "module shop_b has no three"),
        ("shop_b:mixed", "mixed in module shop_b holds something that is no activity"),
        ("shop_b:not_an_activity", "not_an_activity in module shop_b holds no activities"),
        ("shop_b.py", "shop_b.py is a file: name the module"),
        (
            "unhinted",
            "unhinted cannot be imported: aion_worker.errors.WrongActivity: activity f: its type hints ",
        ),
    ],
)
def test_what_cannot_be_executed_is_named(folder: Path, named: str, sentence: str) -> None:
    (folder / "shop_b.py").write_text(MODULE)
    (folder / "needs_more.py").write_text("import not_installed_here\n")
    (folder / "broken.py").write_text("x = 1 / 0\n")
    (folder / "misspelt.py").write_text("def f(:\n")
    (folder / "empty.py").write_text("x = 1\n")
    (folder / "unhinted.py").write_text("from aion_worker import activity\n@activity\ndef f(x: 'Nowhere'): ...\n")
    with pytest.raises(Misused) as misuse:
        activities_of(named)
    assert str(misuse.value).startswith(sentence)


def test_the_place_of_an_error_in_a_module_is_told(folder: Path, aion: CommandLine) -> None:
    (folder / "broken_too.py").write_text("x = 1\ny = x / 0\n")
    outcome = aion("worker", "broken_too")
    assert outcome.code == 2
    assert "broken_too.py, line 2" in outcome.err


def test_a_queue_that_cannot_be_is_refused(folder: Path, aion: CommandLine) -> None:
    (folder / "shop_c.py").write_text(MODULE)
    outcome = aion("worker", "shop_c", "--queue", "No Queue")
    assert outcome.code == 2
    assert "queue 'No Queue': 1 to 63 of a-z 0-9 _ -" in outcome.err


@pytest.mark.parametrize("address", ["nowhere", "127.0.0.1", "a:b", "a:9092,b"])
def test_an_address_that_is_none_is_refused(folder: Path, aion: CommandLine, address: str) -> None:
    (folder / "shop_f.py").write_text(MODULE)
    outcome = aion("worker", "shop_f", "--bootstrap", address)
    assert outcome.code == 2
    assert f"bootstrap {address!r}: expected HOST:PORT[,HOST:PORT]" in outcome.err


def test_a_port_that_is_taken_serves_no_metrics(folder: Path, aion: CommandLine) -> None:
    (folder / "shop_e.py").write_text(MODULE)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        outcome = aion("worker", "shop_e", "--metrics-port", str(port))
    assert outcome.code == 2
    assert f"metrics cannot be served at 127.0.0.1:{port}: Address already in use" in outcome.err


def test_kafka_that_does_not_answer_is_said_in_a_line(folder: Path) -> None:
    (folder / "shop_d.py").write_text(MODULE)
    address = f"127.0.0.1:{free_port()}"
    program = [sys.executable, "-c", "from aion_cli.app import main; main()", "worker", "shop_d", "--bootstrap", address]
    paths = ":".join(path for path in sys.path if path)
    ended = subprocess.run(program, cwd=folder, env={"PYTHONPATH": paths}, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert f"worker_failed: no broker answers at {address}" in ended.stderr
    assert "Do --bootstrap's brokers run?" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_help_names_the_options_and_gives_examples(aion: CommandLine) -> None:
    outcome = aion("worker", "--help")
    assert outcome.code == 0
    options = (
        "--queue",
        "--bootstrap",
        "--max-concurrent",
        "--prefix",
        "--grace",
        "--session",
        "--metrics-port",
        "--metrics-host",
    )
    for word in ("MODULE", *options, "AION_PARENT_PID", "aion worker activities"):
        assert word in outcome.out
