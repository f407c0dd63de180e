"""Single-object encoding of the top-level records: C3 01, fingerprint, body.

The fingerprint decides which schema wrote a value; it is resolved to this release's schema of the same name. A value of
a schema that is not known yet raises `UnknownSchema`: read `aion.schemas` to its end, `learn` what is there, try again.
"""

import io
import json
from collections.abc import Hashable, Iterable
from functools import cache
from typing import Any, cast

from fastavro import schemaless_reader, schemaless_writer

from aion_common.errors import BadRecord
from aion_common.wire.datum import Convert, datum_of, value_of
from aion_common.wire.registry import TOP_LEVEL, ResolvedSchema, Schema, full_name, resolve, resolved

MARK_BYTES = 10


class UnknownSchema(BadRecord):
    """The value was written with a schema that this process has not met; `fingerprint` is its hex form."""

    def __init__(self, fingerprint: str) -> None:
        super().__init__(f"unknown schema fingerprint {fingerprint}")
        self.fingerprint = fingerprint


class _Readers:
    """Writer schemas by mark, each with the reader schema and class of the same name. Grows by `learn` alone."""

    def __init__(self) -> None:
        self._classes = {full_name(record): record for record in TOP_LEVEL}
        self._by_mark: dict[bytes, tuple[Schema, Schema | None, Convert]] = {}
        for schema in resolved().values():
            self.add(schema)

    def add(self, schema: ResolvedSchema) -> None:
        record = self._classes.get(schema.name)
        if record is not None and schema.mark not in self._by_mark:
            ours = resolved()[schema.name]
            reader = None if ours.mark == schema.mark else ours.parsed
            self._by_mark[schema.mark] = schema.parsed, reader, value_of(record)

    def get(self, mark: bytes) -> tuple[Schema, Schema | None, Convert]:
        try:
            return self._by_mark[mark]
        except KeyError:
            if mark[:2] != b"\xc3\x01" or len(mark) != MARK_BYTES:
                raise BadRecord("not a single-object encoded Avro value") from None
            raise UnknownSchema(mark[2:].hex()) from None


@cache
def _readers() -> _Readers:
    return _Readers()


@cache
def _writer(record: Any) -> tuple[bytes, Schema, Convert]:
    schema = resolved()[full_name(record)]
    return schema.mark, schema.parsed, datum_of(record)


def encode(record: Any) -> bytes:
    """The value bytes of a top-level record."""
    mark, schema, datum = _writer(cast(Hashable, type(record)))
    out = io.BytesIO()
    out.write(mark)
    schemaless_writer(out, schema, datum(record), strict=True)
    return out.getvalue()


def decode(value: bytes | None) -> Any:
    """The record of some value bytes. Raises BadRecord (of it, UnknownSchema)."""
    if value is None:
        raise BadRecord("no value")
    writer, reader, convert = _readers().get(value[:MARK_BYTES])
    source = io.BytesIO(value)
    source.seek(MARK_BYTES)
    try:
        datum = schemaless_reader(source, writer, reader, return_record_name=True, return_record_name_override=True)
        record = convert(datum)
    except Exception as error:  # whatever hostile bytes provoke in the decoder means the same
        raise BadRecord(f"damaged value: {type(error).__name__}") from error
    if source.tell() != len(value):
        raise BadRecord("damaged value: bytes behind its end")
    return record


def learn(texts: Iterable[str]) -> None:
    """Take in published schemas (JSON texts of `aion.schemas`); what is known already, or not ours, changes nothing."""
    for text in texts:
        _readers().add(resolve(json.loads(text)))
