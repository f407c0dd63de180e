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

from aion_common.errors import AionError
from aion_server.supervisor import Part

LOCK = "dev.lock"
STACK = "stack.json"


@contextmanager
def locked(data_dir: Path) -> Iterator[None]:
    """Hold the folder for this process; raises `AionError` if another one does. The kernel lets go at any kind of end."""
    data_dir.mkdir(parents=True, exist_ok=True)
    with (data_dir / LOCK).open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.seek(0)
            other = lock.read().strip() or "unknown"
            raise AionError(
                f"{data_dir} is in use by another `aion-server dev` (pid {other}); stop it or choose another --data-dir"
            ) from error
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def write_stack(data_dir: Path, parts: list[Part]) -> None:
    """Replace `stack.json`."""
    stack = {part.name: {"pid": part.pid, "address": part.address, "log": str(part.log)} for part in parts}
    fresh = data_dir / f"{STACK}.new"
    fresh.write_text(json.dumps(stack, indent=2) + "\n", encoding="utf-8")
    fresh.replace(data_dir / STACK)


def remove_stack(data_dir: Path) -> None:
    """Nothing runs: after a clean stop, and before a start that follows a kill -9."""
    (data_dir / STACK).unlink(missing_ok=True)
