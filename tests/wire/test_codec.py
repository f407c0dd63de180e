"""Single-object encoding: fingerprints of the specification, hostile values, schemas of other releases."""

import json

import pytest
from fastavro.schema import fingerprint, to_parsing_canonical_form
from hypothesis import given
from hypothesis import strategies as st

from aion_common.errors import BadRecord
from aion_common.wire import UnknownSchema, chain_of, decode, encode, learn, schemas, seal
from aion_common.wire.history import CHAIN_START
from aion_common.wire.registry import resolve
from wire.specimens import EVENTS, SPECIMENS


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        # Avro specification 1.12, "Schema Fingerprints" (Rabin); the mark holds them little endian.
        ('"null"', 0x63DD24E7CC258F8A),
        ('"int"', 0x7275D51A3F395C8F),
        ('"long"', 0xD054E14493F41DB7),
        ('"bytes"', 0x4FC016DAC3201965),
        ('"string"', 0x8F014872634503C7),
    ],
)
def test_fingerprint_is_the_specifications(schema: str, value: int) -> None:
    digest = fingerprint(to_parsing_canonical_form(json.loads(schema)), "CRC-64-AVRO")
    assert bytes.fromhex(digest) == value.to_bytes(8, "little")


def test_mark_is_the_fingerprint_behind_the_two_marker_bytes() -> None:
    for digest, text in schemas().items():
        assert resolve(json.loads(text)).mark == b"\xc3\x01" + bytes.fromhex(digest)


@given(st.binary(max_size=64))
def test_garbage_is_a_bad_record(value: bytes) -> None:
    with pytest.raises(BadRecord):
        decode(value)


@given(st.sampled_from(sorted(SPECIMENS)), st.data())
def test_damaged_values_are_bad_records_or_records(name: str, data: st.DataObject) -> None:
    value = bytearray(encode(SPECIMENS[name]))
    position = data.draw(st.integers(10, len(value) - 1))
    value[position] = data.draw(st.integers(0, 255))
    try:
        decode(bytes(value))
    except BadRecord:
        return


@pytest.mark.parametrize("cut", [1, 5])
def test_cut_or_extended_value_is_a_bad_record(cut: int) -> None:
    value = encode(SPECIMENS["route"])
    for damaged in (value[:-cut], value + bytes(cut), None):
        with pytest.raises(BadRecord):
            decode(damaged)


def test_value_of_another_release_is_readable_once_its_schema_is_learnt() -> None:
    ours = json.loads(schemas()[encode(SPECIMENS["owner"])[2:10].hex()])
    newer = {**ours, "fields": [*ours["fields"], {"name": "zone", "type": "string", "default": ""}]}
    value = resolve(newer).mark + encode(SPECIMENS["owner"])[10:] + b"\x02a"
    with pytest.raises(UnknownSchema) as raised:
        decode(value)
    assert raised.value.fingerprint == value[2:10].hex()
    learn([json.dumps(newer)])
    assert decode(value) == SPECIMENS["owner"]


@pytest.mark.parametrize(
    "text",
    [
        b"\xff\xfe",
        b"",
        b"null",
        b"[]",
        b'"string"',
        b'["null", "aion.owners.Owner"]',
        b'{"type": "record", "name": "aion.owners.Owner"}',
        b'{"type": "record", "name": "aion.owners.Owner", "fields": [{"name": "x", "type": "nowhere.Defined"}]}',
        b'{"type": "enum", "name": "aion.owners.Owner", "symbols": []}',
        b"[" * 100_000,
    ],
)
def test_what_somebody_published_that_is_no_schema_of_ours_changes_nothing(text: bytes) -> None:
    value = encode(SPECIMENS["owner"])
    learn([text])
    assert decode(value) == SPECIMENS["owner"]


@pytest.mark.parametrize("name", EVENTS)
def test_sealing_writes_what_encoding_writes(name: str) -> None:
    record = SPECIMENS[f"history_record.{name}"]
    sealed = seal(record, CHAIN_START if record.run_id else None)  # type: ignore[attr-defined, arg-type]
    assert encode(sealed.record) == sealed.value
    if sealed.record.run_id:
        assert sealed.record.chain == chain_of(sealed.record, CHAIN_START)


def test_chain_changes_with_everything_it_covers() -> None:
    record = SPECIMENS["history_record.turn_ended"]
    chains = {
        seal(record, CHAIN_START).record.chain,  # type: ignore[arg-type]
        seal(record, b"x" * 16).record.chain,  # type: ignore[arg-type]
        seal(SPECIMENS["history_record.run_completed"], CHAIN_START).record.chain,  # type: ignore[arg-type]
    }
    assert len(chains) == 3
