"""The gateway on a real socket: stopping lets running requests finish, a port that is taken is said clearly."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from aion_common import http_server, limits
from aion_common.errors import AionError
from aion_common.http_server import listening, serve_http
from aion_gateway.app import create_app, owners_client
from gateway.world import World, world


@asynccontextmanager
async def serving_on_a_socket(w: World, stop: asyncio.Event) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the world's gateway through TCP; the server has stopped when the block is left."""
    with listening("127.0.0.1", 0) as (listener, address):
        async with (
            httpx.AsyncClient(base_url=f"http://{address}", trust_env=False) as http,
            asyncio.TaskGroup() as tasks,
        ):
            tasks.create_task(serve_http(create_app(w.gateway), listener, stop))
            yield http
            stop.set()


async def test_a_running_request_is_answered_after_the_stop() -> None:
    stop = asyncio.Event()
    asked = asyncio.Event()
    end = asyncio.Event()

    async def slow(_request: httpx.Request) -> httpx.Response:
        asked.set()
        await end.wait()
        return httpx.Response(200, json={"status": "completed"})

    async with world() as w, serving_on_a_socket(w, stop) as http, asyncio.TaskGroup() as calls:
        w.executors.listening["executor-1:1000"] = slow
        waiting = calls.create_task(http.get("/v1/workflows/one/result?wait_ms=60000"))
        await asked.wait()
        stop.set()
        end.set()
        assert (await waiting).json() == {"status": "completed"}


async def test_a_request_that_does_not_end_is_cut_after_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "HTTP_STOP_MS", 0)
    stop = asyncio.Event()
    asked = asyncio.Event()

    async def never(_request: httpx.Request) -> httpx.Response:
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError("nobody answers")

    async with world() as w, serving_on_a_socket(w, stop) as http, asyncio.TaskGroup() as calls:
        w.executors.listening["executor-1:1000"] = never
        waiting = calls.create_task(cut_off(http))
        await asked.wait()
        stop.set()
        await waiting


async def cut_off(http: httpx.AsyncClient) -> None:
    """Ask for what never comes."""
    with pytest.raises(httpx.HTTPError):
        (await http.get("/v1/workflows/one/result?wait_ms=60000")).raise_for_status()


async def test_paths_keys_and_bodies_are_the_same_through_a_socket() -> None:
    async with world() as w, serving_on_a_socket(w, asyncio.Event()) as http:
        body = {"workflow_type": "order", "workflow_id": "a/b ä"}
        answer = await http.post("/v1/workflows", json=body, headers=[(b"idempotency-key", "ä".encode())])
        assert answer.status_code == 201
        assert dict(answer.headers.raw)[b"idempotency-key"] == "ä".encode()
        signalled = await http.post("/v1/workflows/a%2Fb%20%C3%A4/signals/release")
        assert signalled.json()["run_id"] == answer.json()["run_id"]
        assert (await http.get("/v1/workflows/%ff")).json()["field"] == "workflow_id"


async def test_a_body_far_too_large_gets_its_answer_through_a_socket() -> None:
    async with world() as w, serving_on_a_socket(w, asyncio.Event()) as http:
        headers = {"Content-Type": "application/json"}
        answer = await http.post("/v1/workflows", content=b"x" * (4 * limits.MIB), headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (413, "payload_too_large")


def test_an_address_that_is_taken_is_named() -> None:
    with (
        listening("127.0.0.1", 0) as (taken, address),
        pytest.raises(AionError, match=address),
        listening("127.0.0.1", taken.getsockname()[1]),
    ):
        raise AssertionError("two cannot listen")


async def test_calls_to_executors_do_not_go_through_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    async with world() as w, serving_on_a_socket(w, asyncio.Event()) as http, owners_client() as client:
        assert (await client.get(http.base_url.join("/healthz"))).json() == {"alive": True}
