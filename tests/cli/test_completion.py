"""`aion completion`: scripts that are complete in themselves, made of the command line's own definition."""

import re
import subprocess

import pytest

from aion_cli.app import app
from cli.command_line import CommandLine, command_line


@pytest.fixture
def aion(capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return command_line(capsys)


def completed(script: str, *words: str) -> list[str]:
    """What bash offers for the last of the words."""
    program = f"""{script}
        COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _aion; printf '%s\\n' "${{COMPREPLY[@]}}" """
    done = subprocess.run(["bash", "-c", program, "bash", *words], capture_output=True, text=True, check=True)
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("aion", "can"), ["cancel"]),
        (("aion", "ver"), ["verify", "versions"]),
        (("aion", "--url", "versions", "ter"), ["terminate"]),
        (("aion", "--json", "li"), ["list"]),
        (("aion", "que"), ["query", "queues"]),
        (("aion", "create-queue", "mail", "--part"), ["--partitions"]),
        (("aion", "list", "--st"), ["--status", "--started-after"]),
        (("aion", "list", "--status", "c"), ["completed", "cancelled"]),
        (("aion", "start", "order", "--id-conflict", "t"), ["terminate_existing"]),
        (("aion", "start", "order", "--terminate"), ["--terminate-existing"]),
        (("aion", "completion", ""), ["bash", "zsh", "fish"]),
        (("aion", "describe", ""), []),
        (("aion", "versions", "--no"), ["--no-pins"]),
    ],
)
def test_bash_offers_what_may_follow(aion: CommandLine, words: tuple[str, ...], offered: list[str]) -> None:
    assert completed(aion("completion", "bash").out, *words) == offered


def test_bash_offers_files_where_a_path_is_wanted(aion: CommandLine) -> None:
    assert "pyproject.toml" in completed(aion("completion", "bash").out, "aion", "deploy", "pypro")


def test_bash_takes_the_script_and_knows_the_program(aion: CommandLine) -> None:
    script = aion("completion", "bash").out
    done = subprocess.run(["bash", "-c", f"{script}\ncomplete -p aion"], capture_output=True, text=True, check=True)
    assert "-F _aion aion" in done.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_command_is_in_the_script(aion: CommandLine, shell: str) -> None:
    script = aion("completion", shell).out
    names = [command.name for command in app.registered_commands]
    assert len(names) > 10
    assert not [name for name in names if not re.search(rf"\b{name}\b", script)]


def test_quotes_in_a_description_stay_within_it(aion: CommandLine) -> None:
    assert "-d 'Your name for it, unique among open runs'" in aion("completion", "fish").out
    assert "run\\'s history" in aion("completion", "fish").out
    assert "[Why; kept in the run'\\''s history]" in aion("completion", "zsh").out
    assert "into the running system\\: from now on" in aion("completion", "zsh").out


def test_script_for_programs_is_json(aion: CommandLine) -> None:
    outcome = aion("completion", "bash", "--json")
    assert outcome.json["shell"] == "bash"
    assert outcome.json["script"].startswith("# Completion of `aion` for bash.")
