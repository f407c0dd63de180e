"""Schemas may grow, never break: backward compatibility for everything; for histories also forward, but for kinds of events
that the older release does not know.
"""

import json
from collections.abc import Iterator
from typing import Any

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


def without_new_branches(schema: Any, older: Any) -> Any:
    """The schema, less the branches of unions that the older one does not have. Types are defined at their first use, so
    both are made self-contained anew."""
    known = dict(named_types(older))
    current = dict(named_types(schema))

    def cut(schema: Any, older: Any, defined: set[str]) -> Any:
        if isinstance(schema, str) and schema in current and schema not in defined:
            schema = current[schema]
        if isinstance(older, str):
            older = known.get(older, schema)
        if isinstance(schema, dict) and "name" in schema:
            if name_of(schema) in defined:
                return name_of(schema)
            defined.add(name_of(schema))
        match schema, older:
            case list(), list():
                before = {name_of(branch): branch for branch in older}
                return [cut(branch, before[name_of(branch)], defined) for branch in schema if name_of(branch) in before]
            case {"type": "record"}, {"type": "record"}:
                types = {field["name"]: field["type"] for field in older["fields"]}
                fields = [
                    {**field, "type": cut(field["type"], types.get(field["name"], field["type"]), defined)}
                    for field in schema["fields"]
                ]
                return {**schema, "fields": fields}
            case {"type": "array"}, {"type": "array"}:
                return {**schema, "items": cut(schema["items"], older["items"], defined)}
            case _:
                return schema

    return cut(schema, older, set())


def name_of(schema: Any) -> str:
    """The full name of a named type, else the kind of type."""
    if isinstance(schema, str):
        return schema
    return f"{schema['namespace']}.{schema['name']}" if "name" in schema else str(schema["type"])


def named_types(schema: Any) -> Iterator[tuple[str, Any]]:
    """Every named type defined in a schema."""
    match schema:
        case list():
            for branch in schema:
                yield from named_types(branch)
        case {"type": "array", "items": items}:
            yield from named_types(items)
        case {"name": _, "type": kind}:
            yield name_of(schema), schema
            if kind == "record":
                for field in schema["fields"]:
                    yield from named_types(field["type"])


@pytest.mark.parametrize("file", PUBLISHED, ids=lambda file: file.stem)
def test_what_was_published_stays_readable(file: object) -> None:
    old = file.read_text(encoding="utf-8")  # type: ignore[attr-defined]
    schema = json.loads(old)
    name = f"{schema['namespace']}.{schema['name']}"
    ours = resolved()[name].text
    assert readable(ours, old)
    if name == full_name(HistoryRecord):
        assert readable(old, json.dumps(without_new_branches(json.loads(ours), schema)))


@pytest.mark.parametrize("name", resolved())
def test_every_schema_in_use_is_kept(name: str) -> None:
    schema = resolved()[name]
    kept = GOLDEN / "schemas" / f"{name}-{schema.mark[2:].hex()}.avsc"
    assert kept.exists(), "run tests/wire/specimens.py to keep a schema that changed, beside its older ones"


def test_a_required_field_more_would_be_noticed() -> None:
    schema = json.loads(resolved()["aion.owners.Owner"].text)
    broken = {**schema, "fields": [*schema["fields"], {"name": "zone", "type": "string"}]}
    assert not readable(json.dumps(broken), json.dumps(schema))
