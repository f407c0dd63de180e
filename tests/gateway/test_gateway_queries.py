"""Queries: passed on to the owner with their arguments, and its answer with every digit; repeated while owners move."""

import asyncio

import httpx
import pytest

from aion_common import limits
from gateway.scripted import ScriptedOwner, problem_answer
from gateway.world import World, world

JSON = {"Content-Type": "application/json"}
QUERY = "/v1/workflows/one/queries/stage"
SECOND = "executor-2:2000"


async def started(w: World) -> str:
    """Start the workflow `one`; its run id."""
    answer = await w.http.post("/v1/workflows", json={"workflow_type": "order", "workflow_id": "one"})
    return str(answer.json()["run_id"])


@pytest.mark.parametrize("arguments", [b"null", b'{"a": 1.10000000000000000001}', b" [123456789012345678901234567890] "])
async def test_arguments_and_answer_keep_every_digit(arguments: bytes) -> None:
    async with world() as w:
        await started(w)
        answer = await w.http.post(QUERY, content=arguments, headers=JSON)
        assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json")
        assert answer.content == b'{"stage":%s}' % arguments


@pytest.mark.parametrize("headers", [JSON, {}, {"Content-Type": "text/plain"}])
async def test_without_a_body_the_arguments_are_null(headers: dict[str, str]) -> None:
    async with world() as w:
        await started(w)
        assert (await w.http.post(QUERY, headers=headers)).json() == {"stage": None}


async def test_the_owner_is_asked_with_the_run_the_name_and_the_wait() -> None:
    async with world() as w:
        run_id = await started(w)
        await w.http.post(f"/v1/workflows/one/queries/a%2Fb%20%C3%A4?run_id={run_id}&wait_ms=70&namespace=default")
        request = w.executors.requests[-1]
        assert (request.method, request.url.path) == ("POST", f"/partitions/{w.partition_of('one')}/query")
        assert dict(request.url.params) == {
            "namespace": "default",
            "workflow_id": "one",
            "run_id": run_id,
            "name": "a/b ä",
            "wait_ms": "70",
            "owner_epoch": "10",
        }
        await w.http.post(QUERY)
        assert w.executors.requests[-1].url.params["wait_ms"] == str(limits.QUERY_MS_MAX)


@pytest.mark.parametrize(
    ("code", "status"), [("query_failed", 422), ("query_timeout", 504), ("closed", 409), ("not_found", 404)]
)
async def test_a_refusal_is_passed_on(code: str, status: int) -> None:
    async def refuses(_name: str, _arguments: bytes, _wait_ms: int) -> httpx.Response:
        return problem_answer(code, "no")

    async with world() as w:
        await started(w)
        w.owner.on_query = refuses
        answer = await w.http.post(QUERY)
        assert (answer.status_code, answer.json()["code"]) == (status, code)
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert sum(request.method == "POST" for request in w.executors.requests) == 1


async def test_a_run_that_moves_is_asked_at_its_new_owner_with_the_whole_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "OWNER_HTTP_MS", 10**9)
    asked = asyncio.Event()
    waits: list[int] = []

    async def hangs(_name: str, _arguments: bytes, wait_ms: int) -> httpx.Response:
        waits.append(wait_ms)
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError("nobody answers")

    async def answers(_name: str, arguments: bytes, wait_ms: int) -> httpx.Response:
        waits.append(wait_ms)
        return httpx.Response(200, content=arguments)

    async with world() as w, asyncio.TaskGroup() as calls:
        await started(w)
        w.owner.on_query = hangs
        asking = calls.create_task(w.http.post(f"{QUERY}?wait_ms=9000", content=b"[7]", headers=JSON))
        await asked.wait()
        second = ScriptedOwner(w.executor, "executor-2")
        second.on_query = answers
        second.owned[w.partition_of("one")] = 20
        w.executors.listening[SECOND] = second
        await w.announce(w.partition_of("one"), 20, "executor-2", SECOND)
        assert (await asking).content == b"[7]"
        assert waits == [9000, 9000]


async def test_a_gateway_between_that_gives_up_is_not_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REPLY_WAIT_MS", 30)

    async def gives_up(_name: str, _arguments: bytes, _wait_ms: int) -> httpx.Response:
        return httpx.Response(504, text="upstream timed out")

    async with world() as w:
        await started(w)
        w.owner.on_query = gives_up
        answer = await w.http.post(f"{QUERY}?wait_ms=0")
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
