"""A whole catalog in a process of its own, which kills itself at a chosen transaction: everything of it is written, and the
transaction stays open.

Run as a program: bootstrap, topic prefix, catalog id, session time-out in ms, and the number of the fatal transaction.
"""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaProducer

from aion_beam.check import check_modules
from aion_beam.host_build import build_host
from aion_catalog.app import surroundings_of
from aion_catalog.shell.loop import serve_until
from aion_common.kafka.api import Log, ProducerIdentity, TransactionalProducer, Write
from aion_common.kafka.client import connect
from aion_common.kafka.topics import Topics


class _Doomed:
    """A transactional producer, by a client that can be left in the middle."""

    def __init__(self, inner: AIOKafkaProducer, fatal: int) -> None:
        self._inner = inner
        self._left = fatal

    @property
    def identity(self) -> ProducerIdentity:
        raise AssertionError("the catalog does not ask")

    async def commit(self, writes: Sequence[Write]) -> Mapping[tuple[str, int], int]:
        self._left -= 1
        await self._inner.begin_transaction()
        for write in writes:
            await self._inner.send_and_wait(write.topic, write.value, key=write.key, partition=write.partition)
        if not self._left:
            os.kill(os.getpid(), signal.SIGKILL)
        await self._inner.commit_transaction()
        return {}

    async def close(self) -> None:
        await self._inner.stop()


class _DoomedLog:
    """The log, with such a producer."""

    def __init__(self, inner: Log, bootstrap: str, fatal: int) -> None:
        self._inner = inner
        self._bootstrap = bootstrap
        self._fatal = fatal

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def transactional_producer(self, transactional_id: str) -> TransactionalProducer:
        producer = AIOKafkaProducer(bootstrap_servers=self._bootstrap, transactional_id=transactional_id)
        await producer.start()
        return _Doomed(producer, self._fatal)


@asynccontextmanager
async def doomed(bootstrap: str, prefix: str, catalog_id: str, session_ms: int, fatal: int) -> AsyncIterator[Process]:
    """Such a process, killed at the end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(Path(__file__)),
        bootstrap,
        prefix,
        catalog_id,
        str(session_ms),
        str(fatal),
        stdin=DEVNULL,
        env={**os.environ, "PYTHONPATH": ":".join(sys.path)},
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _main(bootstrap: str, prefix: str, catalog_id: str, session_ms: str, fatal: str) -> None:
    host = build_host()
    log: Any = _DoomedLog(await connect(bootstrap), bootstrap, int(fatal))

    async def load_modules(modules: Sequence[tuple[str, bytes]]) -> Any:
        return await check_modules(host, modules)

    around = await surroundings_of(log, Topics(prefix), catalog_id, load_modules)
    await serve_until(asyncio.Event(), around, member_id=catalog_id, session_ms=int(session_ms))


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
