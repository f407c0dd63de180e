"""What `aion-server dev` keeps in its data folder beside the services' own data: a lock, and `stack.json`.

`stack.json` tells tests and tools what runs where: service -> {pid, address, log}. It is replaced whole, so a reader never
sees half of it, and it is gone after a clean stop.
"""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from aion_common.errors import AionError
from aion_server.supervisor import Part

LOCK = "dev.lock"
STACK = "stack.json"


@contextmanager
def locked(data_dir: Path) -> Iterator[None]:
    """Hold the folder for this process; raises `AionError` if another one does, or if it cannot be used. The kernel lets go
    at any kind of end."""
    with _usable(data_dir):
        data_dir.mkdir(parents=True, exist_ok=True)
        lock = (data_dir / LOCK).open("a+")
    with lock:
        with _usable(data_dir):
            _hold(lock, data_dir)
        yield


def write_stack(data_dir: Path, parts: list[Part]) -> None:
    """Replace `stack.json`. Raises `AionError` when the folder cannot be used any more."""
    stack = {part.name: {"pid": part.pid, "address": part.address, "log": str(part.log)} for part in parts}
    fresh = data_dir / f"{STACK}.new"
    with _usable(data_dir):
        fresh.write_text(json.dumps(stack, indent=2) + "\n", encoding="utf-8")
        fresh.replace(data_dir / STACK)


def remove_stack(data_dir: Path) -> None:
    """Nothing runs: after a clean stop, and before a start that follows a kill -9. Raises `AionError`."""
    with _usable(data_dir):
        (data_dir / STACK).unlink(missing_ok=True)


@contextmanager
def _usable(data_dir: Path) -> Iterator[None]:
    """What the system refuses about the folder becomes a sentence, an `AionError`."""
    try:
        yield
    except OSError as error:
        where = "" if error.filename in (None, str(data_dir)) else f" ({error.filename})"
        reason = f"{error.strerror or error}{where}"
        raise AionError(f"the data folder {data_dir} cannot be used: {reason}; choose another --data-dir") from error


def _hold(lock: TextIO, data_dir: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.seek(0)
        other = lock.read().strip() or "unknown"
        raise AionError(
            f"{data_dir} is in use by another `aion-server dev` (pid {other}); stop it or choose another --data-dir"
        ) from error
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
