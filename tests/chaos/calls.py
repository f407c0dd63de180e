"""Calls that are repeated, with the same key and at one gateway after the other, until they have their answer."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from support import eventually

TRY_S = 4.0
"""A call without an answer for so long is made again, at the next gateway."""

GIVEN_UP_S = 180.0
"""Hang guard: nobody waits for so long in a system that works."""

REPEATED_CODES = frozenset({"unavailable", "overloaded", "shutting_down", "query_timeout"})


class Refused(Exception):
    """An answer that no repeat changes."""

    def __init__(self, call: str, code: str, detail: str) -> None:
        super().__init__(f"{call}: {code}: {detail}")
        self.code = code


@dataclass(slots=True, kw_only=True)
class Calls:
    """`longest_ms`: the longest that a client waited for the answer of one call, repeats included; `refusals`: how often each
    code was a reason to repeat."""

    gateways: Sequence[httpx.AsyncClient]
    repeats: int = 0
    longest_ms: int = 0
    refusals: dict[str, int] = field(default_factory=dict)

    async def answered(self, first: int, method: str, path: str, key: str | None = None, **given: Any) -> Any:
        """The JSON of the answer; `first`: number of the gateway to begin with. Results of open runs are asked for again.
        Raises Refused."""
        tries = 0
        began = asyncio.get_running_loop().time()

        async def answer() -> tuple[Any] | None:
            nonlocal tries
            headers = {} if key is None else {"Idempotency-Key": key}
            try:
                response = await self._gateway(first + tries).request(method, path, headers=headers, **given)
            except httpx.TransportError:
                return None
            finally:
                tries += 1
            told = response.json()
            if response.is_success:
                return None if method == "GET" and response.status_code == httpx.codes.ACCEPTED else (told,)
            code = told["code"]
            if code not in REPEATED_CODES:
                raise Refused(f"{method} {path}", code, told["detail"])
            self.refusals[code] = self.refusals.get(code, 0) + 1
            return None

        found = await eventually(answer, within_s=GIVEN_UP_S)
        assert found is not None, "what is waited for is an answer"
        self.repeats += tries - 1
        self.longest_ms = max(self.longest_ms, int((asyncio.get_running_loop().time() - began) * 1000))
        return found[0]

    def _gateway(self, number: int) -> httpx.AsyncClient:
        return self.gateways[number % len(self.gateways)]
