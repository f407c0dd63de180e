"""The types of single fields: what names, ids and numbers look like on the wire, checked before anything uses them.

Path segments come still percent-encoded (`edge` sees to it), so that an id may hold a slash and bytes that are not UTF-8
are refused instead of replaced.
"""

import re
from typing import Annotated
from urllib.parse import unquote_to_bytes

from fastapi import Path, Request
from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints
from pydantic_core import PydanticCustomError

from aion_common import limits
from aion_common.ids import CommandId, Namespace, WorkflowId, http_command_id
from aion_gateway.gateway import Gateway
from aion_gateway.listing import Position, position_of_cursor

_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_RELATIVE = frozenset({".", ".."})
_DECIMAL = re.compile(r"0|[1-9][0-9]{0,17}")

_LINE_BREAKS = re.compile(r"[\t\r\n]")

NAMESPACE_PATTERN = r"^[a-z0-9][a-z0-9_-]{0,62}$"


def printable(text: str) -> str:
    """The text, if it may be an id or a name; else a validation error."""
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise PydanticCustomError("not_utf8", "must be UTF-8") from None
    if not 1 <= size <= limits.NAME_BYTES_MAX:
        raise PydanticCustomError(
            "size", "must have 1 to {bytes_max} bytes of UTF-8, has {size}", {"bytes_max": limits.NAME_BYTES_MAX, "size": size}
        )
    if not text.isprintable():
        raise PydanticCustomError("not_printable", "must hold nothing but printable characters")
    return text


def name_of(text: str) -> str:
    """As `printable`, for what may stand in a path; else a validation error."""
    if text in _RELATIVE:
        raise PydanticCustomError("relative", "must not be '.' or '..', which clients and proxies resolve in paths")
    return printable(text)


def sentence(text: str) -> str:
    """The text, if it may be the reason of something, for people; else a validation error."""
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise PydanticCustomError("not_utf8", "must be UTF-8") from None
    if size > limits.REASON_BYTES_MAX:
        raise PydanticCustomError(
            "size",
            "must have at most {bytes_max} bytes of UTF-8, has {size}",
            {"bytes_max": limits.REASON_BYTES_MAX, "size": size},
        )
    if not _LINE_BREAKS.sub("", text).isprintable():
        raise PydanticCustomError("not_printable", "must hold nothing but printable characters, tabs and line breaks")
    return text


def _cursor(text: str) -> Position:
    position = position_of_cursor(text)
    if position is None:
        raise PydanticCustomError("no_cursor", "must be the next_cursor of an earlier answer")
    return position


def _segment(text: str) -> str:
    if _BAD_ESCAPE.search(text):
        raise PydanticCustomError("bad_escape", "holds a '%' that is not followed by two hexadecimal digits")
    try:
        return unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        raise PydanticCustomError("not_utf8", "must be percent-encoded UTF-8") from None


def _decimal(text: object) -> object:
    """Query parameters are text; nothing but plain decimal digits is a number."""
    if isinstance(text, str):
        if not _DECIMAL.fullmatch(text):
            raise PydanticCustomError("not_decimal", "must be a number in decimal digits")
        return int(text)
    return text


_NAME = Field(min_length=1, max_length=limits.NAME_BYTES_MAX)

NamespaceText = Annotated[str, StringConstraints(pattern=NAMESPACE_PATTERN)]
Name = Annotated[str, AfterValidator(name_of), _NAME]
RunIdText = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
VersionText = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
WaitMs = Annotated[int, Field(ge=0, le=limits.WAIT_MS_MAX)]
QueryWaitMs = Annotated[int, BeforeValidator(_decimal), Field(ge=0, le=limits.WAIT_MS_MAX)]
QuerySeq = Annotated[int, BeforeValidator(_decimal), Field(ge=1)]
QueryLimit = Annotated[int, BeforeValidator(_decimal), Field(ge=1, le=limits.HISTORY_EVENTS_MAX)]
RunTimeoutMs = Annotated[int, Field(ge=1, le=limits.RUN_TIMEOUT_MS_MAX)]
Reason = Annotated[str, AfterValidator(sentence), Field(max_length=limits.REASON_BYTES_MAX)]
QueryAnswerMs = Annotated[int, BeforeValidator(_decimal), Field(ge=0, le=limits.QUERY_MS_MAX)]
QueryTime = Annotated[int, BeforeValidator(_decimal), Field(ge=0)]
QueryRuns = Annotated[int, BeforeValidator(_decimal), Field(ge=1, le=limits.LIST_PAGE_MAX)]
QueryCursor = Annotated[Position, BeforeValidator(_cursor, json_schema_input_type=str)]

PathName = Annotated[str, BeforeValidator(_segment), AfterValidator(name_of), Path()]
PathVersion = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$"), Path()]


def gateway_of(request: Request) -> Gateway:
    """The gateway that this request came to."""
    gateway: Gateway = request.app.state.gateway
    return gateway


def command_id_of(request: Request, namespace: Namespace, workflow_id: str | None = None) -> CommandId:
    """The command id of a mutating call: the same for every repeat with its idempotency key about the same workflow id."""
    named = None if workflow_id is None else WorkflowId(workflow_id)
    return http_command_id(namespace, request.state.idempotency_key, named)
