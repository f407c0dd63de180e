"""One call over HTTP: sent, repeated with the same idempotency key while that is safe and may help, and its answer read.

Repeated are calls that got no answer and those answered `unavailable`, `shutting_down` or `overloaded`, with pauses that double
(or as long as the server asks for), until a deadline that begins with the first failure: so a call that waited long for its
answer is repeated as well. The key makes a repeat of a call that took effect harmless.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import httpx

from aion_client.json_text import parse
from aion_client.problem import Problem, UnexpectedAnswer, Unreachable, VersionPinned
from aion_common.limits import (
    CLIENT_CONNECT_MS,
    CLIENT_PAUSE_MAX_MS,
    CLIENT_PAUSE_MIN_MS,
)

_REPEATED_CODES = frozenset({"unavailable", "shutting_down", "overloaded"})
_RFC_MEMBERS = frozenset({"type", "title", "status", "detail", "code", "instance"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """`content`: gives the body anew for every try. `answer_ms`: how long the server may take. `retry_s`: for how long it is
    repeated after its first failure; None: as long as the client's calls are."""

    method: str
    path: str
    answer_ms: int
    query: Mapping[str, str | int] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    content: Callable[[], bytes | Iterable[bytes]] | None = None
    retry_s: float | None = None

    @property
    def idempotency_key(self) -> str | None:
        """The key that every try carries, if the call changes anything."""
        return self.headers.get("Idempotency-Key")


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """A call that is about to be repeated, told to whoever wants to show it. `reason` is a sentence. `left_s`: for how long it
    will be repeated, this pause included."""

    reason: str
    pause_ms: int
    left_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How a client waits between tries: `pause` takes seconds, `on_retry` is told before each one. `retry_s`: see `Call`."""

    retry_s: float
    pause: Callable[[float], None]
    on_retry: Callable[[Retry], None] | None


def perform(connection: httpx.Client, call: Call, patience: Patience) -> Mapping[str, object]:
    """The JSON object of a 2xx answer. Raises Problem, Unreachable, UnexpectedAnswer."""
    body = perform_any(connection, call, patience)
    if not isinstance(body, dict):
        raise UnexpectedAnswer(f"{connection.base_url}{call.path} answered with no JSON object")
    return body


def perform_any(connection: httpx.Client, call: Call, patience: Patience) -> object:
    """The JSON value of a 2xx answer, whatever it is. Raises Problem, Unreachable, UnexpectedAnswer."""
    retry_s = patience.retry_s if call.retry_s is None else call.retry_s
    number, spent_s = 1, 0.0
    while True:
        began_s = time.monotonic()
        failure: Unreachable | Problem
        try:
            return _attempt(connection, call)
        except Unreachable as error:
            failure, pause_ms = error, _pause_ms(number)
        except _Refused as refused:
            if refused.problem.code not in _REPEATED_CODES:
                raise refused.problem from None
            failure = refused.problem
            pause_ms = _pause_ms(number) if refused.retry_after_ms is None else refused.retry_after_ms
        if number > 1:
            spent_s += time.monotonic() - began_s
        left_s = retry_s - spent_s
        if left_s <= 0:
            raise failure.after(spent_s) if isinstance(failure, Unreachable) else failure
        pause_s = min(pause_ms / 1_000, CLIENT_PAUSE_MAX_MS / 1_000, left_s)
        if patience.on_retry is not None:
            patience.on_retry(Retry(reason=str(failure), pause_ms=round(pause_s * 1_000), left_s=left_s))
        patience.pause(pause_s)
        spent_s += pause_s
        number += 1


class _Refused(Exception):
    def __init__(self, problem: Problem, retry_after_ms: int | None) -> None:
        super().__init__(problem)
        self.problem = problem
        self.retry_after_ms = retry_after_ms


def _attempt(connection: httpx.Client, call: Call) -> object:
    timeout = httpx.Timeout(CLIENT_CONNECT_MS / 1_000, read=call.answer_ms / 1_000)
    try:
        response = connection.request(
            call.method,
            call.path,
            params=call.query,
            headers=httpx.Headers(dict(call.headers), encoding="utf-8"),
            content=None if call.content is None else call.content(),
            timeout=timeout,
        )
    except httpx.TransportError as error:
        reason = str(error) or type(error).__name__
        raise Unreachable(
            url=str(connection.base_url).rstrip("/"), reason=reason, idempotency_key=call.idempotency_key
        ) from error
    if response.is_success:
        return _value(response)
    raise _Refused(_problem(response), _retry_after_ms(response))


def _value(response: httpx.Response) -> object:
    try:
        return parse(response.content)
    except RecursionError as error:
        raise UnexpectedAnswer(f"{response.request.url} answered with JSON that is nested too deep to be read") from error
    except ValueError as error:
        raise UnexpectedAnswer(f"{response.request.url} answered {response.status_code} with no JSON") from error


def _problem(response: httpx.Response) -> Problem:
    """RFC 9457; what another program in between answered gets the code `http_<status>`."""
    try:
        body = parse(response.content)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict) or not isinstance(body.get("code"), str):
        body = {"code": f"http_{response.status_code}", "detail": f"{response.request.url} answered {response.reason_phrase}"}
    kind = VersionPinned if body["code"] == "version_pinned" else Problem
    return kind(
        code=body["code"],
        status=response.status_code,
        detail=str(body.get("detail") or body.get("title") or response.reason_phrase),
        fields={name: value for name, value in body.items() if name not in _RFC_MEMBERS},
    )


def _retry_after_ms(response: httpx.Response) -> int | None:
    seconds = response.headers.get("Retry-After", "")
    return int(seconds) * 1_000 if seconds.isdecimal() else None


def _pause_ms(number: int) -> int:
    return min(CLIENT_PAUSE_MIN_MS << min(number - 1, 20), CLIENT_PAUSE_MAX_MS)
