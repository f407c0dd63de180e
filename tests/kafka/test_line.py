"""A line to a broker that is played here: answers in pieces, late, wrong, or none."""

import asyncio
import struct
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from aion_common.kafka.brokers import Brokers, Picture
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


@dataclass(slots=True)
class Played:
    """A broker's address. `ends`: of its connections."""

    host: str
    port: int
    ends: list[asyncio.Future[None]] = field(default_factory=list)


@asynccontextmanager
async def played(reply: Reply, versions: bytes = VERSIONS) -> AsyncIterator[Played]:
    """A broker that answers so, until all its connections have ended."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        end: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        broker.ends.append(end)
        try:
            while True:
                (size,) = struct.unpack(">i", await reader.readexactly(4))
                key, _, number = struct.unpack_from(">hhi", await reader.readexactly(size))
                pieces = [framed(number, versions)] if key == 18 else reply(number)
                for piece in pieces:
                    if not piece:
                        return
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            end.set_result(None)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    broker = Played(*server.sockets[0].getsockname())
    try:
        yield broker
    finally:
        server.close()
        await asyncio.gather(*broker.ends)


@asynccontextmanager
async def line_to(reply: Reply, *, versions: bytes = VERSIONS, request_ms: int = 60_000) -> AsyncIterator[Line]:
    """A line to a broker that answers so."""
    async with played(reply, versions) as broker:
        line = await Line.open(broker.host, broker.port, "aion-test", request_ms)
        try:
            yield line
        finally:
            line.close()


async def test_all_who_ask_a_broker_share_one_line_until_it_is_lost() -> None:
    async with played(nothing) as broker:
        client = Brokers("127.0.0.1:9", "aion-test", 60_000)
        client.picture = Picture(addresses={1: (broker.host, broker.port)})
        async with asyncio.TaskGroup() as asking:
            for _ in range(3):
                asking.create_task(client.send(1, fetch()))
        assert len(broker.ends) == 1
        client.hang_up(1)
        await client.send(1, fetch())
        assert len(broker.ends) == 2
        await client.close()


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
    ("pieces", "reason"),
    [
        (lambda number: [framed(number + 1, NOTHING)], "nobody asked for"),
        (lambda number: [framed(number, b"")], "cannot be read"),
        (lambda number: [struct.pack(">i", -1)], "an answer of -1 bytes"),
        (lambda number: [struct.pack(">i", 2**30)], "an answer of 1073741824 bytes"),
        (lambda number: [struct.pack(">i", 0)], "nobody asked for"),
        (lambda number: [framed(number, NOTHING)[:9], b""], "ended the connection"),
        (lambda number: [b""], "ended the connection"),
    ],
    ids=["other number", "cut short", "negative size", "huge", "no number", "ends within", "ends"],
)
async def test_a_line_that_says_nonsense_or_ends_is_lost_and_everybody_hears_of_it(pieces: Reply, reason: str) -> None:
    async with line_to(pieces) as line:
        first, second = line.ask(fetch()), line.ask(fetch())
        for answer in (first, second):
            with pytest.raises(LineLost, match=reason):
                await answer
        assert not line.is_open
        with pytest.raises(LineLost, match="closed"):
            await line.ask(fetch())


async def test_numbers_of_requests_begin_anew_before_they_end() -> None:
    async with line_to(nothing) as line:
        line._number = 2**31 - 2
        for _ in range(3):
            assert await line.ask(fetch()) == (0, [])


async def test_a_request_that_cannot_be_written_leaves_the_line_as_it_was() -> None:
    class Unwritable(FetchRequest):
        API_VERSION = 2**20

    async with line_to(nothing) as line:
        with pytest.raises(struct.error):
            line.ask(Unwritable("t", {}, wait_ms=0, bytes_max=1, partition_bytes_max=1))
        assert await line.ask(fetch()) == (0, [])


async def test_an_answer_that_does_not_come_in_time_ends_the_line() -> None:
    def only_the_first(number: int) -> Iterable[bytes]:
        return nothing(number) if number == 2 else []

    async with line_to(only_the_first, request_ms=50) as line:
        assert await line.ask(fetch()) == (0, [])
        with pytest.raises(LineLost, match="in time"):
            await line.ask(fetch())
        assert not line.is_open
        with pytest.raises(LineLost, match="closed"):
            await line.ask(fetch())


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
