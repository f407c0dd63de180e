"""What a record of `aion.ingress` means: a command, or why it is none. Pure.

The same record means the same at every gateway and at every repeat: its command id is its place, and nothing else is made up.
Whatever foreign producers write ends here as one of the two.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from msgspec import structs
from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticCustomError

from aion_common import limits
from aion_common.errors import BadRecord
from aion_common.ids import Namespace, RunId, Version, WorkflowId, WorkflowType, ingress_command_id, workflow_id_of
from aion_common.kafka.api import LogRecord
from aion_common.records.commands import CancelRun, Command, CommandBody, IdConflict, SignalRun, StartRun, TerminateRun
from aion_common.records.common import JSON, Payload, json_payload
from aion_common.records.ingress import CancelWorkflow, SignalWorkflow, StartWorkflow, TerminateWorkflow
from aion_common.records.replies import RejectionCode
from aion_common.wire import UnknownSchema, decode
from aion_gateway.fields import first_error, media_type
from aion_gateway.ingress.models import End, Signal, Start
from aion_gateway.json_text import BadJson, JsonText, check_value, members_of

VALUE_BYTES_MAX = limits.PAYLOAD_BYTES_MAX + limits.REQUEST_ENVELOPE_BYTES_MAX

_CONTENT_TYPE = "content-type"
_AVRO = frozenset({"application/avro", "avro/binary"})
_USER_DATA = frozenset({"input", "payload"})
_TERMINATE = "terminate"
_MODELS: Mapping[str, type[BaseModel]] = MappingProxyType({"start": Start, "signal": Signal, "cancel": End, _TERMINATE: End})
_KINDS: Mapping[type, str] = MappingProxyType(
    {StartWorkflow: "start", SignalWorkflow: "signal", CancelWorkflow: "cancel", TerminateWorkflow: _TERMINATE}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a record is no command, in words that name the field; at most limits.REASON_BYTES_MAX characters."""

    reason: str


class _Refused(Exception):
    def __init__(self, field: str, detail: str, code: RejectionCode = RejectionCode.INVALID_ARGUMENT) -> None:
        super().__init__(f"{code}: {field}: {detail}"[: limits.REASON_BYTES_MAX])


def command_of(partition: int, record: LogRecord) -> Command | Refusal:
    """The command that a record of this partition means, whose answer nobody waits for. Raises UnknownSchema: learn what is
    published, and ask again."""
    try:
        kind, members = _wish_of(record)
        wish = _checked(_MODELS[kind], members)
        body = _body_of(kind, wish)
    except _Refused as refused:
        return Refusal(reason=str(refused))
    except BadJson as error:
        return Refusal(reason=str(_Refused(error.field or "value", str(error))))
    command_id = ingress_command_id(partition, record.offset)
    return Command(
        command_id=command_id,
        namespace=Namespace(wish.namespace),
        workflow_id=workflow_id_of(command_id) if wish.workflow_id is None else WorkflowId(wish.workflow_id),
        reply_partition=None,
        body=body,
    )


def unknown_schema(error: UnknownSchema) -> Refusal:
    """The refusal of a record whose schema nobody has published."""
    return Refusal(reason=str(_Refused("value", f"{error}; docs/ingress.md says which schemas are taken")))


def _wish_of(record: LogRecord) -> tuple[str, Mapping[str, object]]:
    """What kind of wish it is, and its fields as they were given. Raises _Refused, BadJson, UnknownSchema."""
    content_type = _content_type_of(record.headers)
    if record.value is None:
        raise _Refused("value", "there is none")
    if len(record.value) > VALUE_BYTES_MAX:
        raise _too_large("value", len(record.value), VALUE_BYTES_MAX)
    return _wish_in_json(record.value) if content_type == JSON else _wish_in_avro(record.value)


