"""The time, as a value that shells carry in: milliseconds since the epoch."""

import time
from typing import Protocol


class Clock(Protocol):
    """Where a shell takes the time from; the core is told it."""

    def now_ms(self) -> int:
        """Milliseconds since the epoch."""


class SystemClock:
    """The machine's clock, made to run forward only: when the machine's is set back, this one goes on a tenth slower until
    they agree, so that waits which are measured by it end."""

    def __init__(self) -> None:
        self._read_ns = time.monotonic_ns()
        self._ahead_ns = time.time_ns() - self._read_ns

    def now_ms(self) -> int:
        """Milliseconds since the epoch."""
        running_ns = time.monotonic_ns()
        slower_ns = self._ahead_ns - (running_ns - self._read_ns) // 10
        self._ahead_ns = max(slower_ns, time.time_ns() - running_ns)
        self._read_ns = running_ns
        return (running_ns + self._ahead_ns) // 1_000_000
