"""A connection of the hot path to one broker: it carries the two requests of `requests`, produce and fetch, and nothing else.

A broker answers the requests of a connection in their order, so a line needs no task and no stream: an answer is decoded in the
event loop's call that brings its last byte, and whoever waits for it goes on in the next one. Called by `brokers`, whose other
requests go over aiokafka's connections.
"""

import asyncio
import struct
from collections import deque
from typing import NamedTuple, Self, cast

from aion_common import limits
from aion_common.kafka.requests import CARRIED, Request, VersionsRequest, client_id_of, framed, number_of, size_of

_SIZE_BYTES = 4

_NUMBER_MAX = 2**31 - 1


class LineLost(Exception):
    """The connection has ended, by either side: what was asked may have been done, or not."""


class _Asked(NamedTuple):
    number: int
    request: Request
    answer: asyncio.Future[object]
    until: float


class Line(asyncio.Protocol):
    """Open from `open` until either side ends it. `request_ms`: how long an answer may take, else the line is lost."""

    def __init__(self, client_id: str, request_ms: int) -> None:
        self._client_id = client_id_of(client_id)
        self._request_s = request_ms / 1000
        self._events = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._asked: deque[_Asked] = deque()
        self._number = 0
        self._alarm: asyncio.TimerHandle | None = None

    @classmethod
    async def open(cls, host: str, port: int, client_id: str, request_ms: int) -> Self:
        """A line to a broker that speaks our versions. Raises OSError and LineLost."""
        line = cls(client_id, request_ms)
        await line._events.create_connection(lambda: line, host, port)
        try:
            versions = cast(dict[int, tuple[int, int]], await line.ask(VersionsRequest()))
            for request in CARRIED:
                first, last = versions.get(request.API_KEY, (0, -1))
                if not first <= request.API_VERSION <= last:
                    raise LineLost(f"{request.__name__} version {request.API_VERSION}: the broker has {first} to {last}")
        except BaseException:
            line.close()
            raise
        return line

    @property
    def is_open(self) -> bool:
        """Whether something may be asked."""
        return self._transport is not None and not self._transport.is_closing()

    def ask(self, request: Request) -> asyncio.Future[object]:
        """What the broker answers. Fails with LineLost. Who cancels it does not keep the broker from doing what was asked."""
        answer = self._events.create_future()
        # uvloop's transports raise when they are written to after their loss, of which this may hear some turns later.
        if self._transport is None or self._transport.is_closing():
            answer.set_exception(LineLost("the line is closed"))
            return answer
        self._number = (self._number + 1) & _NUMBER_MAX
        asked = _Asked(self._number, request, answer, self._events.time() + self._request_s)
        content = framed(request, asked.number, self._client_id)
        self._asked.append(asked)
        self._transport.write(content)
        if self._alarm is None:
            self._alarm = self._events.call_at(asked.until, self._look_at_the_time)
        return answer

    def close(self) -> None:
        """End it at once. A repeat is harmless."""
        self._lose("the line is closed")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        self._lose("the broker ended the connection" if exc is None else repr(exc))

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        self._buffer += data
        begin = 0
        while self._transport is not None and len(self._buffer) - begin >= _SIZE_BYTES:
            size = size_of(self._buffer, begin)
            if not 0 <= size <= limits.ANSWER_BYTES_MAX:
                self._lose(f"an answer of {size} bytes")
                return
            end = begin + _SIZE_BYTES + size
            if len(self._buffer) < end:
                break
            self._take(bytes(memoryview(self._buffer)[begin + _SIZE_BYTES : end]))
            begin = end
        del self._buffer[:begin]

    def _take(self, content: bytes) -> None:
        """Of an answer that nobody waits for any more only the place counts."""
        asked = self._asked[0] if self._asked else None
        if asked is None or number_of(content) != asked.number:
            self._lose("an answer that nobody asked for")
            return
        if not asked.answer.done():
            try:
                asked.answer.set_result(asked.request.decode(content))
            except (struct.error, IndexError, UnicodeDecodeError) as error:
                self._lose(f"an answer that cannot be read: {error!r}")
                return
        self._asked.popleft()

    def _look_at_the_time(self) -> None:
        """One alarm for all that was asked: answers come in order, so the oldest is the one that may be late."""
        self._alarm = None
        if not self._asked:
            return
        if self._events.time() >= self._asked[0].until:
            self._lose("the broker did not answer in time")
        else:
            self._alarm = self._events.call_at(self._asked[0].until, self._look_at_the_time)

    def _lose(self, reason: str) -> None:
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.abort()
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        self._buffer.clear()
        asked, self._asked = self._asked, deque()
        for one in asked:
            if not one.answer.done():
                one.answer.set_exception(LineLost(reason))
