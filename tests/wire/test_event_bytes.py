"""The event's own bytes in a history record: found whatever release wrote it, for the chain covers them as they stand."""

import io
import json
from pathlib import Path

import pytest
from fastavro import schemaless_reader
from fastavro.schema import parse_schema

from aion_common.errors import BadRecord
from aion_common.wire import UnknownSchema, encode, event_bytes_of, learn, schemas
from aion_common.wire.registry import resolve
from wire.specimens import GOLDEN, SPECIMENS, schemas_kept

HISTORIES = sorted((GOLDEN / "records").glob("history_record.*.hex"))


def value_in(file: Path) -> bytes:
    return bytes.fromhex(file.read_text(encoding="ascii"))


@pytest.mark.parametrize("file", HISTORIES, ids=lambda file: file.stem)
def test_event_of_every_golden_is_read_alone_with_its_writers_schema(file: Path) -> None:
    learn(schemas_kept())
    value = value_in(file)
    writer = next(schema for text in schemas_kept() if (schema := resolve(json.loads(text))).mark == value[:10])
    whole = schemaless_reader(io.BytesIO(value[10:]), writer.parsed, None)
    source = io.BytesIO(event_bytes_of(value))
    alone = schemaless_reader(source, parse_schema(json.loads(writer.text)["fields"][-1]["type"]), None)
    assert isinstance(whole, dict)
    assert alone == whole["event"]
    assert not source.read()


def test_value_of_a_schema_that_nobody_published_names_its_fingerprint() -> None:
    ours = json.loads(schemas()[encode(SPECIMENS["history_record.turn_ended"])[2:10].hex()])
    stranger = {**ours, "fields": [{"name": "zone", "type": "string"}, *ours["fields"]]}
    value = resolve(stranger).mark + b"\x02a" + encode(SPECIMENS["history_record.turn_ended"])[10:]
    with pytest.raises(UnknownSchema) as raised:
        event_bytes_of(value)
    assert raised.value.fingerprint == value[2:10].hex()
    learn([json.dumps(stranger)])
    assert event_bytes_of(value) == event_bytes_of(encode(SPECIMENS["history_record.turn_ended"]))


@pytest.mark.parametrize("value", [b"", b"garbage that is long enough"])
def test_value_that_is_no_history_record_has_no_event(value: bytes) -> None:
    with pytest.raises(BadRecord):
        event_bytes_of(value)


@pytest.mark.parametrize("end", [10, 11, 20])
def test_value_that_ends_before_its_event_is_damaged(end: int) -> None:
    with pytest.raises(BadRecord):
        event_bytes_of(encode(SPECIMENS["history_record.turn_ended"])[:end])
