"""A line to a broker that is played here: answers in pieces, late, wrong, or none."""

import asyncio
import struct
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

import pytest

from aion_common.kafka.line import Line, LineLost
from aion_common.kafka.requests import FetchRequest

VERSIONS = struct.pack(">hi", 0, 2) + struct.pack(">hhhhhh", 0, 3, 11, 1, 4, 17)
NOTHING = struct.pack(">ihii", 0, 0, 0, 0)
"""What a broker answers to a fetch of no partition, behind the number."""

Reply = Callable[[int], Iterable[bytes]]
"""The pieces that are written for the request of this number."""


def framed(number: int, body: bytes) -> bytes:
    """An answer."""
    return struct.pack(">ii", 4 + len(body), number) + body


def nothing(number: int) -> Iterable[bytes]:
    """At once."""
    return [framed(number, NOTHING)]


def fetch() -> FetchRequest:
    """Of nothing."""
    return FetchRequest("t", {}, wait_ms=0, bytes_max=1, partition_bytes_max=1)


@asynccontextmanager
async def line_to(reply: Reply, *, versions: bytes = VERSIONS, request_ms: int = 60_000) -> AsyncIterator[Line]:
    """A line to a broker that answers so."""

    ended: list[asyncio.Future[None]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        end: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        ended.append(end)
        try:
            while True:
                (size,) = struct.unpack(">i", await reader.readexactly(4))
                key, _, number = struct.unpack_from(">hhi", await reader.readexactly(size))
                pieces = [framed(number, versions)] if key == 18 else reply(number)
                for piece in pieces:
                    if not piece:
                        writer.close()
                        return
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()
        finally:
            end.set_result(None)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    line: Line | None = None
    try:
        line = await Line.open(host, port, "aion-test", request_ms)
        yield line
    finally:
        if line is not None:
            line.close()
        server.close()
        await asyncio.gather(*ended)


async def test_answers_come_whole_whatever_the_pieces() -> None:
    async with line_to(lambda number: [bytes([byte]) for byte in framed(number, NOTHING)]) as line:
        first, second = line.ask(fetch()), line.ask(fetch())
        assert await second == (0, [])
        assert await first == (0, [])
        assert line.is_open


async def test_several_answers_in_one_piece_go_to_those_who_asked() -> None:
    def at_last(number: int) -> Iterable[bytes]:
        return [b"".join(framed(each, NOTHING) for each in (number - 1, number))] if number == 3 else []

    async with line_to(at_last) as line:
        first, second = line.ask(fetch()), line.ask(fetch())
        assert await second == (0, [])
        assert first.result() == (0, [])


async def test_an_answer_nobody_waits_for_any_more_keeps_its_place() -> None:
    def when_asked_again(number: int) -> Iterable[bytes]:
        return [] if number == 2 else [framed(2, NOTHING), framed(3, NOTHING)]

    async with line_to(when_asked_again) as line:
        line.ask(fetch()).cancel()
        assert await line.ask(fetch()) == (0, [])


@pytest.mark.parametrize(
    "pieces",
    [
        lambda number: [framed(number + 1, NOTHING)],
        lambda number: [framed(number, b"")],
        lambda number: [struct.pack(">i", -1)],
        lambda number: [struct.pack(">i", 2**30)],
        lambda number: [struct.pack(">i", 0)],
        lambda number: [framed(number, NOTHING)[:9], b""],
        lambda number: [b""],
    ],
    ids=["other number", "cut short", "negative size", "huge", "no number", "ends within", "ends"],
)
async def test_a_line_that_says_nonsense_or_ends_is_lost_and_everybody_hears_of_it(pieces: Reply) -> None:
    async with line_to(pieces) as line:
        first, second = line.ask(fetch()), line.ask(fetch())
        for answer in (first, second):
            with pytest.raises(LineLost):
                await answer
        assert not line.is_open
        with pytest.raises(LineLost, match="closed"):
            await line.ask(fetch())


async def test_an_answer_that_does_not_come_in_time_ends_the_line() -> None:
    def only_the_first(number: int) -> Iterable[bytes]:
        return nothing(number) if number == 2 else []

    async with line_to(only_the_first, request_ms=50) as line:
        assert await line.ask(fetch()) == (0, [])
        with pytest.raises(LineLost, match="in time"):
            await line.ask(fetch())
        assert not line.is_open


async def test_a_line_that_is_closed_tells_who_waits() -> None:
    async with line_to(lambda _: []) as line:
        waiting = line.ask(fetch())
        line.close()
        line.close()
        with pytest.raises(LineLost, match="closed"):
            await waiting


async def test_a_broker_that_does_not_speak_our_versions_is_named() -> None:
    old = struct.pack(">hi", 0, 2) + struct.pack(">hhhhhh", 0, 3, 11, 1, 4, 10)
    with pytest.raises(LineLost, match="FetchRequest version 11: the broker has 4 to 10"):
        async with line_to(nothing, versions=old):
            pass
