"""What tests of several rooms need: waiting for a condition, and reading a partition to its end."""

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from typing import Any, TypeVar, overload

from aion_common.kafka.api import Log, LogRecord, Reader

T = TypeVar("T")

_POLL_S = 0.01


@overload
async def eventually(condition: Callable[[], Coroutine[Any, Any, T]], *, within_s: float = 30) -> T: ...
@overload
async def eventually(condition: Callable[[], T], *, within_s: float = 30) -> T: ...
async def eventually(condition: Callable[[], Any], *, within_s: float = 30) -> Any:
    """The first true value of the condition, a function or coroutine function without arguments. Fails after `within_s`."""
    async with asyncio.timeout(within_s):
        while True:
            value = condition()
            if inspect.isawaitable(value):
                value = await value
            if value:
                return value
            await asyncio.sleep(_POLL_S)


async def paced(numbers: Iterable[int], every_ms: int) -> AsyncIterator[int]:
    """The numbers, so far apart: for load that is described by its pace."""
    for number in numbers:
        yield number
        await asyncio.sleep(every_ms / 1000)


async def read_to(reader: Reader, partition: int, end_offset: int) -> list[LogRecord]:
    """Everything of an assigned partition from its position up to the offset."""
    records: list[LogRecord] = []
    async with asyncio.timeout(30):
        while reader.position(partition) < end_offset:
            records.extend((await reader.read(wait_ms=1_000, records_max=1_000)).get(partition, ()))
    return records


async def committed(log: Log, topic: str, partition: int) -> list[LogRecord]:
    """Every record that can be read now."""
    reader = await log.reader(topic)
    try:
        reader.assign({partition: await log.beginning_offset(topic, partition)})
        return await read_to(reader, partition, await log.end_offset(topic, partition))
    finally:
        await reader.close()
