"""Schemas may grow, never break: full compatibility for histories, backward for everything else."""

import json

import pytest
from avro.compatibility import ReaderWriterCompatibilityChecker, SchemaCompatibilityType
from avro.schema import parse

from aion_common.records.events import HistoryRecord
from aion_common.wire.registry import full_name, resolved
from wire.specimens import GOLDEN

PUBLISHED = sorted((GOLDEN / "schemas").glob("*.avsc"))


def readable(reader: str, writer: str) -> bool:
    """Whether values of one schema can be read with another."""
    checker = ReaderWriterCompatibilityChecker()  # type: ignore[no-untyped-call]
    checked = checker.get_compatibility(parse(reader), parse(writer))
    return checked.compatibility is SchemaCompatibilityType.compatible


@pytest.mark.parametrize("file", PUBLISHED, ids=lambda file: file.stem)
def test_what_was_published_stays_readable(file: object) -> None:
    old = file.read_text(encoding="utf-8")  # type: ignore[attr-defined]
    schema = json.loads(old)
    name = f"{schema['namespace']}.{schema['name']}"
    ours = resolved()[name].text
    assert readable(ours, old)
    if name == full_name(HistoryRecord):
        assert readable(old, ours)


@pytest.mark.parametrize("name", resolved())
def test_every_schema_in_use_is_kept(name: str) -> None:
    schema = resolved()[name]
    kept = GOLDEN / "schemas" / f"{name}-{schema.mark[2:].hex()}.avsc"
    assert kept.exists(), "run tests/wire/specimens.py to keep a schema that changed, beside its older ones"


def test_a_required_field_more_would_be_noticed() -> None:
    schema = json.loads(resolved()["aion.owners.Owner"].text)
    broken = {**schema, "fields": [*schema["fields"], {"name": "zone", "type": "string"}]}
    assert not readable(json.dumps(broken), json.dumps(schema))
