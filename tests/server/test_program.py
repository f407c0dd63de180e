"""The program `aion-server` as a user meets it: help, wrong flags, wrong settings, nobody there."""

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


def test_wrong_value_is_wrong_usage_and_named(runner: CliRunner) -> None:
    result = runner.invoke(app, ["executor", "--bootstrap", "nowhere"])
    assert result.exit_code == 2
    assert "expected HOST:PORT" in result.stderr
