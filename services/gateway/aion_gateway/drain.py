"""Whether this gateway takes new work. It stops when it is told to drain, and does not begin again: the process is replaced.

New work is what would have to be finished elsewhere: deploys, routes, unloads, task queues and starts. Everything
else goes on, until the gateway ends: then every request that it has taken is answered within a time.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aion_common.errors import AionError, Unavailable


class ShuttingDown(AionError):
    """No new work is taken here; nothing was done. Another gateway takes it, or this one's successor."""


class Drain:
    """The switch. Call its methods from the event loop."""

    def __init__(self) -> None:
        self._began: float | None = None
        self._taken: set[asyncio.Timeout] = set()
        self._answered_by: float | None = None

    @property
    def is_on(self) -> bool:
        """Whether new work is refused."""
        return self._began is not None

    def begin(self) -> None:
        """Refuse new work from now on. Harmless to repeat."""
        if self._began is None:
            self._began = asyncio.get_running_loop().time()

    async def lasted(self, ms: int) -> None:
        """Begin, if that has not happened, and return when it was so long ago."""
        self.begin()
        assert self._began is not None, "it has begun"
        await asyncio.sleep(self._began + ms / 1000 - asyncio.get_running_loop().time())

    @asynccontextmanager
    async def taken(self) -> AsyncIterator[None]:
        """Around the work for a request. Raises Unavailable when the time of `answer_within` is over."""
        scope = asyncio.timeout_at(self._answered_by)
        try:
            async with scope:
                self._taken.add(scope)
                yield
        except TimeoutError as error:
            if not scope.expired():
                raise
            raise Unavailable("this gateway ends before the answer is there") from error
        finally:
            self._taken.discard(scope)

    def answer_within(self, ms: int) -> None:
        """The gateway ends: so long what was taken, and what still comes, may take."""
        self._answered_by = asyncio.get_running_loop().time() + ms / 1000
        for scope in self._taken:
            if not scope.expired():
                scope.reschedule(self._answered_by)

    def refuse_new_work(self) -> None:
        """Raise ShuttingDown while draining."""
        if self.is_on:
            raise ShuttingDown(
                "this gateway is draining: it takes no deploys, routes, unloads, task queues and starts any more"
            )
