"""Draining: new work is refused and nothing of it is sent; everything else goes on; the process ends when it lasted."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from aion_common import limits
from aion_common.http_server import listening
from aion_gateway.app import serve_until_drained
from gateway.scripted import ROUTED
from gateway.world import TOPICS, World, world
from support import eventually

START = {"workflow_type": "order", "workflow_id": "one"}
JSON = {"Content-Type": "application/json"}
ZIP = {"Content-Type": "application/zip"}
RUN = "/v1/workflows/one"

NEW_WORK = [
    ("POST", "/v1/workflows", JSON, b'{"workflow_type":"order"}'),
    ("POST", "/v1/packages", ZIP, b"archive"),
    ("PUT", "/v1/routes/order", JSON, b'{"version":"%s"}' % ROUTED.encode()),
    ("DELETE", f"/v1/versions/{ROUTED}", {}, b""),
    ("POST", "/v1/queues", JSON, b'{"name":"mail"}'),
]


async def drained(w: World) -> None:
    """Tell the gateway to drain."""
    answer = await w.http.post("/v1/drain")
    assert (answer.status_code, answer.json()) == (202, {"draining": True})


@pytest.mark.parametrize(("method", "path", "headers", "content"), NEW_WORK)
async def test_new_work_is_refused_unsent(method: str, path: str, headers: dict[str, str], content: bytes) -> None:
    async with world() as w:
        await drained(w)
        answer = await w.http.request(method, path, content=content, headers=headers | {"Idempotency-Key": "key"})
        assert (answer.status_code, answer.json()["code"]) == (503, "shutting_down")
        assert (answer.headers["Retry-After"], answer.headers["Idempotency-Key"]) == ("1", "key")
        assert w.executor.commands == []
        assert w.catalog.answers == {}
        assert w.cluster.records(TOPICS.packages, 0) == []
        assert TOPICS.tasks("mail") not in w.cluster.topics


async def test_everything_else_goes_on() -> None:
    async with world() as w:
        await w.http.post("/v1/workflows", json=START)
        await drained(w)
        assert (await w.http.post(f"{RUN}/signals/release")).status_code == 202
        assert (await w.http.post(f"{RUN}/queries/stage")).status_code == 200
        assert (await w.http.post(f"{RUN}/cancel")).status_code == 202
        assert (await w.http.get(RUN)).status_code == 200
        assert (await w.http.get("/v1/versions")).status_code == 200
        assert (await w.http.get("/v1/queues")).status_code == 200
        assert (await w.http.post(f"{RUN}/terminate")).status_code == 202
        assert (await w.http.get(f"{RUN}/result?wait_ms=60000")).status_code == 200
        assert (await w.http.get("/healthz")).status_code == 200


async def test_a_draining_gateway_is_not_ready_and_says_why() -> None:
    async with world() as w:
        await drained(w)
        answer = await w.http.get("/readyz")
        assert (answer.status_code, answer.json()["code"]) == (503, "shutting_down")
        assert "draining" in answer.json()["detail"]


async def test_a_start_under_way_is_answered() -> None:
    async with world() as w, asyncio.TaskGroup() as calls:
        w.executor.replies_dropped = 1
        key = {"Idempotency-Key": "key"}
        waiting = calls.create_task(w.http.post("/v1/workflows", json=START, headers=key))
        await w.executor.has_taken.wait()
        await drained(w)
        await w.executor.repeat_answers()
        assert (await waiting).status_code == 201


async def test_draining_twice_is_harmless() -> None:
    async with world() as w:
        await drained(w)
        await drained(w)


@pytest.mark.parametrize(
    ("query", "headers", "content", "field"),
    [
        ("?now=1", {}, b"", "now"),
        ("?namespace=default", {}, b"", "namespace"),
        ("", JSON, b'{"ms":1}', "ms"),
        ("", JSON, b"[]", "body"),
        ("", ZIP, b"{}", "Content-Type"),
    ],
)
async def test_a_drain_with_something_else_in_mind_is_refused(
    query: str, headers: dict[str, str], content: bytes, field: str
) -> None:
    async with world() as w:
        answer = await w.http.post(f"/v1/drain{query}", headers=headers, content=content)
        assert (answer.status_code, answer.json()["field"]) == (400, field)
        assert not w.gateway.drain.is_on


async def test_when_told_to_stop_new_work_is_refused_before_the_port_is_closed() -> None:
    stop = asyncio.Event()
    async with world() as w, asyncio.TaskGroup() as tasks:
        with listening("127.0.0.1", 0) as (listener, address):
            serving = tasks.create_task(serve_until_drained(w.gateway, listener, stop, 10**9))
            async with httpx.AsyncClient(base_url=f"http://{address}", trust_env=False) as http:
                assert (await http.get("/readyz")).status_code == 200
                stop.set()
                while (answer := await http.get("/readyz")).is_success:
                    pass
                assert answer.json()["code"] == "shutting_down"
                assert (await http.post("/v1/workflows", json=START)).json()["code"] == "shutting_down"
            serving.cancel()


@asynccontextmanager
async def until_stopped(w: World) -> AsyncIterator[tuple[httpx.AsyncClient, asyncio.Event]]:
    """The gateway behind a socket, and what stops it; it has ended, by itself, when the block is left. It drains no time."""
    stop = asyncio.Event()
    with listening("127.0.0.1", 0) as (listener, address):
        async with asyncio.TaskGroup() as serving:
            serving.create_task(serve_until_drained(w.gateway, listener, stop, 0))
            async with httpx.AsyncClient(base_url=f"http://{address}", trust_env=False, timeout=30) as http:
                yield http, stop


async def test_whoever_waits_for_the_end_of_a_run_is_told_at_the_end_of_the_gateway_that_it_is_open() -> None:
    async with world() as w, until_stopped(w) as (http, stop), asyncio.TaskGroup() as calls:
        waiting_start = {**START, "wait": "closed", "wait_ms": 60_000}
        starting = calls.create_task(http.post("/v1/workflows", json=waiting_start))
        await eventually(lambda: len(w.executors.requests) == 1)
        reading = calls.create_task(http.get(f"{RUN}/result?wait_ms=60000"))
        await eventually(lambda: len(w.executors.requests) == 2)
        stop.set()
        for call in (starting, reading):
            answer = await call
            assert (answer.status_code, answer.json()["status"]) == (202, "running")


async def test_whoever_has_no_answer_when_the_gateway_ends_may_repeat_with_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LAST_ANSWERS_MS", 0)
    async with world() as w, until_stopped(w) as (http, stop), asyncio.TaskGroup() as calls:
        w.executor.replies_dropped = 1
        waiting = calls.create_task(http.post("/v1/workflows", json=START, headers={"Idempotency-Key": "key"}))
        await w.executor.has_taken.wait()
        stop.set()
        answer = await waiting
        assert (answer.status_code, answer.json()["code"], answer.json()["idempotency_key"]) == (503, "unavailable", "key")


async def test_a_stop_after_a_drain_that_lasted_does_not_wait_again() -> None:
    async with world() as w:
        w.gateway.drain.begin()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await w.gateway.drain.lasted(60_000)
        await w.gateway.drain.lasted(200)
        async with asyncio.timeout(0.1):
            await w.gateway.drain.lasted(200)
