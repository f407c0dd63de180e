"""The time, as a value that shells carry in: milliseconds since the epoch."""

import time
from typing import Protocol


class Clock(Protocol):
    """Where a shell takes the time from; the core is told it."""

    def now_ms(self) -> int:
        """Milliseconds since the epoch."""


class SystemClock:
    """The machine's clock."""

    def now_ms(self) -> int:
        """Milliseconds since the epoch."""
        return time.time_ns() // 1_000_000
