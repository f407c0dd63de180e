"""Keeps child processes running until it is told to stop, then stops them in the opposite order of their start.

A part that dies is started again after a wait that doubles from death to death. Knows nothing of Aion: `stack` says what
the parts are. Nothing here outlives the supervisor, not even when it is killed: see `Program` and `aion_common.service`.
"""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from aion_common import limits
from aion_common.clock import Clock
from aion_common.errors import AionError
from aion_common.processes import send_signal
from aion_common.settings import PARENT_PID


class Part(Protocol):
    """Something that runs in a process of its own and may be started again after its end."""

    @property
    def name(self) -> str:
        """Unique among the parts."""

    @property
    def pid(self) -> int | None:
        """None while it does not run."""

    @property
    def address(self) -> str:
        """host:port, or empty when it does not listen."""

    @property
    def log(self) -> Path:
        """Where its output goes."""

    async def start(self) -> None:
        """Return once it runs; raises `AionError` when it cannot."""

    async def ended(self) -> int:
        """Wait for the end of the process; its exit code, negative for a signal."""

    async def stop(self, wait_ms: int) -> None:
        """Ask it to stop, kill it after `wait_ms`; harmless when it does not run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """One start of a program: the command line, and the host:port it will listen on (empty: on none)."""

    command: Sequence[str]
    address: str = ""


@dataclass(slots=True, kw_only=True)
class Program:
    """A command as a part: `launch` is asked before every start. Standard output and error are appended to `log`.

    The child is in a session of its own, so that Ctrl-C reaches it only through the supervisor, and is told the
    supervisor's pid: `aion_common.service.end_with_parent` ends it when the supervisor is gone.
    """

    name: str
    launch: Callable[[], Launch]
    log: Path
    address: str = ""
    _process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int | None:
        """None before the first start and after an end."""
        return self._process.pid if self._process and self._process.returncode is None else None

    async def start(self) -> None:
        """Start the command; raises `AionError` when there is no such program, or no place for its log."""
        launch = self.launch()
        self.address = launch.address
        try:
            self.log.parent.mkdir(parents=True, exist_ok=True)
            with self.log.open("ab") as output:
                self._process = await asyncio.create_subprocess_exec(
                    *launch.command,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    env={**os.environ, PARENT_PID: str(os.getpid())},
                    start_new_session=True,
                )
        except OSError as error:
            raise AionError(f"{self.name} cannot be started: {error}") from error

    async def ended(self) -> int:
        """The exit code, negative for a signal."""
        assert self._process, f"{self.name} was never started"
        return await self._process.wait()

    async def stop(self, wait_ms: int) -> None:
        """SIGTERM, then SIGKILL after `wait_ms`."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        send_signal(process, signal.SIGTERM)
        try:
            async with asyncio.timeout(wait_ms / 1000):
                await process.wait()
        except TimeoutError:
            send_signal(process, signal.SIGKILL)
            await process.wait()


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """The part runs (again)."""

    part: Part


@dataclass(frozen=True, slots=True, kw_only=True)
class Died:
    """The part ended without being asked, or could not be started again; it will be tried after `again_ms`."""

    part: Part
    reason: str
    again_ms: int


Change = Started | Died
Pause = Callable[[int], Awaitable[None]]


async def sleep_ms(duration_ms: int) -> None:
    """The pause before a restart, as it is outside of tests."""
    await asyncio.sleep(duration_ms / 1000)


def backoff_after(previous_ms: int | None, ran_ms: int) -> int:
    """The wait before the next start, given the wait before the last one (None: the first) and how long it then ran."""
    if previous_ms is None or ran_ms >= limits.RESTART_HEALTHY_MS:
        return limits.RESTART_BACKOFF_MIN_MS
    return min(previous_ms * 2, limits.RESTART_BACKOFF_MAX_MS)


class Supervisor:
    """Runs parts in tiers. Its tasks live in the caller's group; call `stop` before the group is left."""

    def __init__(
        self, group: asyncio.TaskGroup, clock: Clock, on_change: Callable[[Change], None], pause: Pause = sleep_ms
    ) -> None:
        self._group = group
        self._clock = clock
        self._on_change = on_change
        self._pause = pause
        self._tiers: list[Sequence[Part]] = []
        self._keepers: dict[str, asyncio.Task[None]] = {}

    async def start(self, tier: Sequence[Part]) -> None:
        """Start the parts one after the other and keep them running. Raises the `AionError` of a first start."""
        self._tiers.append(tier)
        for part in tier:
            started_at = self._clock.now_ms()
            await part.start()
            self._on_change(Started(part=part))
            self._keepers[part.name] = self._group.create_task(self._keep(part, started_at))

    async def stop(self) -> None:
        """Stop all parts, the last tier first, those of one tier together. Bounded: who does not stop is killed."""
        for tier in reversed(self._tiers):
            keepers = [self._keepers[part.name] for part in tier if part.name in self._keepers]
            for keeper in keepers:
                keeper.cancel()
            if keepers:
                await asyncio.wait(keepers)
            async with asyncio.TaskGroup() as stopping:
                for part in tier:
                    stopping.create_task(part.stop(limits.STOP_WAIT_MS))
        self._tiers.clear()

    async def _keep(self, part: Part, started_at: int) -> None:
        backoff_ms: int | None = None
        reason = _end(await part.ended())
        while True:
            backoff_ms = backoff_after(backoff_ms, self._clock.now_ms() - started_at)
            self._on_change(Died(part=part, reason=reason, again_ms=backoff_ms))
            await self._pause(backoff_ms)
            started_at = self._clock.now_ms()
            try:
                await part.start()
            except AionError as error:
                reason = str(error)
                continue
            self._on_change(Started(part=part))
            reason = _end(await part.ended())


def _end(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"killed by signal {-code}"
