"""Our encoding is fastavro's, byte for byte, for whatever a record may hold; and other writers' freedoms are read."""

import io
from typing import Any

import pytest
from fastavro import schemaless_reader, schemaless_writer
from hypothesis import given, settings
from hypothesis import strategies as st

from aion_common.errors import BadRecord
from aion_common.wire import decode, encode
from aion_common.wire.registry import TOP_LEVEL, full_name, resolved
from wire.specimens import SPECIMENS

LONGS = st.integers(-(2**63), 2**63 - 1) | st.integers(-70, 70) | st.sampled_from([4095, 4096, 8191, 8192])
st.register_type_strategy(int, LONGS)
st.register_type_strategy(str, st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
st.register_type_strategy(bytes, st.binary(max_size=20))


@pytest.mark.parametrize("record_type", TOP_LEVEL, ids=full_name)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_bytes_are_those_of_fastavro(record_type: type, data: st.DataObject) -> None:
    record = data.draw(st.from_type(record_type))
    value = encode(record)
    schema: Any = resolved()[full_name(record_type)].parsed
    source = io.BytesIO(value[10:])
    datum = schemaless_reader(source, schema, None, return_record_name=True, return_record_name_override=True)
    assert not source.read()
    written = io.BytesIO()
    schemaless_writer(written, schema, datum, strict=True)
    assert written.getvalue() == value[10:]
    assert decode(value) == record


def test_arrays_in_blocks_of_known_size_are_read() -> None:
    value = encode(SPECIMENS["history_record.progress"])
    plain = SPECIMENS["history_record.progress"]
    items = value[value.rindex(b"\x02", 0, value.rindex(b"http")) :]
    assert items[0] == 2, "one answer, as a block without its size"
    sized = value[: -len(items)] + b"\x01" + bytes([2 * (len(items) - 2)]) + items[1:]
    with_long_size = value[: -len(items)] + b"\x01" + _varint(len(items) - 2) + items[1:]
    assert decode(with_long_size if len(items) - 2 > 63 else sized) == plain


def _varint(number: int) -> bytes:
    encoded, out = number << 1, bytearray()
    while encoded > 0x7F:
        out.append(encoded & 0x7F | 0x80)
        encoded >>= 7
    return bytes([*out, encoded])


@pytest.mark.parametrize(
    "tail",
    [b"\x03", b"\xff" * 11, b"\xfe" + b"\xff" * 8 + b"\x7e", b"\x7f", b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01"],
    ids=["negative length", "endless integer", "more than 64 bits", "negative", "more than there is"],
)
def test_hostile_lengths_are_bad_records(tail: bytes) -> None:
    mark = encode(SPECIMENS["owner"])[:10]
    with pytest.raises(BadRecord):
        decode(mark + b"\x06\x02" + tail)
