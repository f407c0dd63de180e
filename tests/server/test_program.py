"""The program `aion-server` as a user meets it: help, wrong flags, wrong settings, nobody there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from aion_server.app import app


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    monkeypatch.setenv("COLUMNS", "200")
    return CliRunner()


@pytest.mark.parametrize("command", ["init", "catalog", "executor", "gateway", "dev"])
def test_every_command_explains_itself(runner: CliRunner, command: str) -> None:
    result = runner.invoke(app, [command, "--help"])
    assert result.exit_code == 0
    assert "--bootstrap" in result.output
    assert command in runner.invoke(app, ["--help"]).output


def test_unknown_flag_is_wrong_usage(runner: CliRunner) -> None:
    assert runner.invoke(app, ["gateway", "--colour", "red"]).exit_code == 2


@pytest.mark.parametrize("command", ["init", "gateway", "dev"])
def test_unknown_setting_is_wrong_usage_and_named(runner: CliRunner, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AION_HTTP_PROT", "7600")
    result = runner.invoke(app, [command])
    assert result.exit_code == 2
    assert "AION_HTTP_PROT" in result.stderr
    assert "AION_HTTP_PORT" in result.stderr


@pytest.mark.parametrize("command", ["init", "catalog", "executor", "gateway", "dev"])
def test_defaults_are_shown_in_one_style(runner: CliRunner, command: str) -> None:
    defaults = re.findall(r"\[default: (.*?)\]", runner.invoke(app, [command, "--help"]).output)
    assert defaults
    assert all(re.fullmatch(r"\(.*\)", default) for default in defaults), defaults


@pytest.mark.parametrize("arguments", [["init"], ["dev", "--data-dir", "data"], ["gateway", "--http-port", "0"]])
def test_no_broker_is_said_once(arguments: list[str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "aion_server", *arguments, "--bootstrap", "127.0.0.1:1"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr.count("no broker answers at 127.0.0.1:1") == 1
    assert "Unable connect" not in ended.stderr


def test_data_folder_that_cannot_be_is_one_sentence(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "aion_server", "dev", "--data-dir", "/dev/null/x"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr.startswith("aion-server: the data folder /dev/null/x cannot be used: Not a directory")
    assert len(ended.stderr.splitlines()) == 1


def test_wrong_value_is_wrong_usage_and_named(runner: CliRunner) -> None:
    result = runner.invoke(app, ["executor", "--bootstrap", "nowhere"])
    assert result.exit_code == 2
    assert "expected HOST:PORT" in result.stderr
