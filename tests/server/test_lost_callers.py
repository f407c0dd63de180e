"""An answer that meets a connection which is lost, on both event loops."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, cast

import pytest
import uvloop

from aion_common.http_server import _JoinedWrites


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_an_answer_to_somebody_who_has_just_gone_is_dropped(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    with asyncio.Runner(loop_factory=new_loop) as runner:
        assert not runner.run(_answer_nobody())


async def _answer_nobody() -> deque[dict[str, Any]]:
    loop = asyncio.get_running_loop()
    errors = deque[dict[str, Any]]()
    loop.set_exception_handler(lambda _, context: errors.append(context))
    served: asyncio.Future[asyncio.Transport] = loop.create_future()

    class Served(asyncio.Protocol):
        def __init__(self) -> None:
            self.lost = asyncio.Event()

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            served.set_result(cast(asyncio.Transport, transport))

        def connection_lost(self, exc: Exception | None) -> None:
            self.lost.set()

    protocol = Served()
    async with await loop.create_server(lambda: protocol, "127.0.0.1", 0) as server:
        _, caller = await asyncio.open_connection(*server.sockets[0].getsockname())
        transport = await served
        answer = _JoinedWrites(transport)
        transport.abort()
        answer.write(b"late")
        await protocol.lost.wait()
        await asyncio.sleep(0)
        caller.close()
    return errors
