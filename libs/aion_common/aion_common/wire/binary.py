"""Avro's binary encoding, compiled once per record class from its schema: records <-> bytes without a detour over dicts.

For each class the source of two functions is written, with its strings, numbers and optional fields in line (`source`): a
call per field would take most of the time. The same bytes as fastavro's, which the tests compare. Only for values whose
writer schema is ours; what another release wrote is resolved by fastavro (`codec.py`). A class and its schema that differ
are an error at the first use of the class.
"""

from collections.abc import Callable, Mapping
from enum import Enum
from functools import cache, lru_cache
from types import ModuleType
from typing import Any, cast

from msgspec import structs

from aion_common.errors import BadRecord
from aion_common.records import catalog, commands, common, events, ingress, owners, replies, tasks
from aion_common.wire.registry import definitions, full_name
from aion_common.wire.source import SHORT_NUMBERS, reader_of, writer_of

Write = Callable[[Any], bytes]
Read = Callable[[bytes, int], tuple[Any, int]]
"""Takes the bytes and a position in them; returns a value and the position behind it. Raises BadRecord, IndexError,
ValueError for bytes that are not such a value."""

VARINT_BITS_MAX = 63
VARINTS_CACHED = 4_096
"""Times and offsets come many times in a row."""

_UNSIGNED_MAX = 2**64 - 1
_LONG_MAX = 2**63 - 1

_ROOMS: tuple[ModuleType, ...] = (catalog, commands, common, events, ingress, owners, replies, tasks)


@lru_cache(maxsize=VARINTS_CACHED)
def _varint(number: int) -> bytes:
    assert -_LONG_MAX - 1 <= number <= _LONG_MAX, "a long has 64 bits"
    encoded = (number << 1) ^ (number >> 63)
    out = bytearray()
    while encoded > 0x7F:
        out.append(encoded & 0x7F | 0x80)
        encoded >>= 7
    out.append(encoded)
    return bytes(out)


_SHORT_VARINTS: tuple[bytes, ...] = tuple(_varint(number) for number in range(SHORT_NUMBERS))


def _write_long(number: int) -> bytes:
    return _SHORT_VARINTS[number] if 0 <= number < SHORT_NUMBERS else _varint(number)


def _write_bytes(content: bytes) -> bytes:
    return _write_long(len(content)) + content


def _write_string(text: str) -> bytes:
    return _write_bytes(text.encode())


def _write_boolean(value: bool) -> bytes:
    return b"\1" if value else b"\0"


def _write_null(value: None) -> bytes:
    assert value is None, "a null holds nothing"
    return b""


def _read_long(data: bytes, at: int) -> tuple[int, int]:
    byte = data[at]
    at += 1
    if byte < 0x80:
        return (byte >> 1) ^ -(byte & 1), at
    number, bits = byte & 0x7F, 7
    while byte >= 0x80:
        if bits > VARINT_BITS_MAX:
            raise BadRecord("damaged value: an integer of more than 64 bits")
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << bits
        bits += 7
    if number > _UNSIGNED_MAX:
        raise BadRecord("damaged value: an integer of more than 64 bits")
    return (number >> 1) ^ -(number & 1), at


def _read_length(data: bytes, at: int) -> tuple[int, int]:
    """Where it ends needs no check here: what is read behind the end fails, and so does a value whose end is not its own."""
    length, at = _read_long(data, at)
    if length < 0:
        raise BadRecord("damaged value: a negative length")
    return length, at


def _read_bytes(data: bytes, at: int) -> tuple[bytes, int]:
    length, at = _read_length(data, at)
    end = at + length
    return data[at:end], end


def _read_string(data: bytes, at: int) -> tuple[str, int]:
    content, at = _read_bytes(data, at)
    return content.decode(), at


def _read_boolean(data: bytes, at: int) -> tuple[bool, int]:
    if data[at] > 1:
        raise BadRecord("damaged value: neither true nor false")
    return data[at] == 1, at + 1


def _read_null(_: bytes, at: int) -> tuple[None, int]:
    return None, at


_PRIMITIVES: Mapping[str, tuple[Write, Read]] = {
    "null": (_write_null, _read_null),
    "boolean": (_write_boolean, _read_boolean),
    "long": (_write_long, _read_long),
    "bytes": (_write_bytes, _read_bytes),
    "string": (_write_string, _read_string),
}