def _content_type_of(headers: Sequence[tuple[str, bytes | None]]) -> str | None:
    size = sum(len(name) + len(value or b"") for name, value in headers)
    if size > limits.INGRESS_HEADERS_BYTES_MAX:
        raise _too_large("headers", size, limits.INGRESS_HEADERS_BYTES_MAX)
    given = [value for name, value in headers if name.lower() == _CONTENT_TYPE]
    if not given:
        return None
    if len(given) > 1:
        raise _Refused(_CONTENT_TYPE, "given twice")
    content_type = _media_type(_CONTENT_TYPE, (given[0] or b"").decode(errors="replace"))
    if content_type != JSON and content_type.lower() not in _AVRO:
        raise _Refused(_CONTENT_TYPE, f"must be {JSON}, or application/avro, or absent for Avro")
    return content_type


def _wish_in_json(value: bytes) -> tuple[str, Mapping[str, object]]:
    members = members_of(value, exact=_USER_DATA)
    kind = members.pop("type", None)
    if not isinstance(kind, str) or kind not in _MODELS:
        raise _Refused("type", f"must be one of {', '.join(_MODELS)}")
    return kind, members


def _wish_in_avro(value: bytes) -> tuple[str, Mapping[str, object]]:
    try:
        record = decode(value)
    except UnknownSchema:
        raise
    except BadRecord as error:
        hint = f"; JSON needs the header {_CONTENT_TYPE}: {JSON}" if value[:1] in {b"{", b"["} else ""
        raise _Refused("value", f"{error}{hint}") from error
    kind = _KINDS.get(type(record))
    if kind is None:
        raise _Refused("value", f"a {type(record).__name__} is not taken here")
    members = structs.asdict(record)
    if isinstance(record, StartWorkflow):
        members["id_conflict"] = record.id_conflict.value
    return kind, members


def _checked(model: type[BaseModel], members: Mapping[str, object]) -> Any:
    try:
        return model.model_validate(members)
    except ValidationError as error:
        raise _Refused(*first_error(error.errors())) from None


def _body_of(kind: str, wish: Start | Signal | End) -> CommandBody:
    match wish:
        case Start():
            return StartRun(
                workflow_type=WorkflowType(wish.workflow_type),
                version=None if wish.version is None else Version(wish.version),
                input=_payload("input", wish.input, _json_only),
                id_conflict=IdConflict(wish.id_conflict),
                run_timeout_ms=wish.run_timeout_ms,
            )
        case Signal():
            payload = _payload("payload", wish.payload, _media_type)
            return SignalRun(run_id=_run_id(wish.run_id), name=wish.name, payload=payload)
        case End():
            end = TerminateRun if kind == _TERMINATE else CancelRun
            return end(run_id=_run_id(wish.run_id), reason=wish.reason)


def _run_id(text: str | None) -> RunId | None:
    return None if text is None else RunId(text)


def _payload(field: str, given: object, content_type_of: Callable[[str, str], str]) -> Payload | None:
    """User data as it came: the text of a JSON member, or what an Avro record holds."""
    match given:
        case None:
            return None
        case JsonText(text=text):
            payload = json_payload(text.encode())
        case Payload():
            payload = Payload(content_type=content_type_of(f"{field}.content_type", given.content_type), data=given.data)
        case _:
            raise AssertionError("user data is kept as it came")
    if len(payload.data) > limits.PAYLOAD_BYTES_MAX:
        raise _too_large(field, len(payload.data), limits.PAYLOAD_BYTES_MAX)
    if isinstance(given, Payload) and payload.content_type == JSON:
        _check_json(field, payload.data)
    return payload


def _check_json(field: str, data: bytes) -> None:
    try:
        check_value(data)
    except BadJson as error:
        raise _Refused(field, str(error)) from error


def _media_type(field: str, text: str) -> str:
    try:
        return media_type(text)
    except PydanticCustomError as error:
        raise _Refused(field, error.message()) from None


def _json_only(field: str, text: str) -> str:
    if _media_type(field, text) != JSON:
        raise _Refused(field, f"must be {JSON}")
    return JSON


def _too_large(field: str, size: int, limit_bytes: int) -> _Refused:
    return _Refused(field, f"has {size} bytes, at most {limit_bytes} are taken", RejectionCode.PAYLOAD_TOO_LARGE)
