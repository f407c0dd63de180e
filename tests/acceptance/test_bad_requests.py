"""Archives and requests that are broken, hostile or too large: each gets a typed answer, and nothing else changes."""

import asyncio
import contextlib
import io
import json
import zipfile
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import parse_qsl

import pytest
import pytest_asyncio

from acceptance.packages import RELOAD, compiled, reload_package
from acceptance.stack import Api, Stack
from aion_common import limits
from package.made_archives import archived, manifest, stamped, zipped
from support import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")

ORDER = compiled("order", "-module(order).\n-export([run/1]).\nrun(_) -> 1.\n")
NIF_SOURCE = """
-module(order).
-export([run/1]).
-on_load(init/0).
init() -> erlang:load_nif("/tmp/none", 0).
run(_) -> 1.
"""


def made(document: dict[str, Any], modules: dict[str, bytes], *more: tuple[str, bytes]) -> bytes:
    """An archive with the right stamp, whatever is in it."""
    return archived(stamped(document, modules), modules, *more)


def bomb() -> bytes:
    """400 MB of nothing in a few hundred kilobytes."""
    buffer = io.BytesIO(made(manifest(), {"order": ORDER}))
    with (
        zipfile.ZipFile(buffer, "a", zipfile.ZIP_DEFLATED, compresslevel=1) as target,
        target.open("beam/big.beam", "w") as big,
    ):
        for _ in range(400):
            big.write(bytes(limits.MIB))
    return buffer.getvalue()


def lying() -> bytes:
    """Both directories of the ZIP say that a module has one byte."""
    sound = made(manifest(), {"order": ORDER})
    size = len(ORDER).to_bytes(4, "little")
    assert size in sound
    return sound.replace(size, (1).to_bytes(4, "little"))


