"""The brokers of one cluster as one client sees them: what is known of them, and connections to them.

Any of them may hang or be gone at any time. So a question that every broker can answer goes to one after the other, each
with a short lead over the next, and the first answer counts (`any_answer`); and a connection to one broker never waits for
one to another. This is why aiokafka's own client is not used: it makes one connection at a time, and asks one broker at a
time for as long as a request may take.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from aiokafka.client import ConnectionGroup
from aiokafka.conn import AIOKafkaConnection, CloseReason, collect_hosts, create_conn
from aiokafka.errors import KafkaConnectionError, KafkaError
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.structs import TopicPartition

from aion_common import limits
from aion_common.kafka.line import Line, LineLost
from aion_common.kafka.requests import CARRIED

C = TypeVar("C")

Address = tuple[str, int]

NOBODY = -1

_IDLE_MS = 540_000
"""Connections that nobody uses end by themselves, before brokers cut them (10 minutes by default)."""


class Retry(Exception):
    """The cluster cannot do it now, or its answer was lost: the same request again is right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """What one broker said of the cluster: addresses by node id, who leads a partition (-1: nobody), who has copies of it."""

    addresses: Mapping[int, Address] = field(default_factory=dict)
    controller: int = NOBODY
    leaders: Mapping[TopicPartition, int] = field(default_factory=dict)
    replicas: Mapping[TopicPartition, tuple[int, ...]] = field(default_factory=dict)

    def leader(self, place: TopicPartition) -> int | None:
        """None: nobody, or the topic is not known."""
        leader = self.leaders.get(place, NOBODY)
        return None if leader == NOBODY else leader

    def partitions_of(self, topic: str) -> int:
        """How many the topic has; 0: it is not known."""
        return sum(place.topic == topic for place in self.leaders)


