"""The catalog's commands as they come: the next ones of the topic, each read or with the reason why it cannot be."""

from collections.abc import Sequence
from dataclasses import dataclass

from aion_catalog.shell import PARTITION
from aion_common import limits
from aion_common.errors import BadRecord, Unavailable
from aion_common.kafka.api import Log, LogRecord, Reader, Write
from aion_common.kafka.deadletters import Unusable, dead_letter
from aion_common.kafka.reading import decode_learning
from aion_common.kafka.topics import Topics
from aion_common.records.catalog import CatalogCommand
from aion_common.records.flaws import flaw_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """Not a command of the catalog, and why."""

    reason: str


class Commands:
    """Those that were not decided, in order. For one asyncio task."""

    def __init__(self, log: Log, topics: Topics, reader: Reader) -> None:
        self._log = log
        self._topics = topics
        self._reader = reader
        self._silent_polls = 0

    async def poll(self) -> Sequence[LogRecord]:
        """The next ones; none after limits.READ_POLL_MS. After a long silence makes sure that there is really nothing to
        read. Raises Unavailable."""
        read = await self._reader.read(wait_ms=limits.READ_POLL_MS, records_max=limits.INPUTS_PER_BATCH_MAX)
        if records := read.get(PARTITION):
            self._silent_polls = 0
            return records
        self._silent_polls += 1
        if self._silent_polls >= limits.CATALOG_SILENT_POLLS_MAX:
            self._silent_polls = 0
            before = self._reader.position(PARTITION)
            end = await self._log.end_offset(self._topics.catalog_commands, PARTITION)
            if end > before == self._reader.position(PARTITION):
                raise Unavailable(f"{self._topics.catalog_commands} could not be read from offset {before}")
        return ()


async def command_of(log: Log, topics: Topics, record: LogRecord) -> CatalogCommand | Unreadable:
    """What the record says. Raises Unavailable when its schema must be looked up and cannot be."""
    try:
        read = await decode_learning(log, topics, record.value)
    except BadRecord as error:
        # A character has at most four bytes.
        return Unreadable(reason=str(error)[: limits.REASON_BYTES_MAX // 4])
    if not isinstance(read, CatalogCommand):
        return Unreadable(reason="not a command of the catalog")
    flaw = flaw_of(read)
    return read if flaw is None else Unreadable(reason=flaw)


def letter_of(topics: Topics, record: LogRecord, reason: str) -> Write:
    """The dead letter of a record that is no command."""
    unusable = Unusable(
        topic=topics.catalog_commands.removeprefix(topics.prefix),
        partition=PARTITION,
        offset=record.offset,
        reason=reason,
        key=None if record.key is None else record.key[: limits.NAME_BYTES_MAX],
        value=record.value,
        value_bytes=len(record.value or b""),
    )
    return dead_letter(topics, unusable)
