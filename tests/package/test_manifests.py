"""A manifest is read strictly, names its workflow types, and has one digest however it was written."""

import json
from typing import Any

import pytest
from blake3 import blake3

from aion_common.errors import BadPackage
from aion_common.ids import WorkflowType
from aion_common.limits import PACKAGE_TYPES_MAX
from aion_common.package.manifest import EntryPoint, parse_manifest, stamped_json
from package.made_archives import manifest


def text(document: Any) -> bytes:
    return json.dumps(document).encode()


def additional(**changed: Any) -> dict[str, Any]:
    document = {
        "workflow_type": "refund",
        "entry_module": "order_refund",
        "entry_function": "start",
        "input_schema": {},
        "output_schema": {},
        "internal": True,
    }
    return {field: value for field, value in (document | changed).items() if value is not ...}


def test_all_workflow_types_are_named_with_where_they_begin() -> None:
    read = parse_manifest(
        text(manifest(timeout={"secs": 2, "nanos": 1}, additional_workflows=[additional(timeout={"secs": 0, "nanos": 0})]))
    )
    assert read.types() == (
        EntryPoint(workflow_type=WorkflowType("order"), module="order", function="run", timeout_ms=2_001, internal=False),
        EntryPoint(workflow_type=WorkflowType("refund"), module="order_refund", function="start", timeout_ms=0, internal=True),
    )
    assert read.activities == ("charge",)


def test_the_longest_time_out_is_cut_to_64_bits() -> None:
    read = parse_manifest(text(manifest(timeout={"secs": 2**64 - 1, "nanos": 0})))
    assert read.types()[0].timeout_ms == 2**63 - 1


def test_a_missing_internal_and_a_null_timeout_mean_none() -> None:
    read = parse_manifest(text(manifest(timeout=None, additional_workflows=[additional(internal=..., timeout=None)])))
    assert [entry.internal for entry in read.types()] == [False, False]
    assert [entry.timeout_ms for entry in read.types()] == [None, None]


def test_the_digest_is_of_the_canonical_json_without_the_version() -> None:
    document = manifest(input_schema={"title": "Größe", "b": [1, 2.5, None], "a": "\u0001"})
    canonical = json.dumps(
        {field: value for field, value in document.items() if field != "version"},
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=False,
    ).encode()
    read = parse_manifest(text(document))
    assert read.canonical_json == canonical
    assert read.digest() == blake3(canonical).hexdigest()


def test_order_spaces_and_stamp_do_not_change_the_digest_but_schemas_do() -> None:
    plain = parse_manifest(text(manifest()))
    shuffled = dict(reversed(manifest(version="a" * 64).items()))
    assert parse_manifest(json.dumps(shuffled, indent=3).encode()).digest() == plain.digest()
    assert parse_manifest(text(manifest(input_schema={}))).digest() != plain.digest()


def test_what_is_written_is_read_again() -> None:
    read = parse_manifest(text(manifest(version="b" * 64, additional_workflows=[additional()])))
    assert parse_manifest(stamped_json(read)) == read


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        (manifest(format_version=2, news=1), "format version 2; only 1 is known"),
        (manifest(format_version=True), "format version true"),
        (manifest(format_version="1"), 'format version "1"'),
        (manifest(format_version=...), "lacks the field 'format_version'"),
        ([], "not a JSON object"),
        (manifest(entry_module=...), "lacks the field 'entry_module'"),
        (manifest(output_schema=...), "lacks the field 'output_schema'"),
        (manifest(activities=...), "lacks the field 'activities'"),
        (manifest(version=...), "lacks the field 'version'"),
        (manifest(timout={"secs": 1, "nanos": 0}), 'unknown field "timout"'),
        (manifest(entry_module=7), "entry_module in manifest.json is 7, not a string"),
        (manifest(entry_module=""), "a name has 1 to 255 bytes"),
        (manifest(entry_function="r\nun"), "a name has 1 to 255 bytes"),
        (manifest(entry_function="x" * 256), "a name has 1 to 255 bytes"),
        (manifest(entry_function="\ud800"), "a name has 1 to 255 bytes"),
        (manifest(version="A" * 64), "not 64 lowercase hex digits"),
        (manifest(version="a" * 63), "not 64 lowercase hex digits"),
        (manifest(version=None), "version in manifest.json is null"),
        (manifest(timeout=5), "timeout is 5, not a JSON object"),
        (manifest(timeout={"secs": 5}), "timeout lacks the field 'nanos'"),
        (manifest(timeout={"secs": -1, "nanos": 0}), "timeout.secs is -1"),
        (manifest(timeout={"secs": 1.5, "nanos": 0}), "timeout.secs is 1.5"),
        (manifest(timeout={"secs": True, "nanos": 0}), "timeout.secs is true"),
        (manifest(timeout={"secs": 1, "nanos": 10**9}), "timeout.nanos is 1000000000"),
        (manifest(activities={}), "activities in manifest.json is {}, not a list"),
        (manifest(activities=["charge"]), r"activities\[0\] is \"charge\", not a JSON object"),
        (manifest(activities=[{"activity_type": "a", "x": 1}]), r"activities\[0\] has the unknown field"),
        (manifest(additional_workflows=None), "not a list"),
        (manifest(additional_workflows=[{}]), r"additional_workflows\[0\] lacks the field"),
        (manifest(additional_workflows=[additional(internal=1)]), r"\[0\].internal is 1, not true or false"),
        (manifest(additional_workflows=[additional(timeout={})]), r"\[0\].timeout lacks the field"),
        (manifest(additional_workflows=[additional(extra=1)]), r"\[0\] has the unknown field"),
        (manifest(additional_workflows=[additional(), additional()]), "workflow type 'refund' twice"),
        (manifest(additional_workflows=[additional(workflow_type="order")]), "workflow type 'order' twice"),
        (manifest(additional_workflows=[additional()] * PACKAGE_TYPES_MAX), f"more than {PACKAGE_TYPES_MAX} workflow types"),
        (manifest(input_schema="\ud800"), "half of a surrogate pair"),
        (manifest(input_schema="x" * 524_288), "longer than 524288 bytes"),
    ],
)
def test_broken_manifests_are_refused_naming_the_field(document: Any, sentence: str) -> None:
    with pytest.raises(BadPackage, match=sentence):
        parse_manifest(text(document))


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b"\xff\xfe", "not UTF-8 text"),
        (b'{"a": NaN}', "it holds NaN"),
        (b'{"a": -Infinity}', "it holds -Infinity"),
        (b'{"a": 1, "a": 2}', 'gives "a" twice'),
        (b'{"a": ' + b"9" * 5_000 + b"}", "not valid JSON"),
        (b"[" * 100 + b"]" * 100, "nested deeper than 64 levels"),
        (b"[" * 200_000, "nested deeper than 64 levels"),
        (text(manifest())[:-1] + b', "timeout": 1e999}', "timeout is Infinity"),
        (text(manifest(input_schema=...))[:-1] + b', "input_schema": 1e999}', "a number that is too large"),
    ],
)
def test_what_is_no_json_is_refused(raw: bytes, sentence: str) -> None:
    with pytest.raises(BadPackage, match=sentence):
        parse_manifest(raw)