ARCHIVES: dict[str, Callable[[], bytes]] = {
    "nothing": lambda: b"",
    "no ZIP": lambda: b"PK\x03\x04 or so" * 100,
    "cut": lambda: reload_package(1)[:-30],
    "a ZIP of other things": lambda: zipped([("readme.txt", b"hello")]),
    "two of a name": lambda: made(manifest(), {"order": ORDER}, ("beam/Order.beam", ORDER), ("beam/order.beam/x", b"")),
    "a path upwards": lambda: made(manifest(), {"order": ORDER}, ("../../etc/cron.d/x", b"x")),
    "an absolute path": lambda: made(manifest(), {"order": ORDER}, ("/etc/passwd", b"x")),
    "a path of Windows": lambda: made(manifest(), {"order": ORDER}, ("beam\\..\\x.beam", b"x")),
    "sizes that lie": lying,
    "a bomb": bomb,
    "no module": lambda: made(manifest(), {"order": b"FOR1 garbage"}),
    "half a module": lambda: made(manifest(), {"order": ORDER[: len(ORDER) // 2]}),
    "garbage in a module": lambda: made(manifest(), {"order": ORDER[:200] + bytes(200) + ORDER[400:]}),
    "a module of another name": lambda: made(manifest(), {"order": ORDER, "other": ORDER}),
    "no entry": lambda: made(manifest(entry_function="nothing"), {"order": ORDER}),
    "another's stamp": lambda: archived(manifest(version="0" * 64), {"order": ORDER}),
    "a NIF": lambda: made(manifest(), {"order": compiled("order", NIF_SOURCE)}),
    "a deep manifest": lambda: archived(b'{"input_schema":' + b"[" * 100_000, {"order": ORDER}),
    "a manifest that is not UTF-8": lambda: archived(b'{"entry_module":"\xff"}', {"order": ORDER}),
}

DEEP = b'{"workflow_type":"reload_e2e","input":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
REQUESTS: tuple[tuple[str, str, bytes, int], ...] = (
    ("POST", "/v1/workflows", b"", 400),
    ("POST", "/v1/workflows", b"{", 400),
    ("POST", "/v1/workflows", b"[1]", 400),
    ("POST", "/v1/workflows", DEEP, 400),
    ("POST", "/v1/workflows", b'{"workflow_type":"\xff"}', 400),
    ("POST", "/v1/workflows", b'{"workflow_type":"reload_e2e","surprise":1}', 400),
    ("POST", "/v1/workflows", b'{"workflow_type":"reload_e2e","workflow_id":"a\\u0000b"}', 400),
    ("POST", "/v1/workflows", b'{"workflow_type":"reload_e2e","workflow_id":"' + b"x" * 10_000 + b'"}', 400),
    ("POST", "/v1/workflows", b'{"workflow_type":"reload_e2e","input":"' + b"x" * limits.MIB + b'"}', 413),
    ("POST", "/v1/workflows", b'{"workflow_type":"nobody"}', 404),
    ("POST", "/v1/workflows/sample/signals/a%00b", b"1", 400),
    ("POST", "/v1/workflows/sample/signals/go", b"[" * 100_000, 400),
    ("POST", "/v1/workflows/sample/signals/go", b'"' + b"x" * limits.MIB + b'"', 413),
    ("POST", "/v1/workflows/sample/queries/%FF", b"1", 400),
    ("POST", "/v1/workflows/sample/cancel", b'{"reason":"' + b"x" * 10_000 + b'"}', 400),
    ("POST", "/v1/workflows/sample/terminate", b'{"run_id":1}', 400),
    ("PUT", "/v1/routes/reload_e2e", b'{"version":"../../x"}', 400),
    ("DELETE", "/v1/versions/%2e%2e", b"", 400),
    ("GET", "/v1/workflows/sample?run_id=x", b"", 400),
    ("GET", "/v1/workflows?cursor=%00&limit=-1", b"", 400),
)

CHUNKED = b"POST /v1/workflows HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
LENGTH = b"POST /v1/workflows HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"


async def sample(api: Api) -> dict[str, Any]:
    """What must not change: the services, versions and routes, and a run's history."""
    return {"pids": api.stack.pids(), "versions": await api.versions(), "history": await api.history("sample")}


@pytest_asyncio.fixture(loop_scope="session")
async def before(api: Api) -> AsyncIterator[dict[str, Any]]:
    """A version and a waiting run; at the end of the test they are as they were, and a new start works."""
    await api.deploy(reload_package(1))
    await api.start(RELOAD, workflow_id="sample")

    async def waits() -> bool:
        return len(await api.history("sample")) == 2

    await eventually(waits)
    seen = await sample(api)
    yield seen
    await api.stack.ready()
    assert await sample(api) == seen
    assert await api.run_once(RELOAD, "new") == 1


def check_typed(content: bytes, code: str | None = None) -> None:
    """A problem with a code."""
    problem = json.loads(content)
    assert problem["code"] == (code or problem["code"])
    assert problem["code"] not in {"unavailable", "internal"}
    assert problem["detail"]


@pytest.mark.usefixtures("before")
async def test_archives_that_are_none_are_refused_and_change_nothing(api: Api) -> None:
    for name, archive in ARCHIVES.items():
        content = await asyncio.to_thread(archive)
        refused = await api.call("POST", "/v1/packages", content=content)
        assert refused.status_code in {400, 422}, f"{name}: {refused.status_code} {refused.text}"
        check_typed(refused.content, "invalid_package" if refused.status_code == 422 else "invalid_argument")
    too_large = await api.call("POST", "/v1/packages", content=bytes(limits.ARCHIVE_BYTES_MAX + 1))
    assert too_large.status_code == 413
    check_typed(too_large.content, "payload_too_large")


@pytest.mark.usefixtures("before")
async def test_requests_that_are_none_are_refused_and_change_nothing(api: Api) -> None:
    for method, target, content, status in REQUESTS:
        headers = {"Content-Type": "application/json"} if content else {}
        path, _, query = target.partition("?")
        refused = await api.call(method, path, content=content, headers=headers, params=dict(parse_qsl(query)))
        assert refused.status_code == status, f"{method} {target} {content[:60]!r}: {refused.status_code} {refused.text}"
        check_typed(refused.content)


@pytest.mark.usefixtures("before")
@pytest.mark.parametrize(
    ("head", "endless"),
    [
        (CHUNKED, b"10000\r\n" + b"x" * 65_536 + b"\r\n"),
        (LENGTH % 2**40, b"x" * 65_536),
        (b"GET /healthz HTTP/1.1\r\nX-Long: ", b"x" * 65_536),
        (b"GET /healthz HTTP/1.1\r\n", b"X-Many: 1\r\n" * 6_000),
    ],
    ids=["chunks without end", "a length that is never reached", "a header without end", "headers without end"],
)
async def test_what_does_not_end_is_given_up(shared_stack: Stack, head: bytes, endless: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", shared_stack.http_port)
    answer = asyncio.create_task(until_closed(reader))
    sent = 0
    try:
        writer.write(head)
        while sent < 64 * limits.MIB and not answer.done():
            writer.write(endless)
            await writer.drain()
            sent += len(endless)
    except ConnectionError:
        pass
    finally:
        writer.close()
    assert sent < 64 * limits.MIB
    head, _, body = (await answer).partition(b"\r\n\r\n")
    assert not head or head.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 413 "))
    if body:
        check_typed(body)


async def until_closed(reader: asyncio.StreamReader) -> bytes:
    """What came, whether the connection was closed or reset."""
    came = bytearray()
    with contextlib.suppress(ConnectionError):
        while content := await reader.read(65_536):
            came += content
    return bytes(came)


@pytest.mark.usefixtures("before")
async def test_a_body_that_ends_before_its_length_starts_nothing(shared_stack: Stack, api: Api) -> None:
    body = json.dumps({"workflow_type": RELOAD, "workflow_id": "half"}).encode()
    path = f"POST /v1/workflows?namespace={api.namespace} ".encode()
    _, writer = await asyncio.open_connection("127.0.0.1", shared_stack.http_port)
    writer.write(LENGTH.replace(b"POST /v1/workflows ", path) % (len(body) + 1) + body)
    await writer.drain()
    writer.write_eof()
    writer.close()
    await writer.wait_closed()
    assert (await api.call("GET", "/v1/workflows/half")).status_code == 404
