"""An event loop in virtual time for many processes in one: which of them runs next, and for how long, is drawn from a seed.

Services are run as they are, so that every `await` of theirs is a place where others may come between, or where they may
die. Within a process callbacks run in order, as in a real loop; between processes any order may happen. Nothing here reads
a clock, waits for a descriptor, or depends on addresses in memory (tasks and futures hash by number).
"""

import asyncio
import heapq
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from random import Random
from typing import Any, cast

PROCESS: ContextVar["Process"] = ContextVar("process")

STEP_MS = 0.05
"""What a callback takes on average."""


class Numbered:
    """Hands out numbers, for hashes that are the same in every run."""

    def __init__(self) -> None:
        self.last = 0

    def next(self) -> int:
        """The next one."""
        self.last += 1
        return self.last


class _Future(asyncio.Future[Any]):
    def __init__(self, loop: "VirtualLoop") -> None:
        super().__init__(loop=cast(asyncio.AbstractEventLoop, loop))
        self._number = loop.numbers.next()

    def __hash__(self) -> int:
        return self._number


class _Task(asyncio.Task[Any]):
    # Python 3.11 hashes by address, so the order of a set of tasks would differ from run to run.
    def __init__(self, coroutine: Coroutine[Any, Any, Any], loop: "VirtualLoop", name: str | None, context: Context) -> None:
        self._hash = loop.numbers.next()
        super().__init__(coroutine, loop=cast(asyncio.AbstractEventLoop, loop), name=name or "task", context=context)

    def __hash__(self) -> int:
        return self._hash


class Handle:
    """A callback that is to run."""

    __slots__ = ("args", "callback", "context", "is_cancelled", "process")

    def __init__(self, callback: Callable[..., object], args: tuple[Any, ...], context: Context) -> None:
        self.callback = callback
        self.args = args
        self.context = context
        self.process: Process = context[PROCESS]
        self.is_cancelled = False

    def cancel(self) -> None:
        """Never run it."""
        self.is_cancelled = True

    def cancelled(self) -> bool:
        """Whether it was cancelled."""
        return self.is_cancelled


class Process:
    """Something that runs, stands still or has ended, with all its tasks. `is_plugged` False: it has died, and whatever it
    still does happens in a world of its own."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_plugged = True
        self.is_paused = False
        self.main: asyncio.Task[Any] | None = None
        self.ready: deque[Handle] = deque()
        self.context = copy_context()
        self.context.run(PROCESS.set, self)

    @property
    def is_running(self) -> bool:
        """Whether it may do something."""
        return self.main is not None and not self.main.done()


class VirtualLoop:
    """The part of `asyncio.AbstractEventLoop` that asyncio's own tasks, timers, queues and groups need."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.numbers = Numbered()
        self.now = 0.0
        self.steps = 0
        self.failures: list[str] = []
        self._processes: list[Process] = []
        self._timers: list[tuple[float, int, Handle]] = []

    # For the world.

    def spawn(self, name: str, make: Callable[[Process], Coroutine[Any, Any, None]]) -> Process:
        """Start a process whose main task is what `make` returns."""
        process = Process(name)
        self._processes = [known for known in self._processes if known.is_running or known.ready]
        self._processes.append(process)
        process.main = process.context.run(lambda: _Task(make(process), self, name, process.context))
        process.main.add_done_callback(_hear, context=process.context)
        return process

    def kill(self, process: Process) -> None:
        """The process dies here and now: nothing it does is seen any more. It is wound up, unseen, in its own time."""
        process.is_plugged = False
        process.is_paused = False
        self.stop(process)

    def stop(self, process: Process) -> None:
        """Tell the process to end."""
        if process.main is not None:
            process.main.cancel()

    def run(self, steps: int, until_ms: float) -> bool:
        """Run at most so many callbacks and milliseconds; returns whether something is left to do."""
        end = self.now + until_ms / 1000
        last = self.steps + steps
        running = events._get_running_loop()
        events._set_running_loop(cast(asyncio.AbstractEventLoop, self))
        try:
            while self.steps < last and self.now <= end:
                if not self._step(end):
                    return False
        finally:
            events._set_running_loop(running)
        return True

    def end_all(self) -> None:
        """End every process, unseen: so that no task is left pending."""
        for process in self._processes:
            if process.is_running:
                self.kill(process)
        while any(process.is_running for process in self._processes) and self.run(1_000, 1_000):
            pass

    def _step(self, end: float) -> bool:
        timers = self._timers
        while timers and timers[0][0] <= self.now:
            handle = heapq.heappop(timers)[2]
            if not handle.is_cancelled:
                handle.process.ready.append(handle)
        able = [process for process in self._processes if process.ready and not process.is_paused]
        if not able:
            while timers and (timers[0][2].is_cancelled or timers[0][2].process.is_paused):
                handle = heapq.heappop(timers)[2]
                if not handle.is_cancelled:
                    handle.process.ready.append(handle)
            if not timers:
                return False
            self.now = max(self.now, min(timers[0][0], end + 1e-9))
            return True
        process = able[0] if len(able) == 1 else able[int(self.random.random() * len(able))]
        handle = process.ready.popleft()
        if not handle.is_cancelled:
            self.steps += 1
            self.now += self.random.random() * (STEP_MS / 500)
            handle.context.run(handle.callback, *handle.args)
        return True

    def passes(self, ms: float) -> asyncio.Future[None]:
        """Done when so much time has passed."""
        future: asyncio.Future[None] = self.create_future()
        self.call_later(ms / 1000, _finish, future)
        return future

    # For asyncio.

    def time(self) -> float:
        """Seconds since the world began."""
        return self.now

    def get_debug(self) -> bool:
        """No."""
        return False

    def call_soon(self, callback: Callable[..., object], *args: Any, context: Context | None = None) -> Handle:
        """Run it in its process, behind what waits there."""
        handle = Handle(callback, args, context or copy_context())
        handle.process.ready.append(handle)
        return handle

    def call_later(self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None) -> Handle:
        """Run it so many seconds from now."""
        return self.call_at(self.now + delay, callback, *args, context=context)

    def call_at(self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None) -> Handle:
        """Run it at that time."""
        handle = Handle(callback, args, context or copy_context())
        heapq.heappush(self._timers, (when, self.numbers.next(), handle))
        return handle

    def create_future(self) -> asyncio.Future[Any]:
        """A future of this loop."""
        return _Future(self)

    def create_task(
        self, coroutine: Coroutine[Any, Any, Any], *, name: str | None = None, context: Context | None = None
    ) -> asyncio.Task[Any]:
        """A task in the process of whoever asks."""
        return _Task(coroutine, self, name, context or copy_context())

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """What asyncio could tell nobody."""
        self.failures.append(f"{context.get('message')}: {context.get('exception')!r}")


def _hear(main: asyncio.Task[None]) -> None:
    """Whoever wants to know asks again; a process that died has nobody who does."""
    if not main.cancelled():
        main.exception()


def _finish(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
