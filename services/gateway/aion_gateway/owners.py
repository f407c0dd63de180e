"""Who owns a partition, and how to ask: the newest owner epoch in `aion.owners`, and HTTP to its address.

Everything asked here is a read (queries are, too), so a try that failed in whatever way is followed by another one, to
whoever is the owner then, until the time is up. A newer owner ends a try at once: the old one may hang.
"""

import asyncio
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Never

import httpx
import structlog
from pydantic import BaseModel, ValidationError

from aion_common import limits
from aion_common.errors import Unavailable
from aion_common.kafka.api import Log
from aion_common.kafka.topics import Topics
from aion_common.problems import PROBLEM_JSON
from aion_common.records.owners import Owner
from aion_gateway.tail import Place, Tail

logger = structlog.get_logger()

_TRY_AGAIN = frozenset({421, 502, 503, 504})
"""Statuses that say nothing about the run: another owner, or the same one a moment later, will do better. But a problem with
504 is an owner's own: a query was not answered in time."""


_NO_ANSWER = (httpx.HTTPError, httpx.InvalidURL, UnicodeError, TimeoutError)
"""Nobody there, or an address that is none: of some host names the client says so with a UnicodeError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnerAnswer:
    """What an owner said, to be passed on as it is."""

    status: int
    content_type: str
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class _Question:
    what: str
    query: Mapping[str, str]
    body: bytes | None
    is_wait: bool


class Readiness(BaseModel):
    """The answer of an executor to `GET /ready`: its name, and partition in decimal -> owner epoch."""

    member: str
    owned: Mapping[str, int]


class Owners:
    """The newest owner of each partition. `run` it in a task. The client's pool is the caller's to close."""

    def __init__(self, log: Log, topics: Topics, client: httpx.AsyncClient) -> None:
        self._client = client
        self._newest: dict[int, Owner] = {}
        self._changed = asyncio.Event()
        self._tries: dict[int, set[asyncio.Timeout]] = {}
        self._waits: set[asyncio.Timeout] = set()
        self._waits_until = math.inf
        self.tail = Tail(log, topics, Place(topic=topics.owners, partition=0, from_end=False), self._take)

    async def run(self) -> Never:
        """Follow the owners until cancelled."""
        await self.tail.run()

    def newest(self, partition: int) -> Owner | None:
        """The owner with the newest epoch known; None while there was none ever."""
        return self._newest.get(partition)

    def end_waits(self) -> None:
        """The gateway ends: who waits in `ask` gets the owner's present answer, now, and nobody waits any more."""
        self._waits_until = asyncio.get_running_loop().time()
        _interrupt(self._waits)

    async def ask(
        self, partition: int, what: str, query: Mapping[str, str], *, wait_ms: int | None = None, body: bytes | None = None
    ) -> OwnerAnswer:
        """Ask the owner `GET /partitions/<partition>/<what>?<query>`, or with a body `POST`, and return its answer, refusals
        included.

        With `wait_ms` the owner is asked to wait so long for what is asked; a GET gets what is left of it at each try, a
        POST all of it, because a run that is asked needs the time. Raises Unavailable when no owner answered within
        limits.REPLY_WAIT_MS beyond the wait.
        """
        loop = asyncio.get_running_loop()
        wait_until = loop.time() + (wait_ms or 0) / 1000
        deadline = wait_until + limits.REPLY_WAIT_MS / 1000
        pause_ms = limits.OWNER_RETRY_MIN_MS
        while True:
            owner = self._newest.get(partition)
            if owner is not None:
                left_ms = wait_ms or 0
                if body is None:
                    left_ms = max(0, round((min(wait_until, self._waits_until) - loop.time()) * 1000))
                asked = query if wait_ms is None else {**query, "wait_ms": str(left_ms)}
                until = min(deadline, loop.time() + (left_ms + limits.OWNER_HTTP_MS) / 1000)
                question = _Question(what=what, query=asked, body=body, is_wait=body is None and left_ms > 0)
                answer = await self._try(owner, question, until)
                if answer is not None:
                    return answer
            if loop.time() >= deadline:
                raise Unavailable(f"no owner of partition {partition} answered in time")
            if self._newest.get(partition) == owner:
                await self._pause(min(loop.time() + pause_ms / 1000, deadline))
                pause_ms = min(pause_ms * 2, limits.OWNER_RETRY_MAX_MS)

    async def ask_each(self, what: str, queries: Mapping[int, Mapping[str, str]]) -> Mapping[int, bytes]:
        """Ask the owners of several partitions at once; partition -> query. Their answers; raises Unavailable when one of them
        gave none, or a refusal."""

        async def ask(partition: int, query: Mapping[str, str]) -> bytes:
            answer = await self.ask(partition, what, query)
            if answer.status != httpx.codes.OK:
                raise Unavailable(f"the owner of partition {partition} answers {answer.status} when asked for its {what}")
            return answer.body

        try:
            async with asyncio.TaskGroup() as group:
                asked = {
                    partition: group.create_task(ask(partition, query), name=f"{what}-{partition}")
                    for partition, query in queries.items()
                }
        except* Unavailable as unavailable:
            raise Unavailable(str(unavailable.exceptions[0])) from unavailable
        return {partition: task.result() for partition, task in asked.items()}

    async def readiness(self, address: str) -> Readiness:
        """What the executor at the address says of itself. Raises Unavailable."""
        try:
            async with asyncio.timeout(limits.OWNER_READY_MS / 1000):
                response = await self._client.get(f"http://{address}/ready")
            if response.status_code != httpx.codes.OK:
                raise Unavailable(f"the executor at {address} is not ready")
            return Readiness.model_validate_json(response.content)
        except (*_NO_ANSWER, ValidationError) as error:
            raise Unavailable(f"the executor at {address} does not answer") from error

    async def _try(self, owner: Owner, question: _Question, until: float) -> OwnerAnswer | None:
        url = f"http://{owner.address}/partitions/{owner.partition}/{question.what}"
        method = "GET" if question.body is None else "POST"
        params = {**question.query, "owner_epoch": str(owner.owner_epoch)}
        try:
            async with asyncio.timeout_at(until) as scope:
                with self._interruptible(owner.partition, scope, question):
                    response = await self._client.request(method, url, params=params, content=question.body)
        except _NO_ANSWER as error:
            logger.info("owner did not answer", partition=owner.partition, address=owner.address, reason=repr(error))
            return None
        content_type = response.headers.get("content-type", "application/octet-stream")
        is_problem_of_query = response.status_code == httpx.codes.GATEWAY_TIMEOUT and content_type == PROBLEM_JSON
        if response.status_code in _TRY_AGAIN and not is_problem_of_query:
            return None
        return OwnerAnswer(status=response.status_code, content_type=content_type, body=response.content)

    @contextmanager
    def _interruptible(self, partition: int, scope: asyncio.Timeout, question: _Question) -> Iterator[None]:
        tries = self._tries.setdefault(partition, set())
        tries.add(scope)
        if question.is_wait:
            self._waits.add(scope)
        try:
            yield
        finally:
            tries.discard(scope)
            self._waits.discard(scope)

    async def _pause(self, until: float) -> None:
        try:
            async with asyncio.timeout_at(until):
                await self._changed.wait()
        except TimeoutError:
            return

    def _take(self, record: object) -> None:
        if not isinstance(record, Owner):
            return
        known = self._newest.get(record.partition)
        if known is not None and known.owner_epoch >= record.owner_epoch:
            return
        self._newest[record.partition] = record
        self._changed.set()
        self._changed = asyncio.Event()
        _interrupt(self._tries.get(record.partition, ()))


def _interrupt(tries: Iterable[asyncio.Timeout]) -> None:
    for scope in tries:
        if not scope.expired():
            scope.reschedule(asyncio.get_running_loop().time())
