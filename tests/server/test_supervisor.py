"""The supervisor: restarts with back-off, stops in the opposite order, and leaves nobody behind when it is killed."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from aion_common import limits
from aion_common.clock import SystemClock
from aion_common.errors import AionError
from aion_server.supervisor import Launch, Program, Supervisor, backoff_after
from server.scripted import (
    ENDS_AT_ONCE,
    IGNORES_TERM,
    WAITS_FOR_TERM,
    Changes,
    Pauses,
    RefusesToStart,
    program,
    wait_for_end,
)


async def test_dead_part_is_started_again_with_doubling_waits(tmp_path: Path) -> None:
    changes, pauses = Changes(), Pauses(3)
    async with asyncio.TaskGroup() as group:
        supervisor = Supervisor(group, SystemClock(), changes, pauses)
        await supervisor.start([program("brief", ENDS_AT_ONCE, tmp_path)])
        await changes.until(8)
        await supervisor.stop()
    assert changes.words() == [
        "brief started",
        "brief died: exit code 3, again in 200",
        "brief started",
        "brief died: exit code 3, again in 400",
        "brief started",
        "brief died: exit code 3, again in 800",
        "brief started",
        "brief died: exit code 3, again in 1600",
    ]
    assert pauses.noted == [200, 400, 800, 1_600]


async def test_part_that_cannot_be_started_again_is_tried_again(tmp_path: Path) -> None:
    changes = Changes()
    async with asyncio.TaskGroup() as group:
        supervisor = Supervisor(group, SystemClock(), changes, Pauses(2))
        await supervisor.start([RefusesToStart(tmp_path)])
        await changes.until(4)
        await supervisor.stop()
    assert changes.words() == [
        "stubborn started",
        "stubborn died: exit code 1, again in 200",
        "stubborn died: start 2 refused, again in 400",
        "stubborn died: start 3 refused, again in 800",
    ]


def test_backoff_doubles_to_its_maximum_and_is_forgotten_after_a_healthy_while() -> None:
    waits: list[int] = []
    for _ in range(8):
        waits.append(backoff_after(waits[-1] if waits else None, 100))
    assert waits == [200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000]
    assert backoff_after(10_000, limits.RESTART_HEALTHY_MS) == limits.RESTART_BACKOFF_MIN_MS


async def test_first_start_that_fails_is_an_error(tmp_path: Path) -> None:
    missing = Program(name="ghost", launch=lambda: Launch(command=[str(tmp_path / "ghost")]), log=tmp_path / "ghost.log")
    async with asyncio.TaskGroup() as group:
        supervisor = Supervisor(group, SystemClock(), Changes(), Pauses(0))
        with pytest.raises(AionError, match="ghost cannot be started"):
            await supervisor.start([missing])
        await supervisor.stop()


async def test_killed_part_comes_back_with_another_pid(tmp_path: Path) -> None:
    changes = Changes()
    async with asyncio.TaskGroup() as group:
        supervisor = Supervisor(group, SystemClock(), changes, Pauses(1))
        part = program("service", WAITS_FOR_TERM, tmp_path)
        await supervisor.start([part])
        first = part.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        await changes.until(3)
        assert changes.words()[1:3] == ["service died: killed by signal 9, again in 200", "service started"]
        assert part.pid not in (None, first)
        await supervisor.stop()


class Recorded:
    """A part that notes in a shared list when it is started and asked to stop."""

    def __init__(self, name: str, notes: list[str]) -> None:
        self.name, self.notes = name, notes
        self.pid, self.address, self.log = None, "", Path(name)
        self.end = asyncio.Event()

    async def start(self) -> None:
        self.notes.append(f"start {self.name}")

    async def ended(self) -> int:
        await self.end.wait()
        return 0

    async def stop(self, wait_ms: int) -> None:
        self.notes.append(f"stop {self.name}")
        self.end.set()


async def test_parts_stop_in_the_opposite_order_of_their_start() -> None:
    notes: list[str] = []
    changes = Changes()
    async with asyncio.TaskGroup() as group:
        supervisor = Supervisor(group, SystemClock(), changes, Pauses(1))
        for tier in (["broker"], ["catalog"], ["executor-1", "executor-2"], ["gateway"]):
            await supervisor.start([Recorded(name, notes) for name in tier])
        await supervisor.stop()
    assert notes == [
        "start broker",
        "start catalog",
        "start executor-1",
        "start executor-2",
        "start gateway",
        "stop gateway",
        "stop executor-1",
        "stop executor-2",
        "stop catalog",
        "stop broker",
    ]
    assert not [word for word in changes.words() if "died" in word]


async def test_stop_ends_what_just_starts(tmp_path: Path) -> None:
    """A part that is between death and restart when the stop comes does not run afterwards."""
    reached, never = asyncio.Event(), asyncio.Event()

    async def endless_pause(_duration_ms: int) -> None:
        reached.set()
        await never.wait()

    part = program("brief", ENDS_AT_ONCE, tmp_path)
    async with asyncio.TaskGroup() as group:
        supervisor = Supervisor(group, SystemClock(), Changes(), endless_pause)
        await supervisor.start([part])
        await reached.wait()
        await supervisor.stop()
    assert part.pid is None


async def up(log: Path, process_pid: int) -> None:
    """Wait until the scripted child has said that it is up; its log is a file, so this polls the process's own word."""
    async with asyncio.timeout(30):
        while b"up" not in await asyncio.to_thread(log.read_bytes):
            os.kill(process_pid, 0)


async def test_stop_asks_first(tmp_path: Path) -> None:
    part = program("polite", WAITS_FOR_TERM, tmp_path)
    await part.start()
    assert part.pid is not None
    await up(part.log, part.pid)
    await part.stop(wait_ms=30_000)
    assert await part.ended() == 0
    assert part.log.read_text() == "up\nasked to stop\n"


async def test_who_does_not_stop_in_time_is_killed(tmp_path: Path) -> None:
    part = program("deaf", IGNORES_TERM, tmp_path)
    await part.start()
    assert part.pid is not None
    await up(part.log, part.pid)
    await part.stop(wait_ms=1)
    assert await part.ended() == -signal.SIGKILL


async def test_stop_without_start_and_a_second_stop_are_harmless(tmp_path: Path) -> None:
    part = program("polite", WAITS_FOR_TERM, tmp_path)
    await part.stop(wait_ms=1)
    await part.start()
    await part.stop(wait_ms=30_000)
    await part.stop(wait_ms=1)
    assert part.pid is None


SUPERVISES = """
import asyncio, pathlib, sys
from aion_common.clock import SystemClock
from aion_server.supervisor import Supervisor
from server.scripted import WAITS_FOR_TERM, Changes, program

async def main(folder):
    async with asyncio.TaskGroup() as group:
        supervisor = Supervisor(group, SystemClock(), Changes())
        parts = [program(f"child-{n}", WAITS_FOR_TERM, folder) for n in range(3)]
        await supervisor.start(parts)
        while not all(b"up" in part.log.read_bytes() for part in parts):
            await asyncio.to_thread(lambda: None)
        print(*(part.pid for part in parts), flush=True)
        await asyncio.Event().wait()

asyncio.run(main(pathlib.Path(sys.argv[1])))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no parent-death signal")
def test_children_end_when_the_supervisor_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SUPERVISES, str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as supervisor:
        assert supervisor.stdout is not None
        pids = [int(word) for word in supervisor.stdout.readline().split()]
        assert len(pids) == 3
        supervisor.kill()
    assert [pid for pid in pids if not wait_for_end(pid)] == []
