"""Serving an ASGI app inside a service process, on a socket that was bound before anything depends on its address.

Signals stay with `aion_common.service`, which sets `stop`; requests that run then have a bounded time to finish.
"""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import structlog
import uvicorn
from starlette.applications import Starlette

from aion_common.errors import AionError
from aion_common.limits import HTTP_STOP_MS

log = structlog.get_logger(__name__)

KEEP_ALIVE_S = 75
"""Longer than clients and load balancers keep idle connections: they should close them, not we while they send."""


BACKLOG = 2_048
"""Connections that wait to be accepted."""


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextmanager
def listening(host: str, port: int) -> Iterator[tuple[socket.socket, str]]:
    """A listening socket and its address as host:port; port 0 takes any free one. Raises AionError.

    It names its protocol, because asyncio switches Nagle's algorithm off only for sockets that do: without, an answer of two
    writes waits 40 ms for the other side's delayed acknowledgement.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host, port))
            listener.listen(BACKLOG)
        except OSError as error:
            raise AionError(f"cannot listen on {host}:{port} ({error.strerror}); choose another port") from error
        address = f"{host}:{listener.getsockname()[1]}"
        log.info("listening", address=address)
        yield listener, address


async def serve_http(app: Starlette, listener: socket.socket, stop: asyncio.Event) -> None:
    """Serve until `stop` is set and what runs then is done, or HTTP_STOP_MS are over."""
    config = uvicorn.Config(
        app,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=HTTP_STOP_MS // 1000,
    )
    server = _Server(config)

    async def stop_it() -> None:
        await stop.wait()
        server.should_exit = True

    async with asyncio.TaskGroup() as tasks:
        stopping = tasks.create_task(stop_it(), name="stop of http")
        await server.serve(sockets=[listener])
        stopping.cancel()
