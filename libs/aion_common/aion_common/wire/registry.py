"""The schemas of this release: read from `schemas/`, resolved, fingerprinted.

One file holds one named type; references go by full name. `TOP_LEVEL` lists what stands as a record value in some
topic; each of these is published, whole, in `aion.schemas`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from fastavro.schema import fingerprint, parse_schema, to_parsing_canonical_form

from aion_common.records import catalog, commands, events, ingress, owners, replies, tasks

Schema = dict[str, Any]

TOP_LEVEL: tuple[type, ...] = (
    commands.Command,
    commands.CatalogMarker,
    ingress.StartWorkflow,
    ingress.SignalWorkflow,
    ingress.CancelWorkflow,
    ingress.TerminateWorkflow,
    events.HistoryRecord,
    replies.Reply,
    catalog.CatalogCommand,
    catalog.CatalogRecord,
    catalog.PackageChunk,
    catalog.PackageManifest,
    catalog.Route,
    owners.Owner,
    tasks.Task,
    tasks.TaskReport,
    tasks.CancelTasks,
)


def full_name(record: type) -> str:
    """The Avro name of a record class: `aion.<module>.<class>`."""
    return f"aion.{record.__module__.rpartition('.')[2]}.{record.__name__}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedSchema:
    """One top-level schema. `text`: self-contained JSON; `mark`: the ten bytes before every value of it."""

    name: str
    text: str
    parsed: Schema
    mark: bytes


def schema_folder() -> Path:
    """Where the schemas are: beside this package when installed, else at the root of the repository."""
    packaged = Path(__file__).parent.parent / "_schemas"
    return packaged if packaged.is_dir() else Path(__file__).parents[4] / "schemas"


@cache
def definitions() -> Mapping[str, Schema]:
    """Every named type of `schemas/`, by full name, as written there."""
    found: dict[str, Schema] = {}
    for file in sorted(schema_folder().glob("*/*.avsc")):
        schema: Schema = json.loads(file.read_text(encoding="utf-8"))
        found[f"{schema['namespace']}.{schema['name']}"] = schema
    return MappingProxyType(found)


def resolve(schema: Any) -> ResolvedSchema:
    """A self-contained schema with its fingerprint (CRC-64-AVRO of the parsing canonical form, little endian)."""
    parsed: Any = parse_schema(schema)
    digest = fingerprint(to_parsing_canonical_form(schema), "CRC-64-AVRO")
    return ResolvedSchema(
        name=parsed["name"],
        text=json.dumps(schema, separators=(",", ":")),
        parsed=parsed,
        mark=b"\xc3\x01" + bytes.fromhex(digest),
    )


def read_schema(text: str | bytes) -> ResolvedSchema | None:
    """A published schema, which anybody may have written; None: it is none of a record."""
    try:
        return resolve(json.loads(text))
    except Exception:  # whatever hostile text provokes in a parser means the same
        return None


def is_schema(fingerprint_hex: str, text: bytes | None) -> bool:
    """Whether what stands under a fingerprint in `aion.schemas` is the schema that it belongs to."""
    schema = None if text is None else read_schema(text)
    return schema is not None and schema.mark[2:].hex() == fingerprint_hex


def self_contained(schema: Any) -> Any:
    """A schema, or the named type, with every type it refers to defined at its first use."""
    defined: set[str] = set()

    def inlined(schema: Any) -> Any:
        match schema:
            case str() if schema in definitions():
                return schema if schema in defined else define(schema)
            case list():
                return [inlined(branch) for branch in schema]
            case {"type": "array", "items": items}:
                return {"type": "array", "items": inlined(items)}
            case {"type": "record", "fields": [*fields]}:
                return {**schema, "fields": [{**field, "type": inlined(field["type"])} for field in fields]}
            case _:
                return schema

    def define(name: str) -> Any:
        defined.add(name)
        return inlined(definitions()[name])

    return inlined(schema)


@cache
def resolved() -> Mapping[str, ResolvedSchema]:
    """The top-level schemas of this release, by full name."""
    names = [full_name(record) for record in TOP_LEVEL]
    return MappingProxyType({name: resolve(self_contained(name)) for name in names})


def kept_schemas() -> list[str]:
    """Every schema in which this release, or one before it, has written, as JSON texts: for readers without Kafka."""
    return [file.read_text(encoding="utf-8") for file in sorted((schema_folder() / "golden" / "schemas").glob("*.avsc"))]


def schemas() -> Mapping[str, str]:
    """What a service publishes to `aion.schemas`: fingerprint (hex, as it stands in a value's mark) -> schema JSON."""
    return {schema.mark[2:].hex(): schema.text for schema in resolved().values()}
