"""Request bodies: read within a limit, and parsed as what their content type says they are."""

import asyncio
from collections.abc import AsyncIterator, Collection
from typing import TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticCustomError
from starlette.requests import ClientDisconnect

from aion_common import limits
from aion_common.records.common import JSON
from aion_common.records.replies import RejectionCode
from aion_gateway.fields import media_type
from aion_gateway.http.problems import Refused, invalid, invalid_by, refused
from aion_gateway.json_text import members_of

Model = TypeVar("Model", bound=BaseModel)

JSON_BODY_BYTES_MAX = limits.PAYLOAD_BYTES_MAX + limits.REQUEST_ENVELOPE_BYTES_MAX


def content_type_of(request: Request) -> str | None:
    """The content type of the body as it was given, or None; `application/json` without its parameters, which must not name
    a charset other than UTF-8. Raises Refused."""
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise invalid("Content-Encoding", "bodies are taken as they are, without compression")
    given = request.headers.getlist("content-type")
    if not given:
        return None
    if len(given) > 1:
        raise invalid("Content-Type", "given twice")
    try:
        return media_type(given[0])
    except PydanticCustomError as error:
        raise invalid("Content-Type", error.message()) from None


async def json_body(request: Request, model: type[Model], *, exact: Collection[str] = ()) -> Model:
    """The body, which must be the JSON object that the model describes; members named in `exact` are kept as JsonText.
    Raises Refused, BadJson."""
    if content_type_of(request) != JSON:
        raise invalid("Content-Type", f"must be {JSON}")
    return _parsed(await read_body(request, JSON_BODY_BYTES_MAX), model, exact)


async def json_body_if_any(request: Request, model: type[Model]) -> Model:
    """As `json_body`, of a model without required members: an absent body is an empty object. Raises Refused, BadJson."""
    content_type = content_type_of(request)
    body = await read_body(request, JSON_BODY_BYTES_MAX)
    if not body:
        return model()
    if content_type != JSON:
        raise invalid("Content-Type", f"must be {JSON}")
    return _parsed(body, model, ())


def _parsed(body: bytes, model: type[Model], exact: Collection[str]) -> Model:
    members = members_of(body, exact=exact)
    try:
        return model.model_validate(members)
    except ValidationError as error:
        raise invalid_by(error.errors()) from None


async def read_body(request: Request, limit_bytes: int) -> bytes:
    """The whole body. Raises Refused if it is larger."""
    body = bytearray()
    async for piece in pieces(request, limit_bytes):
        body += piece
    return bytes(body)


async def pieces(request: Request, limit_bytes: int) -> AsyncIterator[bytes]:
    """The body as it arrives. Raises Refused at its end if it is larger, and when nothing comes for limits.BODY_IDLE_MS."""
    stated = request.headers.get("content-length", "0")
    if stated.isdecimal() and int(stated) > limit_bytes + limits.BODY_DRAINED_BYTES_MAX:
        raise too_large(limit_bytes)
    taken = 0
    is_more = True
    while is_more and taken <= limit_bytes + limits.BODY_DRAINED_BYTES_MAX:
        piece, is_more = await _next_piece(request)
        taken += len(piece)
        if piece and taken <= limit_bytes:
            yield piece
    if taken > limit_bytes:
        raise too_large(limit_bytes)


async def _next_piece(request: Request) -> tuple[bytes, bool]:
    """What has come of the body, and whether more follows. Raises Refused when nothing comes, ClientDisconnect."""
    try:
        async with asyncio.timeout(limits.BODY_IDLE_MS / 1000):
            message = await request.receive()
    except TimeoutError as error:
        raise invalid("body", f"nothing of it came for {limits.BODY_IDLE_MS} ms") from error
    if message["type"] == "http.disconnect":
        raise ClientDisconnect
    return message.get("body", b""), message.get("more_body", False)


def too_large(limit_bytes: int) -> Refused:
    """The body, or the payload in it, is larger than this."""
    return refused(RejectionCode.PAYLOAD_TOO_LARGE, f"at most {limit_bytes} bytes are taken here", limit_bytes=limit_bytes)
