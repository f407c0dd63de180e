"""Packages that the acceptance tests deploy, compiled from the fixtures with plain `erlc +deterministic`."""

import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType

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
    return packed(name, fixture_source(name), function)


def fixture_source(name: str) -> str:
    """The source of a module of the fixtures folder."""
    return (FIXTURES / f"{name}.erl").read_text(encoding="utf-8")


def packed(name: str, source: str, function: str, types: Mapping[str, str] = MappingProxyType({})) -> bytes:
    """An archive of one module. `types`: further workflow types, each with its function."""
    more: list[Json] = [
        {
            "workflow_type": workflow_type,
            "entry_module": name,
            "entry_function": entry,
            "input_schema": {},
            "output_schema": {},
            "internal": False,
        }
        for workflow_type, entry in types.items()
    ]
    manifest: dict[str, Json] = {
        "entry_module": name,
        "entry_function": function,
        "input_schema": {},
        "output_schema": {},
        "activities": [],
        "format_version": 1,
        "additional_workflows": more,
    }
    return write_archive(build_archive(manifest, [(name, compiled(name, source))]))
