"""Follows one partition of a topic for ever: every record is decoded and applied once, in order.

What the gateway knows of replies, owners and versions comes through here. An outage changes nothing: the follower opens
its reader again and goes on where it was. A reader that is stuck (lag, but nothing comes; seen after restarts of brokers)
is replaced; if that does not help either, `is_stuck` tells the health check.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Never

import structlog

from aion_common import limits
from aion_common.errors import BadRecord, Unavailable
from aion_common.kafka.api import Log, LogRecord, OffsetOutOfRange, Reader
from aion_common.kafka.reading import decode_learning
from aion_common.kafka.topics import Topics
from aion_common.metrics import SKIPPED_RECORDS

logger = structlog.get_logger()

Apply = Callable[[Any], None]
"""Takes a decoded record; must not block. Records of a kind it does not know it passes over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What to follow. `from_end`: only what comes from now on; else everything that is there, first."""

    topic: str
    partition: int
    from_end: bool


class Tail:
    """One follower. `run` it in a task; the other methods may be called by any task of the same event loop."""

    def __init__(self, log: Log, topics: Topics, place: Place, apply: Apply) -> None:
        self._log = log
        self._topics = topics
        self._place = place
        self._apply = apply
        self._next: int | None = None
        self._positioned = asyncio.Event()
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []
        self._lagging_since: float | None = None

    @property
    def is_positioned(self) -> bool:
        """Whether every record from the place's beginning on will be applied."""
        return self._next is not None

    @property
    def is_stuck(self) -> bool:
        """Whether records were there for limits.TAIL_STUCK_MS and none was read, with the cluster answering."""
        since = self._lagging_since
        return since is not None and (_now() - since) * 1000 > limits.TAIL_STUCK_MS

    async def positioned(self) -> None:
        """Wait until `is_positioned`. Without limit: set one."""
        await self._positioned.wait()

    async def caught_up(self) -> None:
        """Wait until everything is applied that was committed when this was called. Without limit: set one. Raises
        Unavailable when the cluster does not answer."""
        await self.positioned()
        end = await self._log.end_offset(self._place.topic, self._place.partition)
        if self._next is not None and self._next >= end:
            return
        reached: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((end, reached))
        await reached

    async def run(self) -> Never:
        """Follow until cancelled."""
        while True:
            try:
                await self._follow()
            except Unavailable as error:
                logger.warning("topic not readable, trying again", topic=self._place.topic, reason=str(error))
            except OffsetOutOfRange as error:
                logger.warning("records were deleted before they were read", topic=error.topic, offset=error.offset)
                self._next = None
            await asyncio.sleep(limits.TAIL_RETRY_MS / 1000)

    async def _follow(self) -> Never:
        reader = await self._log.reader(self._place.topic)
        try:
            if self._next is None:
                self._next = await self._first_offset()
            reader.assign({self._place.partition: self._next})
            self._positioned.set()
            quiet_since = _now()
            while True:
                if await self._read(reader):
                    self._lagging_since = None
                    quiet_since = _now()
                elif (_now() - quiet_since) * 1000 >= limits.TAIL_CHECK_MS:
                    quiet_since = _now()
                    await self._check_silence()
        finally:
            await reader.close()

    async def _first_offset(self) -> int:
        topic, partition = self._place.topic, self._place.partition
        if self._place.from_end:
            return await self._log.end_offset(topic, partition)
        return await self._log.beginning_offset(topic, partition)

    async def _read(self, reader: Reader) -> bool:
        """Read and apply once; whether the position moved."""
        partition = self._place.partition
        try:
            async with asyncio.timeout((limits.TAIL_POLL_MS + limits.KAFKA_REQUEST_MS) / 1000):
                read = await reader.read(wait_ms=limits.TAIL_POLL_MS, records_max=limits.TAIL_RECORDS_MAX)
        except TimeoutError as error:
            raise Unavailable("a read did not return in time") from error
        for record in read.get(partition, ()):
            await self._take(record)
            self._next = record.offset + 1
        before, self._next = self._next, reader.position(partition)
        self._wake()
        return bool(read) or before != self._next

    async def _take(self, record: LogRecord) -> None:
        if record.value is None:
            return
        try:
            decoded = await decode_learning(self._log, self._topics, record.value)
        except BadRecord as error:
            SKIPPED_RECORDS.labels(self._place.topic).inc()
            logger.warning("record skipped", topic=self._place.topic, offset=record.offset, reason=str(error))
            return
        self._apply(decoded)

    async def _check_silence(self) -> None:
        """Raise Unavailable, so that the reader is replaced, if there is something to read and nothing came."""
        end = await self._log.end_offset(self._place.topic, self._place.partition)
        if self._next is None or self._next >= end:
            self._lagging_since = None
            return
        if self._lagging_since is None:
            self._lagging_since = _now()
        raise Unavailable(f"nothing came from offset {self._next} on, although the end is {end}")

    def _wake(self) -> None:
        if not self._waiting:
            return
        reached, self._waiting = self._waiting, []
        for offset, future in reached:
            if future.done():
                continue
            if self._next is not None and self._next >= offset:
                future.set_result(None)
            else:
                self._waiting.append((offset, future))


def _now() -> float:
    return asyncio.get_running_loop().time()
