"""Worker processes for the tests, to be killed and stopped; and who answers their activities."""

import asyncio
import os
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aion_common.records.tasks import Task
from support import eventually
from worker.queue import QUEUE, Queue

ACTIVITIES = "worker.kafka_activities"


class Answers:
    """Every `ask` connects here: `asked` has their names, and none is answered before `open`."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._open = asyncio.Event()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._answer, "127.0.0.1", 0)

    @property
    def port(self) -> int:
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    def task(self, queue: Queue, name: str, activity_type: str = "ask", **changes: Any) -> Task:
        """A task that asks under this name."""
        return queue.task(activity_type, {"port": self.port, "name": name}, **changes)

    def open(self) -> None:
        self._open.set()

    def close(self) -> None:
        """From here on whoever asks waits."""
        self._open.clear()

    async def stop(self) -> None:
        self._open.set()
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        name = (await reader.readline()).decode().strip()
        self.asked.append(name)
        await self._open.wait()
        try:
            writer.write(f"{name}\n".encode())
            await writer.drain()
        except ConnectionError:
            return  # its worker was killed
        finally:
            writer.close()


@asynccontextmanager
async def answering() -> AsyncIterator[Answers]:
    """Somebody who is asked, until the end of the block."""
    answers = Answers()
    await answers.start()
    try:
        yield answers
    finally:
        await answers.stop()


class WorkerProcess:
    """`log`: what it says, JSON lines."""

    def __init__(self, process: Process, log: Path) -> None:
        self._process = process
        self.log = log

    async def ready(self) -> None:
        """Waits until it takes part."""
        await eventually(lambda: self._process.returncode is not None or "partitions taken" in self.log.read_text())
        assert self._process.returncode is None, self.log.read_text()

    def terminate(self) -> None:
        self._process.terminate()

    async def ended(self) -> int:
        async with asyncio.timeout(60):
            return await self._process.wait()

    async def kill(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()


@asynccontextmanager
async def worker_process(bootstrap: str, queue: Queue, log: Path, *options: str) -> AsyncIterator[WorkerProcess]:
    """`aion worker` on this queue, killed at the end."""
    async with running(worker_command(bootstrap, queue, *options), log) as worker:
        yield worker


def worker_command(bootstrap: str, queue: Queue, *options: str) -> list[str]:
    """`aion worker` on this queue."""
    program = [sys.executable, "-c", "from aion_cli.app import main; main()", "worker", ACTIVITIES]
    return [*program, "--bootstrap", bootstrap, "--queue", QUEUE, "--prefix", queue.prefix, *options]


@asynccontextmanager
async def running(command: Sequence[str], log: Path) -> AsyncIterator[WorkerProcess]:
    """Any worker, whose output goes to the log."""
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, "PYTHONPATH": ":".join(sys.path)},
        )
    worker = WorkerProcess(process, log)
    try:
        yield worker
    finally:
        await worker.kill()
