"""The fields of HTTP calls alone: path segments, numbers in queries, and what a request carries with it.

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
from aion_gateway.fields import name_of
from aion_gateway.gateway import Gateway
from aion_gateway.listing import Position, position_of_cursor

_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_DECIMAL = re.compile(r"0|[1-9][0-9]{0,17}")


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


WaitMs = Annotated[int, Field(ge=0, le=limits.WAIT_MS_MAX)]
QueryWaitMs = Annotated[int, BeforeValidator(_decimal), Field(ge=0, le=limits.WAIT_MS_MAX)]
QuerySeq = Annotated[int, BeforeValidator(_decimal), Field(ge=1)]
QueryLimit = Annotated[int, BeforeValidator(_decimal), Field(ge=1, le=limits.HISTORY_EVENTS_MAX)]
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
