"""Serving an ASGI app inside a service process, on a socket that was bound before anything depends on its address.

What is no HTTP, or has a head without end, is refused here with a problem like any other bad input.

Signals stay with `aion_common.service`, which sets `stop`; requests that run then have a bounded time to finish.
"""

import asyncio
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import structlog
import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from aion_common.errors import AionError
from aion_common.limits import BODY_DRAINED_BYTES_MAX, HTTP_HEAD_BYTES_MAX, HTTP_JOINED_BYTES_MAX, HTTP_STOP_MS
from aion_common.problems import PROBLEM_JSON, problem
from aion_common.records.replies import RejectionCode

log = structlog.get_logger(__name__)

KEEP_ALIVE_S = 75
"""Longer than clients and load balancers keep idle connections: they should close them, not we while they send."""

_TOO_LARGE = "the head of the request is too large"

BACKLOG = 2_048
"""Connections that wait to be accepted."""


class _JoinedWrites:
    """A transport that writes what comes in one turn of the event loop at once: head and body of an answer are one packet, and
    one wake-up of whoever waits for it."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._waiting: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, content: bytes) -> None:
        """See asyncio."""
        if not self._waiting:
            self._loop.call_soon(self._flush)
        self._waiting.append(content)
        if len(content) >= HTTP_JOINED_BYTES_MAX:
            self._flush()

    def close(self) -> None:
        """See asyncio."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._waiting:
            content, self._waiting = b"".join(self._waiting), []
            # The other side may have gone meanwhile. uvloop's transports raise when they are written to then.
            if not self._transport.is_closing():
                self._transport.write(content)


class Protocol(HttpToolsProtocol):
    """One connection. `_head_bytes`: of the request that comes; `_held_bytes`: what the parser took and gave nothing for;
    `_unread_bytes`: of its body, behind the end of its answer."""

    _head_bytes = 0
    _held_bytes = 0
    _unread_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See asyncio."""
        super().connection_made(cast(asyncio.Transport, _JoinedWrites(transport)))

    def data_received(self, data: bytes) -> None:
        """See asyncio."""
        self._held_bytes += len(data)
        super().data_received(data)
        if self._held_bytes > HTTP_HEAD_BYTES_MAX and not self.transport.is_closing():
            self.send_400_response(_TOO_LARGE)

    def on_message_begin(self) -> None:
        """A request begins."""
        self._head_bytes = self._unread_bytes = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """A piece of the request's target."""
        self._take_of_head(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or a trailer behind the body."""
        self._take_of_head(len(name) + len(value))
        super().on_header(name, value)

    def on_body(self, body: bytes) -> None:
        """A piece of the body. Who goes on with it for long after the answer is cut off."""
        self._held_bytes = 0
        super().on_body(body)
        if self.cycle.response_complete:
            self._unread_bytes += len(body)
            if self._unread_bytes > BODY_DRAINED_BYTES_MAX:
                self.transport.close()

    def on_message_complete(self) -> None:
        """The request is there."""
        self._held_bytes = 0
        super().on_message_complete()

    def _take_of_head(self, size: int) -> None:
        """What is raised here the parser makes one of its own errors."""
        self._held_bytes = 0
        self._head_bytes += size
        if self._head_bytes > HTTP_HEAD_BYTES_MAX:
            raise ValueError(_TOO_LARGE)

    def send_400_response(self, msg: str) -> None:
        """Refuse what cannot be read, and close the connection."""
        status, body = problem(RejectionCode.INVALID_ARGUMENT, f"request: {msg}", field="request")
        content = json.dumps(body).encode()
        head = f"HTTP/1.1 {status} Bad Request\r\ncontent-type: {PROBLEM_JSON}\r\ncontent-length: {len(content)}\r\n"
        self.transport.write(head.encode() + b"connection: close\r\n\r\n" + content)
        self.transport.close()


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
        http=Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
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
