"""Child processes that do as a test says, and ways to wait for their end without sleeping."""

import asyncio
import os
import select
import sys
from pathlib import Path

from aion_common.errors import AionError
from aion_server.supervisor import Change, Died, Launch, Program, Started

WAITS_FOR_TERM = """
import signal, sys
from aion_common.service import end_with_parent
end_with_parent()
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
print("up", flush=True)
signal.sigwait([signal.SIGTERM])
print("asked to stop", flush=True)
"""

IGNORES_TERM = """
import signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("up", flush=True)
while True:
    signal.pause()
"""

ENDS_AT_ONCE = "raise SystemExit(3)"


def program(name: str, source: str, folder: Path) -> Program:
    """A part that runs Python source."""
    return Program(
        name=name,
        launch=lambda: Launch(command=[sys.executable, "-c", source], address=f"{name}:1"),
        log=folder / f"{name}.log",
    )


class Changes:
    """Collects what a supervisor tells, and lets a test wait for the n-th change."""

    def __init__(self) -> None:
        self.seen: list[Change] = []
        self._ring = asyncio.Event()

    def __call__(self, change: Change) -> None:
        """Called by the supervisor."""
        self.seen.append(change)
        self._ring.set()

    async def until(self, count: int) -> None:
        """Wait until so many changes were told."""
        async with asyncio.timeout(30):
            while len(self.seen) < count:
                self._ring.clear()
                await self._ring.wait()

    def words(self) -> list[str]:
        """The changes as short words."""
        return [_word(change) for change in self.seen]


def _word(change: Change) -> str:
    match change:
        case Started(part=part):
            return f"{part.name} started"
        case Died(part=part, reason=reason, again_ms=again_ms):
            return f"{part.name} died: {reason}, again in {again_ms}"


class Pauses:
    """Instead of sleeping: notes how long the supervisor would have waited, and after `count` pauses waits for ever."""

    def __init__(self, count: int) -> None:
        self.noted: list[int] = []
        self._count = count

    async def __call__(self, duration_ms: int) -> None:
        """Return at once, while there are pauses left."""
        self.noted.append(duration_ms)
        if len(self.noted) > self._count:
            await asyncio.Event().wait()


class RefusesToStart:
    """A part whose every start fails after the first one, which ends at once."""

    def __init__(self, folder: Path) -> None:
        self.name, self.pid, self.address, self.log = "stubborn", None, "", folder / "stubborn.log"
        self.starts = 0

    async def start(self) -> None:
        """Fails from the second time on."""
        self.starts += 1
        if self.starts > 1:
            raise AionError(f"start {self.starts} refused")

    async def ended(self) -> int:
        """At once."""
        return 1

    async def stop(self, wait_ms: int) -> None:
        """Nothing runs."""


def wait_for_end(pid: int, timeout_s: float = 20) -> bool:
    """Whether the process, of whatever parent, ends in time. True also when it is gone already. Linux only."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        ready, _, _ = select.select([descriptor], [], [], timeout_s)
        return bool(ready)
    finally:
        os.close(descriptor)
