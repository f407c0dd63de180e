"""Calls at a time that is seldom reached: what is over by the event loop's next turn, as most attempts are, costs no timer."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(slots=True)
class Deadline:
    """Made by `Deadlines`. `at`: in seconds of the event loop's clock."""

    at: float
    call: Callable[[], None]
    timer: asyncio.TimerHandle | None = None
    is_over: bool = False

    def end(self) -> None:
        """The call is not wanted any more. Harmless when it has been made, and when repeated."""
        self.is_over = True
        if self.timer is not None:
            self.timer.cancel()


class Deadlines:
    """For one event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._new: list[Deadline] = []

    def begin(self, seconds: float, call: Callable[[], None]) -> Deadline:
        """Have it called so much later, but not before the next turn."""
        deadline = Deadline(self._loop.time() + seconds, call)
        if not self._new:
            self._loop.call_soon(self._set_timers)
        self._new.append(deadline)
        return deadline

    def _set_timers(self) -> None:
        for deadline in self._new:
            if not deadline.is_over:
                deadline.timer = self._loop.call_at(deadline.at, deadline.call)
        self._new.clear()
