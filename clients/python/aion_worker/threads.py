"""Threads for activities that are not `async`. They are kept and used again, and end with the process whatever runs in them.

Python's own pool waits for its threads when the process ends; an activity that never returns would keep a worker alive.
"""

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import Any

Deliver = Callable[[Any, BaseException | None], None]
Call = tuple[Callable[[], Any], Deliver]


class Threads:
    """As many threads as calls were ever under way at once: whoever calls bounds it."""

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[Call | None] = queue.SimpleQueue()
        self._threads = 0
        self._busy = 0

    async def call(self, function: Callable[[], Any]) -> Any:
        """What the function returns or raises. Cancelled, it returns at once, and the function goes on in its thread."""
        loop = asyncio.get_running_loop()
        done = loop.create_future()

        def settle(value: Any, error: BaseException | None) -> None:
            self._busy -= 1
            if not done.done():
                done.set_result((value, error))

        def deliver(value: Any, error: BaseException | None) -> None:
            try:
                loop.call_soon_threadsafe(settle, value, error)
            except RuntimeError:
                return  # the loop is closed: the worker has ended without this call

        self._busy += 1
        if self._busy > self._threads:
            self._threads += 1
            threading.Thread(target=_work, args=(self._calls,), name=f"activity-{self._threads}", daemon=True).start()
        self._calls.put((function, deliver))
        value, error = await done
        if error is not None:
            raise error
        return value

    def close(self) -> None:
        """Idle threads end, others after their call."""
        for _ in range(self._threads):
            self._calls.put(None)


def _work(calls: "queue.SimpleQueue[Call | None]") -> None:
    while (call := calls.get()) is not None:
        function, deliver = call
        try:
            value = function()
        except BaseException as error:  # raised again where the call is awaited
            deliver(None, error)
        else:
            deliver(value, None)
        del call, function, deliver
