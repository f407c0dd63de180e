"""The queries of one VM that have no answer yet.

A query ends in one of three ways: an answer, the end of its activation, or its caller loses interest; in the last case it
still counts until the VM has answered, so that what a VM holds is bounded. Called by the pool.
"""

import asyncio
from dataclasses import dataclass, field

from aion_beam.frames import Queried, Query, QueryAnswer, QueryFailed
from aion_common.errors import VmDied
from aion_common.limits import QUERIES_WAITING_MAX


@dataclass(slots=True)
class Queries:
    """See the module."""

    _futures: dict[int, asyncio.Future[QueryAnswer]] = field(default_factory=dict)
    _of: dict[int, set[int]] = field(default_factory=dict)
    _newest: int = 0

    def ask(self, activation: int, name: str, arguments: bytes) -> tuple[asyncio.Future[QueryAnswer], Query | None]:
        """The future of the answer, and what to send; nothing when there are too many: the future has failed then."""
        future: asyncio.Future[QueryAnswer] = asyncio.get_running_loop().create_future()
        if len(self._futures) >= QUERIES_WAITING_MAX:
            future.set_result(QueryFailed(message=f"{QUERIES_WAITING_MAX} queries wait for this version's VM already"))
            return future, None
        self._newest = number = self._newest + 1
        self._futures[number] = future
        self._of.setdefault(activation, set()).add(number)
        return future, Query(activation=activation, query=number, name=name, arguments=arguments)

    def answered(self, queried: Queried) -> None:
        """The VM's answer. One that comes after the end of its activation is nobody's."""
        future = self._futures.pop(queried.query, None)
        if future is None:
            return
        its = self._of[queried.activation]
        its.remove(queried.query)
        if not its:
            del self._of[queried.activation]
        if not future.done():
            future.set_result(queried.answer)

    def end(self, activation: int) -> None:
        """The activation is over: its queries fail."""
        for number in self._of.pop(activation, ()):
            future = self._futures.pop(number)
            if not future.done():
                future.set_exception(gone())
                # Its caller may be gone, too.
                future.exception()


def gone() -> VmDied:
    """Why a query of an activation that is over fails."""
    return VmDied("the run is not in the VM any more")
