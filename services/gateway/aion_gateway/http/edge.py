"""The outermost layer, before any route: limit of requests at once, idempotency key, query and path as they really are; and
what is counted of every request.

A plain ASGI function, because it must see the raw bytes: frameworks replace what is not UTF-8, and two ids must never
become one.
"""

import secrets
from collections import Counter
from time import perf_counter
from urllib.parse import parse_qsl

from pydantic_core import PydanticCustomError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aion_common.errors import Unavailable
from aion_common.metrics import HTTP_IN_FLIGHT, HTTP_OVERLOADED
from aion_common.records.replies import RejectionCode
from aion_gateway.drain import Drain
from aion_gateway.fields import printable
from aion_gateway.http.counting import count
from aion_gateway.http.problems import IDEMPOTENCY_KEY, Refused, invalid, problem_response, refused

MUTATING = frozenset({"POST", "PUT", "PATCH", "DELETE"})
ALWAYS_SERVED = frozenset({b"/healthz", b"/readyz", b"/metrics"})
QUERY_FIELDS_MAX = 20
_KEY_HEADER = IDEMPOTENCY_KEY.lower().encode()


def edge(app: ASGIApp, /, drain: Drain, in_flight_max: int) -> ASGIApp:
    """The app behind the edge. More than `in_flight_max` requests at once are `overloaded`; those that must work when
    everything else does not never are. Who has no answer when the gateway ends is told that it is `unavailable`."""

    async def ending(scope: Scope, receive: Receive, send: Send) -> None:
        async with drain.taken():
            await app(scope, receive, send)

    in_flight = 0

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal in_flight
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        began = perf_counter()
        exchange = _Exchange(send)
        is_limited = scope["raw_path"] not in ALWAYS_SERVED
        in_flight += is_limited
        HTTP_IN_FLIGHT.inc()
        try:
            await _serve(scope, receive, exchange, None if is_limited and in_flight > in_flight_max else ending)
        finally:
            in_flight -= is_limited
            HTTP_IN_FLIGHT.dec()
            count(scope, exchange.status, perf_counter() - began)

    return guarded


class _Exchange:
    """A request's way back: `send` adds the key, once there is one, and keeps the status of the answer; until there is an
    answer, that of a defect, which is answered further out."""

    __slots__ = ("_send", "has_begun", "key", "status")

    def __init__(self, send: Send) -> None:
        self._send = send
        self.key: str | None = None
        self.status = 500
        self.has_begun = False

    async def send(self, message: Message) -> None:
        """See ASGI."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.has_begun = True
            if self.key is not None:
                message = {**message, "headers": [*message.get("headers", ()), (_KEY_HEADER, self.key.encode())]}
        await self._send(message)


async def _serve(scope: Scope, receive: Receive, exchange: _Exchange, app: ASGIApp | None) -> None:
    """Serve one request; without an app it is refused, there being too many."""
    try:
        if scope["method"] in MUTATING:
            exchange.key = _key_of(scope)
            scope.setdefault("state", {})["idempotency_key"] = exchange.key
        if scope["query_string"]:
            _check_query(scope["query_string"])
        if app is None:
            HTTP_OVERLOADED.inc()
            raise refused(RejectionCode.OVERLOADED, "too many requests are being served, try again in a moment")
    except Refused as refusal:
        await problem_response(refusal, exchange.key)(scope, receive, exchange.send)
        return
    scope["path"] = scope["raw_path"].decode("ascii")
    try:
        await app(scope, receive, exchange.send)
    except Unavailable as error:
        if exchange.has_begun:
            raise
        unavailable = refused(RejectionCode.UNAVAILABLE, str(error))
        await problem_response(unavailable, exchange.key)(scope, receive, exchange.send)


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
