"""What becomes of a record that could not be used: a copy in `aion.deadletter`, whose headers say why and from where.

Whoever passes such a record over owes the copy as it owes any other send. A repeat is harmless: topic, partition and offset
in the headers tell two copies of one record.
"""

from dataclasses import dataclass

from aion_common import limits
from aion_common.kafka.api import Write
from aion_common.kafka.partitioner import partition_of
from aion_common.kafka.topics import DEAD_LETTER_PARTITIONS, Topics


@dataclass(frozen=True, slots=True, kw_only=True)
class Unusable:
    """The record at `offset`, whole or cut; `value_bytes`: what its value had. `topic`: without the cluster's prefix."""

    topic: str
    partition: int
    offset: int
    reason: str
    key: bytes | None
    value: bytes | None
    value_bytes: int


def dead_letter(topics: Topics, record: Unusable) -> Write:
    """The copy: in the partition of its key; a record without a key goes by the partition it came from."""
    partition = record.partition if record.key is None else partition_of(record.key, DEAD_LETTER_PARTITIONS)
    value = None if record.value is None else record.value[: limits.DEAD_LETTER_BYTES_MAX]
    headers = {
        "aion-reason": record.reason,
        "aion-topic": record.topic,
        "aion-partition": str(record.partition),
        "aion-offset": str(record.offset),
    }
    if value is not None and record.value_bytes > len(value):
        headers["aion-value-bytes"] = str(record.value_bytes)
    return Write(
        topic=topics.deadletter,
        partition=partition % DEAD_LETTER_PARTITIONS,
        key=record.key,
        value=value,
        headers=tuple((name, text.encode(errors="replace")) for name, text in headers.items()),
    )