@cache
def _classes() -> Mapping[str, type]:
    found = (value for room in _ROOMS for value in vars(room).values() if isinstance(value, type))
    return {full_name(value): value for value in found if value.__module__.startswith("aion_common.records.")}


def compiled(schema: Any) -> tuple[Write, Read]:
    """How a value of an Avro schema, as it stands in `schemas/`, is written and read."""
    match schema:
        case str() if schema in _PRIMITIVES:
            return _PRIMITIVES[schema]
        case str():
            return _named(schema)
        case list():
            return _union(schema)
        case {"type": "array", "items": items}:
            return _array(*compiled(items))
        case _:
            raise AssertionError(f"no record of ours has a field of type {schema!r}")


@cache
def _named(name: str) -> tuple[Write, Read]:
    schema, record = definitions()[name], _classes()[name]
    if schema["type"] == "enum":
        return _enum(record, schema["symbols"])
    return compiled_fields(record, [(field["name"], field["type"]) for field in schema["fields"]])


def compiled_fields(record: type, fields: list[tuple[str, Any]]) -> tuple[Write, Read]:
    """A record class, or with some of its fields only a part of it that can be written but not read."""
    names = [name for name, _ in fields]
    whole = [field.name for field in structs.fields(record)]
    assert names == whole or set(names) < set(whole), f"{full_name(record)} differs from its schema"
    codecs = {name: compiled(field_type) for name, field_type in fields}
    present = {name: compiled(_unless_null(field_type)) for name, field_type in fields}
    bound = {
        "record": record,
        "varint": _varint,
        "short": _SHORT_VARINTS,
        "long_at": _read_long,
        "length_at": _read_length,
        **{f"write_{name}": write for name, (write, _) in present.items()},
        **{f"read_{name}": read for name, (_, read) in codecs.items()},
        **{f"read_some_{name}": read for name, (_, read) in present.items()},
    }
    exec(compile(writer_of(fields) + reader_of(fields), f"<codec of {full_name(record)}>", "exec"), bound)  # noqa: S102 - ours
    write, read = bound["write"], bound["read"]
    return cast(Write, write), cast(Read, read)


def _unless_null(schema: Any) -> Any:
    return schema[1] if isinstance(schema, list) and len(schema) == 2 and schema[0] == "null" else schema


def _enum(members: Any, symbols: list[str]) -> tuple[Write, Read]:
    ordered: tuple[Enum, ...] = tuple(members(symbol) for symbol in symbols)
    positions = {member: _varint(position) for position, member in enumerate(ordered)}
    assert len(positions) == len(members), f"{members.__name__} differs from its schema"

    def read(data: bytes, at: int) -> tuple[Enum, int]:
        position, at = _read_length(data, at)
        return ordered[position], at

    return positions.__getitem__, read


def _union(branches: list[str]) -> tuple[Write, Read]:
    kinds = [type(None) if branch == "null" else _python_type(branch) for branch in branches]
    codecs = [compiled(branch) for branch in branches]
    writes = {kind: (_varint(index), codecs[index][0]) for index, kind in enumerate(kinds)}
    reads = tuple(read for _, read in codecs)

    def write(value: Any) -> bytes:
        index, write_branch = writes[type(value)]
        return index + write_branch(value)

    def read(data: bytes, at: int) -> tuple[Any, int]:
        index, at = _read_length(data, at)
        return reads[index](data, at)

    return write, read


def _python_type(branch: Any) -> type:
    plain = {"boolean": bool, "long": int, "bytes": bytes, "string": str}
    if isinstance(branch, dict):
        return tuple
    return plain.get(branch) or _classes()[branch]


def _array(write_item: Write, read_item: Read) -> tuple[Write, Read]:
    def write(items: tuple[Any, ...]) -> bytes:
        return b"".join([_write_long(len(items)), *map(write_item, items), b"\0"]) if items else b"\0"

    def read(data: bytes, at: int) -> tuple[tuple[Any, ...], int]:
        items: list[Any] = []
        while True:
            count, at = _read_long(data, at)
            if count == 0:
                return tuple(items), at
            if count < 0:
                count = -count
                _, at = _read_long(data, at)
            if count > len(data):
                raise BadRecord("damaged value: more items than bytes")
            for _ in range(count):
                item, at = read_item(data, at)
                items.append(item)

    return write, read
