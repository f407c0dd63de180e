"""Compiles the host that runs inside each VM, and its boot script, for the Erlang that is installed here.

The result lies in a cache folder whose name is a hash over the sources and the Erlang it was made by, so it is never stale
and is made once. It appears by one rename: two processes may build at the same time, a crash leaves nothing half done.
`python -m aion_beam.host_build` does it ahead of time. Called by whoever starts VMs.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from blake3 import blake3

from aion_common.errors import AionError

_APPLICATIONS = ("aion_host", "aion_flow")
_BUILD_SECONDS = 120
_FACTS = "otp.json"
_BOOT = "aion_host.boot"


class ErlangMissing(AionError):
    """Erlang/OTP is not installed, too old, or does not work; the message says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A built host. `directory` holds its .beam files and boot script; the rest says how this Erlang is started."""

    directory: Path
    otp_release: str
    root: Path
    emulator_directory: Path

    @property
    def launcher(self) -> Path:
        """The program that becomes the VM (no shell script in between)."""
        return self.emulator_directory / "erlexec"


def default_cache() -> Path:
    """Where hosts are kept when nobody says otherwise: `$XDG_CACHE_HOME/aion/host`, usually ~/.cache/aion/host."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "aion" / "host"


def build_host(cache: Path | None = None) -> Host:
    """The host for the installed Erlang, built if it is not in the cache. Blocks for seconds the first time.

    Raises ErlangMissing. Harmless to repeat, and to do in several processes at once.
    """
    erl, erlc = _program("erl"), _program("erlc")
    sources = _sources()
    cache = default_cache() if cache is None else cache
    target = cache / _key(sources, erl)
    host = _load(target)
    if host is not None:
        return host
    cache.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=".building-", dir=cache))
    try:
        _build(erl, erlc, sources, scratch)
        _publish(scratch, target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    host = _load(target)
    assert host is not None, "what was just built can be loaded"
    return host


def _program(name: str) -> Path:
    found = shutil.which(name)
    if found is None:
        raise ErlangMissing(
            f"{name} was not found on the PATH. Install Erlang/OTP 25 or newer, with its compiler "
            "(Debian, Ubuntu: apt-get install erlang-base erlang-dev; macOS: brew install erlang), then try again."
        )
    return Path(found).resolve()


def _sources() -> list[Path]:
    for base in (Path(__file__).parent / "_erlang", Path(__file__).parents[3] / "erlang" / "apps"):
        if base.is_dir():
            return sorted(path for app in _APPLICATIONS for path in (base / app / "src").glob("*.erl"))
    raise AssertionError("the Erlang sources are part of this package")


def _key(sources: list[Path], erl: Path) -> str:
    """Changes with any source, and when another Erlang is installed at the same place."""
    stat = erl.stat()
    digest = blake3(f"{erl}\0{stat.st_mtime_ns}\0{stat.st_size}\0".encode())
    for source in sources:
        content = source.read_bytes()
        digest.update(f"{source.name}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest(length=16)


def _load(directory: Path) -> Host | None:
    try:
        facts = json.loads((directory / _FACTS).read_bytes())
    except FileNotFoundError:
        return None
    host = Host(
        directory=directory,
        otp_release=str(facts["otp_release"]),
        root=Path(facts["root"]),
        emulator_directory=Path(facts["root"]) / f"erts-{facts['erts_version']}" / "bin",
    )
    if host.launcher.exists() and Path(facts["stdlib"]).is_dir():
        return host
    # The Erlang it was made by was replaced without a change of `erl` itself.
    shutil.rmtree(directory, ignore_errors=True)
    return None


def _build(erl: Path, erlc: Path, sources: list[Path], scratch: Path) -> None:
    _run([str(erlc), "+warnings_as_errors", "+deterministic", "-o", str(scratch), *map(str, sources)])
    # At the end of the path: our `code` and `error_handler` are for the bare VM and would break an ordinary one.
    arguments = ["-boot", "no_dot_erlang", "-noshell", "-noinput", "-pz", str(scratch)]
    facts = _run([str(erl), *arguments, "-run", "aion_boot", "write", str(scratch)])
    (scratch / _FACTS).write_text(facts)


def _run(command: list[str]) -> str:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ERL_")}
    try:
        done = subprocess.run(command, env=clean, capture_output=True, text=True, timeout=_BUILD_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise ErlangMissing(f"{command[0]} did not end within {_BUILD_SECONDS} s") from error
    if done.returncode != 0:
        raise ErlangMissing(
            f"{command[0]} could not build the VM's host; Erlang/OTP 25 or newer with its compiler is needed. "
            f"It said: {done.stderr.strip() or done.stdout.strip()}"
        )
    return done.stdout


def _publish(scratch: Path, target: Path) -> None:
    assert (scratch / _BOOT).exists(), "the build wrote a boot script"
    scratch.chmod(0o755)
    try:
        scratch.rename(target)
    except OSError:
        # Another process built the same at the same time; what it published is as good.
        if not (target / _FACTS).exists():
            raise


def main() -> int:
    """Builds the host into the default cache and says where it is. Exit code 1 when Erlang is missing."""
    try:
        host = build_host()
    except ErlangMissing as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"VM host for Erlang/OTP {host.otp_release} in {host.directory}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
