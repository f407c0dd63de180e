"""Packages that the acceptance tests deploy, compiled from the fixtures with plain `erlc +deterministic`."""

import subprocess
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from aion_common.package.archive import build_archive, write_archive
from aion_common.package.manifest import Json

RELOAD = "reload_e2e"
FIXTURES = Path(__file__).parents[1] / "fixtures" / "erlang"

_RELOAD_SOURCE = """
-module(reload_e2e).
-export([run/1, park/1]).
run(_) -> {number}.
park(_) -> receive _Any -> {number} end.
"""


@cache
def compiled(name: str, source: str) -> bytes:
    """The .beam of a module."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / f"{name}.erl"
        file.write_text(source, encoding="utf-8")
        subprocess.run(["erlc", "+deterministic", "-o", folder, str(file)], check=True)
        return (Path(folder) / f"{name}.beam").read_bytes()


def reload_package(number: int, function: str = "park") -> bytes:
    """`reload_e2e` whose `run/1` returns the number at once, and whose `park/1` returns it after any message."""
    return packed(RELOAD, _RELOAD_SOURCE.replace("{number}", str(number)), function)


def fixture_package(name: str, function: str) -> bytes:
    """A module of the fixtures folder."""
    return packed(name, (FIXTURES / f"{name}.erl").read_text(encoding="utf-8"), function)


def packed(name: str, source: str, function: str) -> bytes:
    """An archive of one module."""
    manifest: dict[str, Json] = {
        "entry_module": name,
        "entry_function": function,
        "input_schema": {},
        "output_schema": {},
        "activities": [],
        "format_version": 1,
    }
    return write_archive(build_archive(manifest, [(name, compiled(name, source))]))
