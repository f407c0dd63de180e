"""Following `aion.control`: which tasks nobody waits for any more.

From the end of the topic at the start of the worker on. What cannot be read is passed over: a cancellation spares work, and
nothing depends on it.
"""

import asyncio
from collections.abc import Callable

import structlog

from aion_common import limits
from aion_common.errors import BadRecord, Unavailable
from aion_common.kafka.api import Log, LogRecord, OffsetOutOfRange, Reader
from aion_common.kafka.reading import decode_learning
from aion_common.kafka.topics import Topics
from aion_common.records.tasks import CancelTasks

logger = structlog.get_logger()

_PARTITION = 0


class Cancellations:
    """Made by `open_cancellations`."""

    def __init__(self, log: Log, topics: Topics, reader: Reader, position: int) -> None:
        self._log = log
        self._topics = topics
        self._reader = reader
        self._position = position

    async def follow(self, cancel: Callable[[CancelTasks], None]) -> None:
        """Pass each on. Runs until it is cancelled."""
        self._reader.assign({_PARTITION: self._position})
        while True:
            try:
                read = await self._reader.read(wait_ms=limits.TAIL_POLL_MS, records_max=limits.TAIL_RECORDS_MAX)
                for record in read.get(_PARTITION, ()):
                    await self._pass_on(record, cancel)
                self._position = self._reader.position(_PARTITION)
            except (Unavailable, OffsetOutOfRange) as error:
                logger.warning("cancellations not readable now", reason=str(error))
                await asyncio.sleep(limits.TAIL_RETRY_MS / 1000)
                await self._open_again(error)

    async def close(self) -> None:
        """Bounded in time."""
        await self._reader.close()

    async def _pass_on(self, record: LogRecord, cancel: Callable[[CancelTasks], None]) -> None:
        try:
            wish = await decode_learning(self._log, self._topics, record.value)
        except BadRecord as error:
            logger.warning("cancellation not readable", offset=record.offset, reason=str(error))
            return
        if isinstance(wish, CancelTasks):
            cancel(wish)

    async def _open_again(self, error: Unavailable | OffsetOutOfRange) -> None:
        if isinstance(error, OffsetOutOfRange):
            try:
                self._position = await self._log.end_offset(self._topics.control, _PARTITION)
            except Unavailable:
                return
        self._reader.assign({_PARTITION: self._position})


async def open_cancellations(log: Log, topics: Topics) -> Cancellations:
    """Those that are written from now on. Raises Unavailable."""
    position = await log.end_offset(topics.control, _PARTITION)
    return Cancellations(log, topics, await log.reader(topics.control), position)
