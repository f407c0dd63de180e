"""Wakes a partition that nothing else has woken: it is set anew with each step, and seldom rings.

So a timer that is not needed any more is left alone, and looks for the present time of the alarm when it goes off.
"""

import asyncio
from collections.abc import Callable

_EARLY_S = 0.0005
"""uvloop counts time in whole milliseconds, and calls at once what is less than half of one away: to wait for the rest would
be to spin."""


class Alarm:
    """For one event loop. `ring` is called by it, not earlier than half a millisecond before the time."""

    def __init__(self, ring: Callable[[], None]) -> None:
        self._ring = ring
        self._at = 0.0
        self._timer: asyncio.Handle | None = None
        self._timer_at = 0.0

    def set(self, pause_s: float) -> None:
        """Ring so much later, and not at the time that was set before."""
        self._at = asyncio.get_running_loop().time() + pause_s
        if self._timer is None or self._timer_at > self._at:
            self.cancel()
            self._start_timer()

    def cancel(self) -> None:
        """Ring no more until it is set again. Harmless to repeat."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _start_timer(self) -> None:
        self._timer_at = self._at
        self._timer = asyncio.get_running_loop().call_at(self._at, self._look)

    def _look(self) -> None:
        self._timer = None
        if asyncio.get_running_loop().time() > self._at - _EARLY_S:
            self._ring()
        else:
            self._start_timer()
