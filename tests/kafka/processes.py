"""A group member in a process of its own, to be killed and stopped: it prints each assignment as a line of JSON.

Run as a program: bootstrap, group, topic, member id, session time-out in ms.
"""

import asyncio
import json
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aion_common.kafka.client import connect


class Member:
    """The running process, and what it was told."""

    def __init__(self, process: Process) -> None:
        self._process = process

    async def told(self) -> frozenset[int]:
        """Its next assignment."""
        assert self._process.stdout is not None, "its output is piped"
        async with asyncio.timeout(30):
            return frozenset(json.loads(await self._process.stdout.readline()))

    async def kill(self) -> None:
        """SIGKILL."""
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()

    def suspend(self) -> None:
        """SIGSTOP."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self._process.send_signal(signal.SIGCONT)


@asynccontextmanager
async def member(bootstrap: str, group: str, topic: str, member_id: str, session_ms: int) -> AsyncIterator[Member]:
    """A member, killed at the end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(Path(__file__)),
        bootstrap,
        group,
        topic,
        member_id,
        str(session_ms),
        stdin=DEVNULL,
        stdout=PIPE,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    running = Member(process)
    try:
        yield running
    finally:
        await running.kill()


async def _main(bootstrap: str, group: str, topic: str, member_id: str, session_ms: str) -> None:
    log = await connect(bootstrap)
    await log.membership(group, topic, member_id, int(session_ms), _say)
    await asyncio.Event().wait()


def _say(partitions: frozenset[int]) -> None:
    sys.stdout.write(json.dumps(sorted(partitions)) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
