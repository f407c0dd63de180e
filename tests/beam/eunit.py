"""Runs EUnit modules of erlang/apps/aion_host/test in an ordinary Erlang, against the host as it was built."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from aion_beam.host_build import Host

SOURCES = Path(__file__).parents[2] / "erlang" / "apps" / "aion_host" / "test"


def run_eunit(host: Host, modules: Sequence[str], scratch: Path, environment: Mapping[str, str] | None = None) -> str:
    """Compiles and runs the modules. Fails with what EUnit printed."""
    sources = [str(SOURCES / f"{module}.erl") for module in modules]
    subprocess.run(["erlc", "+warnings_as_errors", "-o", str(scratch), *sources], check=True)
    call = f"case eunit:test([{', '.join(modules)}], []) of ok -> halt(0); _ -> halt(1) end."
    # At the end of the path, as the host's `code` and `error_handler` are for a bare VM only.
    paths = ["-pz", str(host.directory), "-pa", str(scratch)]
    done = subprocess.run(
        ["erl", "-noshell", *paths, "-eval", call],
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "passed" in done.stdout, "EUnit found no test"
    return done.stdout
