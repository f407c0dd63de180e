"""Reading a stretch of a topic, and values whose schema may be newer than this code.

Used for reading back histories and the catalog, for the chunks of a package and for `aion.schemas`. Committed records only.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any
from weakref import WeakKeyDictionary

from aion_common import limits
from aion_common.errors import Unavailable
from aion_common.kafka.api import Log, LogRecord
from aion_common.kafka.topics import Topics
from aion_common.wire import UnknownSchema, decode, learn


async def records_between(
    log: Log, topic: str, first: int, end: int, partition: int = 0
) -> AsyncGenerator[Sequence[LogRecord], None]:
    """The records of a partition with offsets from `first` up to, without, `end`, in order and in bounded portions.

    `end` must not lie behind an `end_offset` taken before. Raises Unavailable when nothing comes although something
    must. Use it under `aclosing`: it holds a reader.
    """
    reader = await log.reader(topic)
    silent_polls = 0
    try:
        reader.assign({partition: first})
        while (before := reader.position(partition)) < end:
            read = await reader.read(wait_ms=limits.READ_POLL_MS, records_max=limits.RESTORE_CHUNK_RECORDS)
            silent_polls = 0 if reader.position(partition) > before else silent_polls + 1
            if silent_polls >= limits.READ_SILENT_POLLS_MAX:
                raise Unavailable(f"{topic} could not be read from offset {before}")
            wanted = [record for record in read.get(partition, ()) if record.offset < end]
            if wanted:
                yield wanted
    finally:
        await reader.close()


async def decode_learning(log: Log, topics: Topics, value: bytes | None) -> Any:
    """Decode a value; if its schema is not known, read what services have published to `aion.schemas` first.

    Raises BadRecord, also when nobody has published that schema.
    """
    try:
        return decode(value)
    except UnknownSchema:
        await learn_published(log, topics)
        return decode(value)


_learnt: WeakKeyDictionary[Log, dict[str, int]] = WeakKeyDictionary()
"""Up to which offset each topic of schemas was read: garbage that names schemas of nobody must not make anybody read it all
again for each record."""


async def learn_published(log: Log, topics: Topics) -> None:
    """Make records of every schema that was published until now readable. Raises Unavailable."""
    learnt = _learnt.setdefault(log, {})
    first = await log.beginning_offset(topics.schemas, 0)
    end = await log.end_offset(topics.schemas, 0)
    if first <= (known := learnt.get(topics.schemas, 0)) <= end:
        first = known
    if first < end:
        async with aclosing(records_between(log, topics.schemas, first, end)) as portions:
            async for records in portions:
                learn(record.value for record in records if record.value is not None)
    learnt[topics.schemas] = end
