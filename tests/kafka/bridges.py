"""A bridge in a process of its own that dies by kill -9 right before it commits, when everything is forwarded.

Run as a program: bootstrap, topic prefix, partitions of commands, session time-out in ms.
"""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import DEVNULL
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Never

from aion_common.kafka.api import Membership, OnAssigned
from aion_common.kafka.client import KafkaLog
from aion_common.kafka.connection import open_client
from aion_common.kafka.topics import Topics
from aion_gateway.drain import Drain
from aion_gateway.ingress.bridge import Bridge


async def forward_and_die(bootstrap: str, prefix: str, partitions: int, session_ms: int) -> int:
    """Run the program to its end; the exit code."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(Path(__file__)),
        bootstrap,
        prefix,
        str(partitions),
        str(session_ms),
        stdin=DEVNULL,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    try:
        async with asyncio.timeout(60):
            return await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


class _Doomed:
    """A membership."""

    def __init__(self, inner: Membership) -> None:
        self._inner = inner

    async def rejoin(self) -> None:
        await self._inner.rejoin()

    async def committed(self, partitions: Collection[int]) -> Mapping[int, int]:
        return await self._inner.committed(partitions)

    async def commit(self, offsets: Mapping[int, int]) -> Never:
        assert offsets
        os.kill(os.getpid(), signal.SIGKILL)
        await asyncio.Event().wait()
        raise AssertionError("nobody survives it")

    async def failed(self) -> None:
        await self._inner.failed()

    async def close(self) -> None:
        await self._inner.close()


class _DoomedLog(KafkaLog):
    async def membership(self, group: str, topic: str, member_id: str, session_ms: int, on_assigned: OnAssigned) -> Membership:
        return _Doomed(await super().membership(group, topic, member_id, session_ms, on_assigned))


async def _main(bootstrap: str, prefix: str, partitions: str, session_ms: str) -> None:
    log = _DoomedLog(bootstrap, "doomed", await open_client(bootstrap, "doomed"))
    bridge = Bridge(log=log, topics=Topics(prefix), gateway_id="doomed", partitions=int(partitions), session_ms=int(session_ms))
    await bridge.run(Drain())


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
