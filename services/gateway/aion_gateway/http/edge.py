"""The outermost layer, before any route: limit of requests at once, idempotency key, query and path as they really are.

A plain ASGI function, because it must see the raw bytes: frameworks replace what is not UTF-8, and two ids must never
become one.
"""

import secrets
from collections import Counter
from urllib.parse import parse_qsl

from pydantic_core import PydanticCustomError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aion_common.records.replies import RejectionCode
from aion_gateway.http.fields import printable
from aion_gateway.http.problems import IDEMPOTENCY_KEY, Refused, invalid, problem_response, refused

MUTATING = frozenset({"POST", "PUT", "PATCH", "DELETE"})
ALWAYS_SERVED = frozenset({"/healthz", "/readyz"})
QUERY_FIELDS_MAX = 20
_KEY_HEADER = IDEMPOTENCY_KEY.lower().encode()


def edge(app: ASGIApp, /, in_flight_max: int) -> ASGIApp:
    """The app behind the edge. More than `in_flight_max` requests at once are `overloaded`; health checks never are."""
    in_flight = 0

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal in_flight
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        is_counted = scope["path"] not in ALWAYS_SERVED
        in_flight += is_counted
        try:
            await _serve(scope, receive, send, None if is_counted and in_flight > in_flight_max else app)
        finally:
            in_flight -= is_counted

    return guarded


async def _serve(scope: Scope, receive: Receive, send: Send, app: ASGIApp | None) -> None:
    """Serve one request; without an app it is refused, there being too many."""
    key = None

    async def send_with_key(message: Message) -> None:
        if key is not None and message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), (_KEY_HEADER, key.encode())]}
        await send(message)

    try:
        if scope["method"] in MUTATING:
            key = _key_of(scope)
            scope.setdefault("state", {})["idempotency_key"] = key
        _check_query(scope["query_string"])
        if app is None:
            raise refused(RejectionCode.OVERLOADED, "too many requests are being served, try again in a moment")
    except Refused as refusal:
        await problem_response(refusal, key)(scope, receive, send_with_key)
        return
    scope["path"] = scope["raw_path"].decode("ascii")
    await app(scope, receive, send_with_key)


def _key_of(scope: Scope) -> str:
    given = [value for name, value in scope["headers"] if name == _KEY_HEADER]
    if not given:
        return secrets.token_hex(16)
    if len(given) > 1:
        raise invalid(IDEMPOTENCY_KEY, "given twice")
    try:
        return printable(given[0].decode())
    except UnicodeDecodeError:
        raise invalid(IDEMPOTENCY_KEY, "must be UTF-8") from None
    except PydanticCustomError as error:
        raise invalid(IDEMPOTENCY_KEY, error.message()) from None


def _check_query(query: bytes) -> None:
    try:
        pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True, errors="strict", max_num_fields=QUERY_FIELDS_MAX)
    except UnicodeDecodeError:
        raise invalid("query", "must be percent-encoded UTF-8") from None
    except ValueError:
        raise invalid("query", f"has more than {QUERY_FIELDS_MAX} parameters") from None
    for name, times in Counter(name for name, _ in pairs).items():
        if times > 1:
            raise invalid(name, "given twice")
