"""Which event loop the processes run on that are Aion's own: services, `aion worker`, the load of the benchmarks.

It is uvloop's where that is installed, which takes less CPU for each message. Programs that embed a worker or a client in a
loop of their own, and the tests, are not asked.
"""

import asyncio
from collections.abc import Callable

TICK_S = 0.001
"""uvloop counts whole milliseconds: its timers ring up to so much too early."""


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """For `asyncio.Runner`. None, which means asyncio's own loop, where there is no uvloop: it does not exist for Windows."""
    try:
        import uvloop  # noqa: PLC0415 - see above, and who does not ask does not load it
    except ImportError:
        return None
    return uvloop.new_event_loop
