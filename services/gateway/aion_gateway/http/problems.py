"""Everything that can go wrong, as an RFC 9457 answer: refusals, bad input, unreachable parts, defects.

Endpoints raise; nothing but this file writes a problem. An answer to a mutating call whose outcome is unknown carries the
idempotency key, so that its client can repeat it even if the key was made here.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import Route

from aion_common.errors import Unavailable
from aion_common.problems import INTERNAL, METHOD_NOT_ALLOWED, PROBLEM_JSON, PROBLEM_KINDS, problem, problem_of
from aion_common.records.replies import Rejection, RejectionCode
from aion_gateway.drain import ShuttingDown
from aion_gateway.fields import first_error
from aion_gateway.json_text import BadJson
from aion_gateway.replies import KeyReused

logger = structlog.get_logger()

IDEMPOTENCY_KEY = "Idempotency-Key"
RETRY_AFTER_S = "1"
_TRY_SOON = frozenset({RejectionCode.OVERLOADED, RejectionCode.SHUTTING_DOWN})
"""Nothing was done: whoever repeats the call in a moment, here or at another gateway, does right."""


class Refused(Exception):
    """An answer that is a problem: HTTP status and problem body."""

    def __init__(self, status: int, body: dict[str, object]) -> None:
        super().__init__(body["detail"])
        self.status = status
        self.body = body


def refused(code: str, detail: str, **fields: object) -> Refused:
    """A refusal of the gateway itself; see `aion_common.problems.problem`."""
    return Refused(*problem(code, detail, **fields))


def invalid(field: str, detail: str) -> Refused:
    """The value of this field (of the body, the query, the path or the header) cannot be taken."""
    return refused(RejectionCode.INVALID_ARGUMENT, f"{field}: {detail}", field=field)


def invalid_by(errors: Sequence[Mapping[str, Any]]) -> Refused:
    """The first of these errors of pydantic."""
    return invalid(*first_error(errors))


def refused_by(rejection: Rejection) -> Refused:
    """A refusal of an owner or of the catalog."""
    return Refused(*problem_of(rejection))


def key_reused() -> Refused:
    """The idempotency key was used for another call before."""
    return invalid(IDEMPOTENCY_KEY, "this key was used for another call; give every call a key of its own")


def problem_response(error: Refused, idempotency_key: str | None) -> Response:
    """The answer. `idempotency_key`: of a mutating call."""
    body = error.body
    if idempotency_key is not None and "idempotency_key" in PROBLEM_KINDS[str(body["code"])].fields:
        body = {**body, "idempotency_key": idempotency_key}
    headers = {"Retry-After": RETRY_AFTER_S} if body["code"] in _TRY_SOON else {}
    content = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode(errors="backslashreplace")
    return Response(content, error.status, headers, PROBLEM_JSON)


def install(app: FastAPI) -> None:
    """Make every exception of the app an answer of this file."""
    for known in (Refused, Unavailable, ShuttingDown, KeyReused, BadJson, HTTPException, RequestValidationError):
        app.add_exception_handler(known, _answer)
    app.add_exception_handler(ClientDisconnect, _nobody_listens)
    app.add_exception_handler(Exception, _answer_defect)


async def _answer(request: Request, error: Exception) -> Response:
    response = problem_response(_refusal_of(error), getattr(request.state, "idempotency_key", None))
    if isinstance(error, HTTPException) and error.status_code == 405:
        response.headers["Allow"] = ", ".join(_methods_of(request))
    return response


def _methods_of(request: Request) -> Sequence[str]:
    """The methods that the path takes, by whichever route."""
    routes = [
        route for route in request.app.routes if isinstance(route, Route) and route.path_regex.match(request.scope["path"])
    ]
    return sorted(method for route in routes for method in route.methods or ())


async def _answer_defect(request: Request, error: Exception) -> Response:
    """Its caller raises the error again afterwards, so that the server logs the traceback."""
    del error
    refusal = refused(INTERNAL, "the call ran into a defect of the service; its log says more")
    key = getattr(request.state, "idempotency_key", None)
    response = problem_response(refusal, key)
    if key is not None:
        response.headers[IDEMPOTENCY_KEY] = header_text(key)
    return response


async def _nobody_listens(_request: Request, _error: Exception) -> Response:
    return Response(status_code=400)


def _refusal_of(error: Exception) -> Refused:
    match error:
        case Refused():
            return error
        case Unavailable():
            logger.warning("call unavailable", reason=str(error))
            return refused(RejectionCode.UNAVAILABLE, f"the outcome is unknown, repeating is safe: {error}")
        case ShuttingDown():
            return refused(RejectionCode.SHUTTING_DOWN, str(error))
        case KeyReused():
            return key_reused()
        case BadJson():
            return invalid(error.field or "body", str(error))
        case _:
            return _refusal_of_framework(error)


def _refusal_of_framework(error: Exception) -> Refused:
    match error:
        case RequestValidationError():
            return invalid_by(error.errors())
        case HTTPException(status_code=404):
            return refused(RejectionCode.NOT_FOUND, "there is nothing at this path")
        case HTTPException(status_code=405):
            return refused(METHOD_NOT_ALLOWED, "this path does not take this method")
        case _:
            return refused(RejectionCode.INVALID_ARGUMENT, str(error))


def header_text(text: str) -> str:
    """Text as a header value whose bytes are its UTF-8 (frameworks write headers as Latin-1)."""
    return text.encode().decode("latin-1")
