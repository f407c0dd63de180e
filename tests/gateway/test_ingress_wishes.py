"""What records of `aion.ingress` mean: commands in both formats, and refusals that name the field, whatever the bytes."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from aion_common import limits
from aion_common.ids import CommandId, Namespace, RunId, Version, WorkflowId, WorkflowType, workflow_id_of
from aion_common.kafka.api import Headers, LogRecord
from aion_common.records.commands import CancelRun, Command, IdConflict, SignalRun, StartRun, TerminateRun
from aion_common.records.common import Payload, json_payload
from aion_common.records.ingress import CancelWorkflow, SignalWorkflow, StartWorkflow, TerminateWorkflow
from aion_common.wire import UnknownSchema, encode
from aion_gateway.ingress.wishes import Refusal, command_of
from gateway.ingress_records import JSON_HEADERS, in_avro, in_json, record
from wire.specimens import SPECIMENS

RUN, VERSION = RunId("0f" * 16), Version("ab" * 32)
W = WorkflowId("order/1")
ORDER = WorkflowType("order")
LEAST = {"type": "start", "workflow_type": "order"}
SIGNAL = {"type": "signal", "workflow_id": "w", "name": "go"}

FULL_START = StartRun(
    workflow_type=ORDER,
    version=VERSION,
    input=json_payload(b'{"sku": 7.10}'),
    id_conflict=IdConflict.USE_EXISTING,
    run_timeout_ms=60_000,
)


def refused(given_record: LogRecord) -> str:
    """Why."""
    meant = command_of(3, given_record)
    assert isinstance(meant, Refusal), meant
    return meant.reason


def command(given_record: LogRecord) -> Command:
    """What it means."""
    meant = command_of(3, given_record)
    assert isinstance(meant, Command), meant
    return meant


@pytest.mark.parametrize(
    ("text", "avro", "body"),
    [
        (
            '{"type":"start","namespace":"shop","workflow_type":"order","workflow_id":"order/1","input": {"sku": 7.10},'
            f'"version":"{VERSION}","id_conflict":"use_existing","run_timeout_ms":60000}}',
            StartWorkflow(
                namespace=Namespace("shop"),
                workflow_type=ORDER,
                workflow_id=W,
                input=json_payload(b'{"sku": 7.10}'),
                version=VERSION,
                id_conflict=IdConflict.USE_EXISTING,
                run_timeout_ms=60_000,
            ),
            FULL_START,
        ),
        (
            f'{{"namespace":"shop","workflow_id":"order/1","run_id":"{RUN}","name":"go","payload":null,"type":"signal"}}',
            SignalWorkflow(namespace=Namespace("shop"), workflow_id=W, run_id=RUN, name="go", payload=json_payload(b"null")),
            SignalRun(run_id=RUN, name="go", payload=json_payload(b"null")),
        ),
        (
            '{"type":"cancel","namespace":"shop","workflow_id":"order/1","reason":"no stock"}',
            CancelWorkflow(namespace=Namespace("shop"), workflow_id=W, reason="no stock"),
            CancelRun(run_id=None, reason="no stock"),
        ),
        (
            f'{{"type":"terminate","namespace":"shop","workflow_id":"order/1","run_id":"{RUN}"}}',
            TerminateWorkflow(namespace=Namespace("shop"), workflow_id=W, run_id=RUN),
            TerminateRun(run_id=RUN, reason=None),
        ),
    ],
    ids=["start", "signal", "cancel", "terminate"],
)
def test_both_formats_mean_the_same_command(text: str, avro: object, body: object) -> None:
    meant = command(in_json(text))
    assert meant == command(in_avro(avro))
    assert (meant.command_id, meant.reply_partition) == ("ingress/3/7", None)
    assert (meant.namespace, meant.workflow_id, meant.body) == ("shop", W, body)


@pytest.mark.parametrize("given_record", [in_json(LEAST), in_avro(StartWorkflow(workflow_type=ORDER))], ids=["json", "avro"])
def test_a_start_without_a_workflow_id_gets_one_that_follows_from_its_place(given_record: LogRecord) -> None:
    meant = command(given_record)
    assert (meant.namespace, meant.workflow_id) == ("default", workflow_id_of(CommandId("ingress/3/7")))
    assert meant.body == StartRun(
        workflow_type=ORDER, version=None, input=None, id_conflict=IdConflict.REJECT, run_timeout_ms=None
    )
    assert command(replace(given_record, offset=8)).workflow_id != meant.workflow_id


def test_a_payload_of_bytes_comes_through_as_it_is() -> None:
    payload = Payload(content_type="image/png", data=b"\x89PNG\xff")
    assert command(in_avro(SignalWorkflow(workflow_id=W, name="go", payload=payload))).body == SignalRun(
        run_id=None, name="go", payload=payload
    )


@pytest.mark.parametrize(
    ("given_record", "reason"),
    [
        (in_json(LEAST | {"inputs": 1}), "inputs: there is no such field"),
        (in_json(LEAST | {"wait": "closed"}), "wait: there is no such field"),
        (in_json({"type": "start"}), "workflow_type: Field required"),
        (in_json({"workflow_type": "order"}), "type: must be one of start, signal, cancel, terminate"),
        (in_json({"type": ["start"]}), "type: must be one of"),
        (in_json({"type": "signal", "workflow_id": "w"}), "name: Field required"),
        (in_json({"type": "cancel"}), "workflow_id: Field required"),
        (in_json(LEAST | {"workflow_id": ".."}), "workflow_id: must not be '.' or '..'"),
        (in_json(LEAST | {"workflow_id": "x" * 256}), "workflow_id: "),
        (in_json('{"type":"start","workflow_type":"\\ud800"}'), "workflow_type: "),
        (in_json(LEAST | {"namespace": "Shop"}), "namespace: "),
        (in_json(LEAST | {"version": "1"}), "version: "),
        (in_json(LEAST | {"run_timeout_ms": "5"}), "run_timeout_ms: "),
        (in_json(LEAST | {"id_conflict": "perhaps"}), "id_conflict: "),
        (in_json(SIGNAL | {"run_id": "1"}), "run_id: "),
        (in_json({"type": "cancel", "workflow_id": "w", "reason": "x" * 5_000}), "reason: "),
        (in_json('{"type":"start","type":"start"}'), "type: given twice"),
        (in_json("[]"), "value: expected a JSON object"),
        (in_json('{"type":'), "value: malformed JSON"),
        (in_json('{"type":"start","workflow_type":NaN}'), "value: NaN"),
        (in_json('{"type":"start","workflow_type":"order","input":' + "[" * 200 + "]" * 200 + "}"), "value: nested 2"),
        (record(b'{"type":"\xff"}', JSON_HEADERS), "value: not UTF-8"),
        (record(None), "value: there is none"),
        (record(None, JSON_HEADERS), "value: there is none"),
        (record(b"{}"), "value: not a single-object encoded Avro value; JSON needs the header content-type"),
        (record(b""), "value: not a single-object encoded Avro value"),
        (record(encode(StartWorkflow(workflow_type=ORDER))[:-2]), "value: damaged value"),
        (record(encode(SPECIMENS["command.start_run"])), "value: a Command is not taken here"),
        (record(b"{}", (("Content-Type", b"text/plain"),)), "content-type: must be application/json"),
        (record(b"{}", (("content-type", b"application/json; charset=latin-1"),)), "content-type: JSON is UTF-8"),
        (record(b"{}", (("content-type", b"\xff"),)), "content-type: must be one media type"),
        (record(b"{}", JSON_HEADERS * 2), "content-type: given twice"),
        (in_avro(StartWorkflow(workflow_type=WorkflowType(""))), "workflow_type: "),
        (in_avro(StartWorkflow(workflow_type=ORDER, run_timeout_ms=-1)), "run_timeout_ms: "),
        (
            in_avro(StartWorkflow(workflow_type=ORDER, input=Payload(content_type="text/plain", data=b"1"))),
            "input.content_type: must be application/json",
        ),
        (in_avro(StartWorkflow(workflow_type=ORDER, input=json_payload(b"{"))), "input: malformed JSON"),
        (
            in_avro(SignalWorkflow(workflow_id=W, name="go", payload=Payload(content_type="", data=b""))),
            "payload.content_type: must be one media type",
        ),
    ],
)
def test_a_refusal_names_the_field(given_record: LogRecord, reason: str) -> None:
    assert refused(given_record).startswith(f"invalid_argument: {reason}")


@pytest.mark.parametrize(
    ("given_record", "reason"),
    [
        (in_json(LEAST | {"input": "x" * limits.PAYLOAD_BYTES_MAX}), "input: has 262146 bytes, at most 262144 are taken"),
        (in_json(SIGNAL | {"payload": "x" * limits.PAYLOAD_BYTES_MAX}), "payload: has 262146 bytes"),
        (
            in_avro(SignalWorkflow(workflow_id=W, name="go", payload=Payload(content_type="a/b", data=bytes(262_145)))),
            "payload: has 262145 bytes",
        ),
        (in_json(LEAST | {"input": "x" * 500_000}), "value: has 5"),
        (record(b"{}", (*JSON_HEADERS, ("trace", bytes(20_000)))), "headers: has 20033 bytes, at most 16384 are taken"),
    ],
)
def test_what_is_too_large_is_refused_with_its_limit(given_record: LogRecord, reason: str) -> None:
    assert refused(given_record).startswith(f"payload_too_large: {reason}")


def test_a_reason_is_bounded_whatever_a_field_is_called() -> None:
    assert len(refused(in_json(LEAST | {"x" * 100_000: 1}))) == limits.REASON_BYTES_MAX


def test_a_schema_that_is_not_known_is_for_the_caller_to_learn() -> None:
    with pytest.raises(UnknownSchema):
        command_of(0, record(b"\xc3\x01" + bytes(20)))


@pytest.mark.parametrize("name", ["Content-Type", "content-type", "CONTENT-TYPE"])
@pytest.mark.parametrize("content_type", [b"application/json", b"application/json; charset=utf-8", b"Application/JSON"])
def test_the_content_type_is_written_as_people_do(name: str, content_type: bytes) -> None:
    headers: Headers = (("traceparent", b"\xff"), (name, content_type))
    assert command(replace(in_json(LEAST), headers=headers)) == command(in_json(LEAST))


def test_what_the_documentation_shows_is_taken() -> None:
    page = (Path(__file__).parents[2] / "docs" / "ingress.md").read_text(encoding="utf-8")
    shown = [json.loads(text) for text in re.findall(r'\{"type": .*?\}(?=[\'\n\\])', page)]
    assert [members["type"] for members in shown] == ["start", "signal", "start", "start"]
    for members in shown:
        command(in_json(members))
    _, sample = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    found: dict[str, Any] = {}
    exec(compile(sample, "docs/ingress.md", "exec"), found)
    assert command(record(found["value"])).workflow_id == "order-3"


_JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
_FIELDS = ["type", "namespace", "workflow_type", "workflow_id", "run_id", "name", "input", "payload", "reason", "version"]
_MEMBERS = st.dictionaries(st.sampled_from(_FIELDS) | st.text(), st.sampled_from(["start", "signal", "w"]) | _JSON, max_size=6)
_AVRO = [encode(value) for name, value in SPECIMENS.items() if "_workflow" in name]


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """An Avro value with some bytes replaced."""
    value = bytearray(draw(st.sampled_from(_AVRO)))
    for _ in range(draw(st.integers(1, 4))):
        value[draw(st.integers(0, len(value) - 1))] = draw(st.integers(0, 255))
    return bytes(value)


_RECORDS = st.one_of(
    _MEMBERS.map(in_json),
    st.binary(max_size=80).map(record),
    st.binary(max_size=80).map(lambda value: record(value, JSON_HEADERS)),
    damaged().map(record),
)


@given(_RECORDS)
@settings(max_examples=300, deadline=None)
def test_whatever_the_bytes_are_they_mean_a_command_or_a_refusal_and_always_the_same(given_record: LogRecord) -> None:
    try:
        meant = command_of(1, given_record)
    except UnknownSchema:
        return
    assert meant == command_of(1, given_record)
    if isinstance(meant, Command):
        assert len(encode(meant)) <= limits.COMMAND_BYTES_MAX
        assert (meant.command_id, meant.reply_partition) == ("ingress/1/7", None)