class Brokers:
    """For any number of tasks. It knows nothing before the first `refresh`."""

    def __init__(self, bootstrap: str, client_id: str, request_ms: int) -> None:
        """`bootstrap`: host:port, several separated by commas. `request_ms`: of one request over a lasting connection."""
        self.picture = Picture()
        self._bootstrap: list[Address] = [(host, port) for host, port, _ in collect_hosts(bootstrap.split(","))]
        self._client_id = client_id
        self._request_ms = request_ms
        self._topics: set[str] = set()
        self._silent: set[Address] = set()
        self._connections: dict[tuple[int, ConnectionGroup], AIOKafkaConnection] = {}
        self._lines: dict[int, Line] = {}
        self._locks: dict[tuple[int, ConnectionGroup | None], asyncio.Lock] = {}
        self._refreshing: asyncio.Task[bool] | None = None
        self._is_closed = False

    async def refresh(self) -> None:
        """Learn anew which brokers there are and what they lead. Raises Retry when none says so."""
        if self._is_closed:
            raise Retry("the client is closed")
        if self._refreshing is None or self._refreshing.done():
            self._refreshing = asyncio.get_running_loop().create_task(self._learn())
        refreshing = self._refreshing
        await asyncio.wait([refreshing])
        if refreshing.cancelled() or not refreshing.result():
            raise Retry("no broker says what the cluster looks like")

    async def follow(self, topic: str) -> None:
        """Know the leaders of this topic from now on. Raises Retry."""
        if topic not in self._topics:
            self._topics.add(topic)
            if self._refreshing is not None and not self._refreshing.done():
                # It asks for the topics there were.
                await asyncio.wait([self._refreshing])
            await self.refresh()

    async def any_answer(self, request: object, nodes: Collection[int] | None = None) -> Any:
        """The response of whichever broker, or of these, answers first. Raises Retry."""
        addresses = self._everybody() if nodes is None else self._addresses(nodes)
        answer = await self._first_answer(request, addresses)
        if answer is None:
            raise Retry("no broker answers")
        return answer

    async def send(self, node: int, request: object, group: ConnectionGroup = ConnectionGroup.DEFAULT) -> Any:
        """The response of this broker. Requests of one group to one broker wait for one another; produce and fetch have a line
        of their own. Raises Retry."""
        if isinstance(request, CARRIED):
            line = await self._line(node)
            try:
                return await line.ask(request)
            except LineLost as cause:
                raise Retry(f"broker {node}: {cause}") from cause
        connection = await self._connection(node, group)
        try:
            return await _sent(connection, request)
        except TimeoutError as cause:
            connection.close(reason=CloseReason.CONNECTION_TIMEOUT)
            raise Retry(f"broker {node} did not answer in time") from cause
        except (KafkaError, OSError) as cause:
            raise Retry(repr(cause)) from cause

    def hang_up(self, node: int) -> None:
        """End the line to this broker, with what waits on it for an answer; the next request makes another one."""
        line = self._lines.pop(node, None)
        if line is not None:
            line.close()

    async def close(self) -> None:
        """End everything. Without limit where a peer does not read: set one."""
        self._is_closed = True
        if self._refreshing is not None:
            self._refreshing.cancel()
            await asyncio.gather(self._refreshing, return_exceptions=True)
        for line in self._lines.values():
            line.close()
        await asyncio.gather(*(_closed(connection) for connection in self._connections.values()))

    async def _learn(self) -> bool:
        request = MetadataRequest(sorted(self._topics), allow_auto_topic_creation=False)
        answer = await self._first_answer(request, self._everybody())
        # A broker that has just started may name none, not even itself.
        if answer is None or not answer.brokers:
            return False
        self.picture = picture_of(answer)
        return True

    def _everybody(self) -> list[Address]:
        """All known ones, and those it began with, for all may have moved."""
        known = self._addresses(self.picture.addresses)
        return known + [address for address in self._bootstrap if address not in known]

    def _addresses(self, nodes: Collection[int]) -> list[Address]:
        """Of these, as far as known; first those that answered the last time."""
        known = [self.picture.addresses[node] for node in nodes if node in self.picture.addresses]
        random.shuffle(known)
        return sorted(known, key=lambda address: address in self._silent)

    async def _first_answer(self, request: object, addresses: Sequence[Address]) -> Any:
        """None: nobody answered, or it is closed. One that fails or says nothing for a while gives way to the next, and may
        still be first."""
        if self._is_closed:
            return None
        asking: set[asyncio.Task[Any]] = set()
        try:
            for left, address in zip(reversed(range(len(addresses))), addresses, strict=True):
                asking.add(asyncio.get_running_loop().create_task(self._ask(address, request)))
                while asking:
                    lead_s = limits.KAFKA_LEAD_MS / 1000 if left else None
                    done, asking = await asyncio.wait(asking, timeout=lead_s, return_when=asyncio.FIRST_COMPLETED)
                    for answer in (task.result() for task in done):
                        if answer is not None:
                            return answer
                    if left:
                        break
        finally:
            for task in asking:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)
        return None

    async def _ask(self, address: Address, request: object) -> Any:
        """Over a connection of its own: one that carries other requests may have to wait for them. None: no answer."""
        self._silent.add(address)
        try:
            async with asyncio.timeout(limits.KAFKA_REQUEST_MS / 1000):
                connection = await self._connect(*address)
                try:
                    answer = await _sent(connection, request)
                finally:
                    await _closed(connection)
        except (KafkaError, OSError, TimeoutError):
            return None
        self._silent.discard(address)
        return answer

    async def _connection(self, node: int, group: ConnectionGroup) -> AIOKafkaConnection:
        key = (node, group)
        async with self._locks.setdefault(key, asyncio.Lock()):
            connection = self._connections.get(key)
            if connection is not None and connection.connected():
                return connection
            reached = await self._reach(node, self._connect)
            if self._is_closed:
                reached.close(reason=CloseReason.SHUTDOWN)
                raise Retry("the client is closed")
            self._connections[key] = reached
            return reached

    async def _line(self, node: int) -> Line:
        line = self._lines.get(node)
        if line is not None and line.is_open:
            return line
        async with self._locks.setdefault((node, None), asyncio.Lock()):
            line = self._lines.get(node)
            if line is None or not line.is_open:
                line = await self._reach(node, partial(Line.open, client_id=self._client_id, request_ms=self._request_ms))
                if self._is_closed:
                    line.close()
                    raise Retry("the client is closed")
                self._lines[node] = line
            return line

    async def _reach(self, node: int, connect: Callable[[str, int], Awaitable[C]]) -> C:
        address = self.picture.addresses.get(node)
        if address is None:
            raise Retry(f"broker {node} is not known")
        try:
            async with asyncio.timeout(limits.KAFKA_CONNECT_MS / 1000):
                return await connect(*address)
        except (KafkaError, LineLost, OSError, TimeoutError) as cause:
            raise Retry(f"no connection to broker {node} at {address[0]}:{address[1]}: {cause!r}") from cause

    async def _connect(self, host: str, port: int) -> AIOKafkaConnection:
        return await create_conn(
            host, port, client_id=self._client_id, request_timeout_ms=self._request_ms, max_idle_ms=_IDLE_MS
        )


def picture_of(answer: Any) -> Picture:
    """Of a response to a MetadataRequest. Topics that do not exist, or are not there yet, are missing."""
    said = answer.to_object()
    partitions = {
        TopicPartition(topic["topic"], each["partition"]): each
        for topic in said["topics"]
        if topic["error_code"] == 0
        for each in topic["partitions"]
    }
    return Picture(
        addresses={broker["node_id"]: (broker["host"], broker["port"]) for broker in said["brokers"]},
        controller=said["controller_id"],
        leaders={place: each["leader"] for place, each in partitions.items()},
        replicas={place: tuple(each["replicas"]) for place, each in partitions.items()},
    )


async def _sent(connection: AIOKafkaConnection, request: object) -> Any:
    """The response. aiokafka is told that a connection is lost some turns of the event loop after the transport was closed.
    asyncio's transport drops what is written then, uvloop's raises RuntimeError."""
    if connection._writer is not None and connection._writer.is_closing():
        connection.close(reason=CloseReason.CONNECTION_BROKEN)
        raise KafkaConnectionError("the connection was lost")
    return await connection.send(request)


async def _closed(connection: AIOKafkaConnection) -> None:
    closed = connection.close(reason=CloseReason.SHUTDOWN)
    if closed is not None:
        with suppress(OSError):
            await closed
