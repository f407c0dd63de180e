"""Sealing history records: the hash chain of a run covers the event bytes that are in the log.

`event` is the last field of `HistoryRecord`, and Avro writes fields one after the other: so the event is encoded once,
hashed, and put behind its header.
"""

import io
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, cast

from blake3 import blake3
from fastavro import schemaless_writer
from fastavro.schema import parse_schema

from aion_common.records.events import Cause, Event, HistoryRecord
from aion_common.wire.datum import Convert, datum_of
from aion_common.wire.registry import Schema, definitions, full_name, resolved, self_contained

CHAIN_BYTES = 16
CHAIN_START = bytes(CHAIN_BYTES)


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedRecord:
    """A history record with its chain, and the value bytes that go into the log and the store."""

    record: HistoryRecord
    value: bytes


_NAME = full_name(HistoryRecord)


def _part(keep: Callable[[str], bool]) -> Schema:
    whole: Any = definitions()[_NAME]
    fields = [field for field in whole["fields"] if keep(field["name"])]
    return cast(Schema, parse_schema(self_contained({**whole, "fields": fields})))


@cache
def _event_part() -> tuple[Schema, Convert]:
    return _part(lambda name: name == "event"), datum_of(Event)


@cache
def _header_part() -> tuple[bytes, Schema, Convert]:
    return resolved()[_NAME].mark, _part(lambda name: name != "event"), datum_of(Cause | None)


def event_bytes(event: Event) -> bytes:
    """The event as it stands in the record: union branch and fields."""
    schema, datum = _event_part()
    out = io.BytesIO()
    schemaless_writer(out, schema, {"event": datum(event)}, strict=True)
    return out.getvalue()


def next_chain(previous: bytes, seq: int, recorded_at: int, event: bytes) -> bytes:
    """First 16 bytes of BLAKE3 over the previous chain, seq and recorded_at (u64 big endian) and the event's bytes."""
    return blake3(previous + struct.pack(">QQ", seq, recorded_at) + event).digest(length=CHAIN_BYTES)


def chain_of(record: HistoryRecord, previous: bytes) -> bytes:
    """What the record's chain must be if `previous` is the chain of the record before it."""
    return next_chain(previous, record.seq, record.recorded_at, event_bytes(record.event))


def seal(record: HistoryRecord, previous: bytes | None) -> SealedRecord:
    """Encode a record, its chain computed here. `previous`: chain before it in its run; None: an event of a partition."""
    event = event_bytes(record.event)
    if previous is not None:
        record = replace(record, chain=next_chain(previous, record.seq, record.recorded_at, event))
    mark, schema, cause = _header_part()
    header = {
        "namespace": record.namespace,
        "workflow_id": record.workflow_id,
        "run_id": record.run_id,
        "seq": record.seq,
        "recorded_at": record.recorded_at,
        "owner_epoch": record.owner_epoch,
        "chain": record.chain,
        "cause": cause(record.cause),
    }
    out = io.BytesIO()
    out.write(mark)
    schemaless_writer(out, schema, header, strict=True)
    out.write(event)
    return SealedRecord(record=record, value=out.getvalue())
