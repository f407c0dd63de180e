"""Switch mechanisms off, one after the other, and see that the test dies which holds each: `make mutants`.

Works on a copy of the sources. A mutant that survives, a place that is not found and a test that fails without any change are
errors. The table is the list of docs/testing.md in a form that can be run.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path

from mutants.mutant import Mutant
from mutants.table import MUTANTS

ROOT = Path(__file__).parents[2]
COPIED = ("libs", "services", "clients", "schemas", "erlang", "tests", "examples", "benchmarks", "pyproject.toml")
ROOMS = ("libs/aion_common", "libs/aion_beam", "services/catalog", "services/executor", "services/gateway", "services/server")
KILLED, SURVIVED = 1, 0


def main(names: list[str]) -> int:
    """Try the mutants whose name holds one of these words, or all. The exit code."""
    chosen = [mutant for mutant in MUTANTS if not names or any(name in mutant.name for name in names)]
    failures: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for part in COPIED:
            source = ROOT / part
            if source.is_dir():
                shutil.copytree(source, copy / part, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
            else:
                shutil.copy2(source, copy / part)
        tests = sorted({test for mutant in chosen for test in mutant.tests})
        if _run(copy, tests, {SURVIVED}) != SURVIVED:
            _tell("the tests fail without any mutant")
            return 1
        for mutant in chosen:
            failure = _try(copy, mutant)
            _tell(f"{'ok' if failure is None else 'NOT OK':7}{mutant.name}: {failure or ' '.join(mutant.tests)}")
            failures += [] if failure is None else [failure]
    _tell(f"{len(chosen) - len(failures)} of {len(chosen)} mutants are killed")
    return min(len(failures), 1)


def _tell(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _try(copy: Path, mutant: Mutant) -> str | None:
    """Why the mutant is none, or lives; None when its test killed it."""
    file = copy / mutant.file
    text = file.read_text(encoding="utf-8")
    if text.count(mutant.before) != 1:
        return f"{mutant.file} holds {mutant.before!r} {text.count(mutant.before)} times"
    file.write_text(text.replace(mutant.before, mutant.after), encoding="utf-8")
    try:
        code = _run(copy, mutant.tests, {KILLED, SURVIVED})
    finally:
        file.write_text(text, encoding="utf-8")
    return {KILLED: None, SURVIVED: "no test died"}.get(code, f"pytest ended with {code}")


def _run(copy: Path, tests: Sequence[str], expected: Collection[int]) -> int:
    """The exit code; one that is not expected shows what the tests said."""
    path = os.pathsep.join(str(copy / room) for room in (*ROOMS, "clients/python", "tests"))
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-x", *(f"tests/{test}" for test in tests)]
    ended = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False)
    if ended.returncode not in expected:
        _tell(ended.stdout[-2000:] + ended.stderr[-2000:])
    return ended.returncode


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
