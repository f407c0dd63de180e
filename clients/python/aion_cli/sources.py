"""From paths to compiled modules: .beam files as they are, .erl files compiled, folders for the files directly in them.

The same sources give the same bytes: `+deterministic` leaves out where and when, each file is compiled in its own folder by
its bare name, and nothing of the user's environment reaches the compiler.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from aion_cli.outcome import failed, misused
from aion_common.limits import ARCHIVE_INFLATED_BYTES_MAX
from aion_common.package.beamfile import BeamModule, read_beam
from aion_common.package.inflate import archive_budget

_COMPILER_OPTIONS = ("ERL_COMPILER_OPTIONS", "ERLC_CONFIGURE", "ERLC_USE_SERVER")


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    """`modules`: (name, .beam bytes), by name. `warnings`: what the compiler said of sources that it did compile."""

    modules: tuple[tuple[str, bytes], ...]
    warnings: str


def collect(paths: Sequence[Path]) -> Compiled:
    """All modules that the paths name. Raises Misused for paths that name none, Failed when a source does not compile."""
    files = [file for path in paths for file in _files(path)]
    _refuse_repeats(files)
    beams = [file for file in files if file.suffix == ".beam"]
    compiled, warnings = _compile([file for file in files if file.suffix == ".erl"])
    modules: dict[str, bytes] = {}
    for origin, content in [(str(file), _read(file)) for file in beams] + compiled:
        name = inspect_module(content, origin).name
        if name in modules:
            raise misused(f"module {name} was given twice; one of them is {origin}")
        modules[name] = content
    return Compiled(modules=tuple(sorted(modules.items())), warnings=warnings)


def inspect_module(content: bytes, what: str) -> BeamModule:
    """What a module says of itself. Raises BadPackage."""
    return read_beam(content, what=what, budget=archive_budget())


def _refuse_repeats(files: Sequence[Path]) -> None:
    """Before anything is compiled; that each file holds the module of its name is found out later."""
    seen: dict[str, Path] = {}
    for file in files:
        if file.stem in seen:
            raise misused(f"module {file.stem} was given twice: {seen[file.stem]} and {file}")
        seen[file.stem] = file


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        sources = sorted(path.glob("*.erl"))
        named = {source.stem for source in sources}
        found = sources + sorted(beam for beam in path.glob("*.beam") if beam.stem not in named)
        if not found:
            raise misused(f"{path} has no .erl or .beam files directly in it", "Name the folder with the sources, such as src.")
        return found
    if not path.exists():
        raise misused(f"there is no {path}")
    if path.suffix not in (".erl", ".beam"):
        raise misused(f"{path} is neither .erl, .beam nor a folder")
    return [path]


def _read(file: Path) -> bytes:
    if file.stat().st_size > ARCHIVE_INFLATED_BYTES_MAX:
        raise failed("invalid_package", f"{file} is larger than a whole package may be")
    return file.read_bytes()


def _compile(sources: Sequence[Path]) -> tuple[list[tuple[str, bytes]], str]:
    """(origin, .beam bytes) of each source, and the compiler's warnings."""
    if not sources:
        return [], ""
    erlc = shutil.which("erlc")
    if erlc is None:
        raise failed(
            "no_compiler", "erlc was not found, so .erl files cannot be compiled", "Install Erlang/OTP, or give .beam files."
        )
    by_folder: dict[Path, list[Path]] = {}
    for source in sources:
        by_folder.setdefault(source.resolve().parent, []).append(source)
    compiled: list[tuple[str, bytes]] = []
    warnings = ""
    for folder, members in by_folder.items():
        with tempfile.TemporaryDirectory(prefix="aion-pack-") as target:
            warnings += _compile_folder(erlc, folder, members, Path(target))
            compiled += [(str(source), Path(target, f"{source.stem}.beam").read_bytes()) for source in members]
    return compiled, warnings


def _compile_folder(erlc: str, folder: Path, sources: Sequence[Path], target: Path) -> str:
    """Compiles sources of one folder, in it and by their bare names: paths would get into the modules."""
    includes = [option for place in ("include", "../include") for option in ("-I", place)]
    environment = {name: value for name, value in os.environ.items() if name not in _COMPILER_OPTIONS}
    done = subprocess.run(
        [erlc, "+deterministic", *includes, "-o", str(target), *(source.name for source in sources)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    said = (done.stdout + done.stderr).strip()
    for source in sources:
        said = said.replace(str(Path(target, f"{source.stem}.beam")), str(source))
    missing = [str(source) for source in sources if not Path(target, f"{source.stem}.beam").is_file()]
    if done.returncode != 0 or missing:
        raise failed("compile_error", f"{missing[0] if missing else folder} does not compile", *said.splitlines())
    return f"{said}\n" if said else ""
