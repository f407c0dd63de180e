"""Sealing history records: the hash chain of a run covers the event bytes that are in the log.

`event` is the last field of `HistoryRecord`, and Avro writes fields one after the other: so the event is encoded once,
hashed, and put behind its header.
"""

import struct
from functools import cache

from blake3 import blake3
from msgspec import Struct
from msgspec.structs import replace

from aion_common.records.events import Event, HistoryRecord
from aion_common.wire.binary import Write, compiled, compiled_fields
from aion_common.wire.codec import end_of_fields_before_last
from aion_common.wire.registry import definitions, full_name, resolved

CHAIN_BYTES = 16
CHAIN_START = bytes(CHAIN_BYTES)


class SealedRecord(Struct, frozen=True, kw_only=True, gc=False):
    """A history record with its chain, and the value bytes that go into the log and the store."""

    record: HistoryRecord
    value: bytes


_NAME = full_name(HistoryRecord)


@cache
def _form() -> tuple[bytes, Write, Write]:
    """The mark, and how everything before the event is written, and the event."""
    fields = [(field["name"], field["type"]) for field in definitions()[_NAME]["fields"]]
    assert fields[-1][0] == "event", "the event is the last field"
    return resolved()[_NAME].mark, compiled_fields(HistoryRecord, fields[:-1])[0], compiled(fields[-1][1])[0]


def event_bytes(event: Event) -> bytes:
    """The event as it stands in the record: union branch and fields."""
    return _form()[2](event)


def event_bytes_of(value: bytes) -> bytes:
    """The event as it stands in a record's value, whatever release wrote it: the event is the last field. Raises BadRecord and
    UnknownSchema."""
    return value[end_of_fields_before_last(value) :]


def next_chain(previous: bytes, seq: int, recorded_at: int, event: bytes) -> bytes:
    """First 16 bytes of BLAKE3 over the previous chain, seq and recorded_at (u64 big endian) and the event's bytes."""
    return blake3(previous + struct.pack(">QQ", seq, recorded_at) + event).digest(length=CHAIN_BYTES)


def chain_of(record: HistoryRecord, previous: bytes) -> bytes:
    """What the record's chain must be if `previous` is the chain of the record before it."""
    return next_chain(previous, record.seq, record.recorded_at, event_bytes(record.event))


def seal(record: HistoryRecord, previous: bytes | None) -> SealedRecord:
    """Encode a record, its chain computed here. `previous`: chain before it in its run; None: an event of a partition."""
    mark, write_head, write_event = _form()
    event = write_event(record.event)
    if previous is not None:
        record = replace(record, chain=next_chain(previous, record.seq, record.recorded_at, event))
    return SealedRecord(record=record, value=mark + write_head(record) + event)
