"""Single-object encoding of the top-level records: C3 01, fingerprint, body.

The fingerprint decides which schema wrote a value; it is resolved to this release's schema of the same name. A value of
a schema that is not known yet raises `UnknownSchema`: read `aion.schemas` to its end, `learn` what is there, try again.
"""

import io
from collections.abc import Hashable, Iterable, Mapping
from functools import cache
from typing import Any, cast

from fastavro import schemaless_reader

from aion_common.errors import BadRecord
from aion_common.wire.binary import Read, Write, compiled
from aion_common.wire.datum import Convert, value_of
from aion_common.wire.registry import TOP_LEVEL, ResolvedSchema, Schema, full_name, read_schema, resolved

MARK_BYTES = 10


class UnknownSchema(BadRecord):
    """The value was written with a schema that this process has not met; `fingerprint` is its hex form."""

    def __init__(self, fingerprint: str) -> None:
        super().__init__(f"unknown schema fingerprint {fingerprint}")
        self.fingerprint = fingerprint


class _Foreign:
    """Schemas of other releases, each with how its values become records of ours. Grows by `learn` alone."""

    def __init__(self) -> None:
        self._classes = {full_name(record): record for record in TOP_LEVEL}
        self._by_mark: dict[bytes, tuple[Schema, Schema, Convert]] = {}

    def add(self, schema: ResolvedSchema) -> None:
        record = self._classes.get(schema.name)
        if record is not None and schema.mark not in _own():
            self._by_mark[schema.mark] = schema.parsed, resolved()[schema.name].parsed, value_of(record)

    def writer(self, mark: bytes) -> Schema | None:
        known = self._by_mark.get(mark)
        return None if known is None else known[0]

    def read(self, value: bytes) -> tuple[Any, int]:
        mark = value[:MARK_BYTES]
        if not is_encoded(value):
            raise BadRecord("not a single-object encoded Avro value")
        if mark not in self._by_mark:
            raise UnknownSchema(mark[2:].hex())
        writer, reader, convert = self._by_mark[mark]
        source = io.BytesIO(value)
        source.seek(MARK_BYTES)
        datum = schemaless_reader(source, writer, reader, return_record_name=True)
        return convert(datum), source.tell()


@cache
def _foreign() -> _Foreign:
    return _Foreign()


@cache
def _own() -> Mapping[bytes, Read]:
    """How values of this release's schemas are read, by their mark."""
    return {schema.mark: compiled(name)[1] for name, schema in resolved().items()}


@cache
def _writer(record: Any) -> tuple[bytes, Write]:
    name = full_name(record)
    return resolved()[name].mark, compiled(name)[0]


def end_of_fields_before_last(value: bytes) -> int:
    """Where the last field of a record begins in its value. Raises BadRecord; UnknownSchema for a schema not learned yet."""
    before = _without_last_field(value[:MARK_BYTES])
    source = io.BytesIO(value)
    source.seek(MARK_BYTES)
    try:
        schemaless_reader(source, before, None)
    except Exception as error:  # as in `decode`
        raise BadRecord(f"damaged value: {type(error).__name__}") from error
    return source.tell()


@cache
def _without_last_field(mark: bytes) -> Schema:
    own = next((schema.parsed for schema in resolved().values() if schema.mark == mark), None)
    schema = own or _foreign().writer(mark)
    if schema is None:
        raise UnknownSchema(mark[2:].hex())
    return {**schema, "fields": schema["fields"][:-1]}


def encode(record: Any) -> bytes:
    """The value bytes of a top-level record."""
    mark, write = _writer(cast(Hashable, type(record)))
    return mark + write(record)


def is_encoded(value: bytes | None) -> bool:
    """Whether the value says that it is Avro with a schema, ours or another's."""
    return value is not None and value[:2] == b"\xc3\x01" and len(value) >= MARK_BYTES


def decode(value: bytes | None) -> Any:
    """The record of some value bytes. Raises BadRecord (of it, UnknownSchema)."""
    if value is None:
        raise BadRecord("no value")
    read = _own().get(value[:MARK_BYTES])
    try:
        record, end = _foreign().read(value) if read is None else read(value, MARK_BYTES)
    except BadRecord:
        raise
    except Exception as error:  # whatever hostile bytes provoke in a decoder means the same
        raise BadRecord(f"damaged value: {type(error).__name__}") from error
    if end != len(value):
        raise BadRecord("damaged value: bytes behind its end")
    return record


def learn(texts: Iterable[str | bytes]) -> None:
    """Take in published schemas (JSON texts of `aion.schemas`); what is known already, not ours, or no schema at all changes
    nothing."""
    for text in texts:
        if (schema := read_schema(text)) is not None:
            _foreign().add(schema)
