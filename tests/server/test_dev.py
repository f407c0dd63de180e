"""`aion-server dev` as a whole, with its real broker: what dies comes back, and nobody outlives it."""

import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from aion_server.supervisor import Launch, Program
from server.scripted import wait_for_end
from support import eventually

SERVICES = ("broker", "catalog", "executor-1", "gateway")


@asynccontextmanager
async def dev(folder: Path) -> AsyncIterator[Program]:
    """A `dev` on free ports, killed at the end if it still runs."""
    command = [sys.executable, "-m", "aion_server", "dev", "--data-dir", str(folder), "--http-port", "0"]
    command += ["--kafka-port", "0", "--partitions", "2", "--queue", "mail:1"]
    server = Program(name="dev", launch=lambda: Launch(command=command), log=folder / "dev.log")
    await server.start()
    try:
        yield server
    finally:
        await server.stop(wait_ms=30_000)


def pids(folder: Path) -> Mapping[str, int]:
    """Who runs now, by the stack's own file."""
    try:
        stack = json.loads((folder / "stack.json").read_text())
    except FileNotFoundError:
        return {}
    return {name: part["pid"] for name, part in stack.items() if part["pid"] is not None}


async def all_up(folder: Path, besides: Mapping[str, int]) -> Mapping[str, int]:
    """Every service's pid, once all run and none is one of the former ones given."""

    def found() -> Mapping[str, int]:
        now = pids(folder)
        fresh = all(now.get(name) not in (None, besides.get(name)) for name in SERVICES)
        return now if fresh else {}

    return await eventually(found, within_s=90)


async def queues(folder: Path) -> object:
    """Those that the gateway lists."""
    address = json.loads((folder / "stack.json").read_text())["gateway"]["address"]
    async with httpx.AsyncClient(timeout=30) as client:
        return (await client.get(f"http://{address}/v1/queues")).json()


async def ready(folder: Path) -> bool:
    """Whether the gateway says that a start would work."""
    address = json.loads((folder / "stack.json").read_text())["gateway"]["address"]
    async with httpx.AsyncClient(timeout=5) as client:
        try:
            return (await client.get(f"http://{address}/readyz")).status_code == httpx.codes.OK
        except httpx.TransportError:
            return False


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no parent-death signal")
async def test_what_dies_comes_back_nobody_outlives_dev_and_the_data_serve_again(tmp_path: Path) -> None:
    async with dev(tmp_path) as server:
        first = await all_up(tmp_path, besides={})
        await eventually(lambda: ready(tmp_path), within_s=90)
        both = [{"name": "default", "partitions": 2}, {"name": "mail", "partitions": 1}]
        assert await queues(tmp_path) == {"queues": both}
        for name in SERVICES:
            os.kill(first[name], signal.SIGKILL)
        second = await all_up(tmp_path, besides=first)
        await eventually(lambda: ready(tmp_path), within_s=90)
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        assert await server.ended() == -signal.SIGKILL
        assert [name for name, pid in second.items() if not wait_for_end(pid)] == []
    async with dev(tmp_path) as server:
        third = await all_up(tmp_path, besides=second)
        await eventually(lambda: ready(tmp_path), within_s=90)
    assert await server.ended() == 0
    assert [name for name, pid in third.items() if not wait_for_end(pid)] == []
    assert not (tmp_path / "stack.json").exists()
