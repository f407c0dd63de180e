"""The gateway on a real socket: stopping lets running requests finish, a port that is taken is said clearly."""

import asyncio
import contextlib
import json
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


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /v1/work\x00flows HTTP/1.1\r\nHost: x\r\n\r\n",
        b"BREW /v1/workflows HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Name: a\x00b\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nX Name: a\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Long: " + b"a" * limits.HTTP_HEAD_BYTES_MAX + b"\r\n\r\n",
        b"POST /v1/drain HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/drain HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST /v1/drain HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /v1/drain HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
async def test_what_is_no_http_is_refused_with_a_problem_and_disturbs_nobody(sent: bytes) -> None:
    async with world() as w, serving_on_a_socket(w, asyncio.Event()) as http:
        answer = await spoken(http, sent)
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 400 ")
        assert b"application/problem+json" in head
        assert json.loads(body)["code"] == "invalid_argument"
        assert json.loads(body)["field"]
        assert not w.gateway.drain.is_on
        assert (await http.get("/healthz")).json() == {"alive": True}


async def spoken(http: httpx.AsyncClient, sent: bytes) -> bytes:
    """Send this and read until the other side closes."""
    reader, writer = await asyncio.open_connection(http.base_url.host, http.base_url.port)
    try:
        writer.write(sent)
        return await reader.read()
    finally:
        writer.close()


@pytest.mark.parametrize(
    ("begin", "endless"),
    [
        (b"GET /", b"a"),
        (b"GET /healthz HTTP/1.1\r\nX-Long: ", b"a"),
        (b"GET /healthz HTTP/1.1\r\n", b"X-Many: 1\r\n"),
        (b"POST /v1/drain HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-Trailer: ", b"a"),
    ],
)
async def test_a_head_without_end_is_given_up(begin: bytes, endless: bytes) -> None:
    async with world() as w, serving_on_a_socket(w, asyncio.Event()) as http:
        reader, writer = await asyncio.open_connection(http.base_url.host, http.base_url.port)
        sent = 0
        try:
            writer.write(begin)
            while sent < 64 * limits.MIB:
                writer.write(endless * 10_000)
                await writer.drain()
                sent += len(endless) * 10_000
        except ConnectionError:
            pass
        finally:
            writer.close()
        assert sent < 64 * limits.MIB
        del reader
        assert (await http.get("/healthz")).json() == {"alive": True}


@pytest.mark.parametrize(
    ("framing", "endless"),
    [
        (b"Transfer-Encoding: chunked", b"10000\r\n" + b"x" * 65_536 + b"\r\n"),
        (b"Content-Length: 1099511627776", b"x" * 65_536),
    ],
)
async def test_a_body_that_goes_on_behind_its_answer_is_cut_off(framing: bytes, endless: bytes) -> None:
    async with world() as w, serving_on_a_socket(w, asyncio.Event()) as http:
        reader, writer = await asyncio.open_connection(http.base_url.host, http.base_url.port)
        writer.write(b"POST /v1/workflows HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n" + framing + b"\r\n\r\n")
        sent = 0
        with contextlib.suppress(ConnectionError):
            while sent < 64 * limits.MIB:
                writer.write(endless)
                await writer.drain()
                sent += len(endless)
        writer.close()
        assert sent < 64 * limits.MIB
        del reader
        assert (await http.get("/healthz")).json() == {"alive": True}


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_answers_come_whole_and_in_order_on_one_connection(method: str) -> None:
    async with world() as w, serving_on_a_socket(w, asyncio.Event()) as http:
        request = f"{method} /nothing HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        answer = await spoken(http, request * 3 + b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert answer.count(b"HTTP/1.1 404") == 3
        assert answer.count(b"HTTP/1.1 200") == 1
        assert answer.endswith(b'{"alive":true}')


async def test_a_long_answer_comes_whole_through_a_socket() -> None:
    content = bytes(range(256)) * 40_000

    async def long(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=content)

    async with world() as w, serving_on_a_socket(w, asyncio.Event()) as http:
        w.executors.listening["executor-1:1000"] = long
        assert (await http.get("/v1/workflows/one/history")).content == content


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
