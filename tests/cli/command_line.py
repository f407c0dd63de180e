"""Runs `aion` in this process, as the program would: arguments in; exit code, stdout and stderr out."""

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import structlog

from aion_cli.app import run


@dataclass(frozen=True, kw_only=True)
class Outcome:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[list[str]]:
        """The words of each line of stdout."""
        return [line.split() for line in self.out.splitlines()]


CommandLine = Callable[..., Outcome]


def command_line(capsys: pytest.CaptureFixture[str], *, url: str | None = None) -> CommandLine:
    """`aion` against the gateway at `url`; pauses between tries take no time."""

    def aion(*arguments: str) -> Outcome:
        capsys.readouterr()
        before = ["--url", url] if url is not None else []
        with pytest.raises(SystemExit) as end:
            run([*before, *arguments], pause=lambda _seconds: None)
        printed = capsys.readouterr()
        # A command that logs has pointed the logs of this process at what pytest captures for this test.
        structlog.reset_defaults()
        logging.basicConfig(handlers=[], force=True)
        code = end.value.code
        return Outcome(code=code if isinstance(code, int) else 0, out=printed.out, err=printed.err)

    return aion
