"""Bad input: refused before anything is sent, naming the field."""

import string
from collections.abc import AsyncIterator
from urllib.parse import quote

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aion_common import limits
from aion_gateway.http.bodies import JSON_BODY_BYTES_MAX
from gateway.world import World, world

START = {"workflow_type": "order"}
JSON = {"Content-Type": "application/json"}
TEXT = {"Content-Type": "text/plain"}
SIGNAL = "/v1/workflows/one/signals/release"
QUERY = "/v1/workflows/one/queries/stage"
ROUTE = "/v1/routes/order"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "workflow_type"),
        ({"workflow_type": 5}, "workflow_type"),
        ({"workflow_type": ""}, "workflow_type"),
        ({"workflow_type": "ä" * 128}, "workflow_type"),
        ({"workflow_type": None}, "workflow_type"),
        (START | {"workflow_id": ""}, "workflow_id"),
        (START | {"workflow_id": "a\nb"}, "workflow_id"),
        (START | {"workflow_id": "a\u2028b"}, "workflow_id"),
        (START | {"workflow_id": "x" * 256}, "workflow_id"),
        (START | {"workflow_id": "."}, "workflow_id"),
        (START | {"workflow_id": ".."}, "workflow_id"),
        ({"workflow_type": "."}, "workflow_type"),
        ({"workflow_type": ".."}, "workflow_type"),
        (START | {"version": "A" * 64}, "version"),
        (START | {"version": "a" * 63}, "version"),
        (START | {"version": "a" * 64 + "\n"}, "version"),
        (START | {"id_conflict": "terminate"}, "id_conflict"),
        (START | {"run_timeout_ms": 0}, "run_timeout_ms"),
        (START | {"run_timeout_ms": limits.RUN_TIMEOUT_MS_MAX + 1}, "run_timeout_ms"),
        (START | {"run_timeout_ms": "5"}, "run_timeout_ms"),
        (START | {"run_timeout_ms": 5.0}, "run_timeout_ms"),
        (START | {"run_timeout_ms": True}, "run_timeout_ms"),
        (START | {"wait": "later"}, "wait"),
        (START | {"wait": True}, "wait"),
        (START | {"wait_ms": "5"}, "wait_ms"),
        (START | {"wait_ms": 5.0}, "wait_ms"),
        (START | {"wait_ms": True}, "wait_ms"),
        (START | {"wait_ms": -1}, "wait_ms"),
        (START | {"wait_ms": limits.WAIT_MS_MAX + 1}, "wait_ms"),
        (START | {"wait_ms": 5}, "wait_ms"),
        (START | {"wait_ms": 5, "wait": "accepted"}, "wait_ms"),
        (START | {"wait_ms": limits.REPLY_WAIT_MS}, "wait_ms"),
        (START | {"wait_ms": 5, "wait": "later"}, "wait"),
        (START | {"attributes": {}}, "attributes"),
        (START | {"workflowId": "x"}, "workflowId"),
    ],
)
async def test_a_field_of_a_start_that_cannot_be_taken_is_named(body: dict[str, object], field: str) -> None:
    async with world() as w:
        await check_refused(w, await w.http.post("/v1/workflows", json=body), field)


@pytest.mark.parametrize(
    ("content", "field"),
    [
        (b"", "body"),
        (b"{", "body"),
        (b"[]", "body"),
        (b'"order"', "body"),
        (b'{"workflow_type":"order"}}', "body"),
        (b'{"workflow_type":"order",}', "body"),
        (b"{'workflow_type':'order'}", "body"),
        (b'{"workflow_type" "order"}', "body"),
        (b'{"workflow_type":"order","input":NaN}', "body"),
        (b'{"workflow_type":"order","input":[-Infinity]}', "body"),
        (b'{"workflow_type":"order","input":}', "body"),
        (b'{"workflow_type":"order","input":01}', "body"),
        (b'{"workflow_type":"order","wait_ms":' + b"1" * 5000 + b"}", "body"),
        (b'\xef\xbb\xbf{"workflow_type":"order"}', "body"),
        (b'{"workflow_type":"\xff"}', "body"),
        ('{"workflow_type":"order"}'.encode("utf-16"), "body"),
        (b'{"workflow_type":"order","input":' + b"[" * 200 + b"]" * 200 + b"}", "body"),
        (b'{"workflow_type":"order","input":' + b"[" * 100_000, "body"),
        (b'{"workflow_type":"a","workflow_type":"b"}', "workflow_type"),
        (b'{"workflow_type":"order","input":1,"input":2}', "input"),
        (b'{"workflow_type":"order","workflow_id":"\\ud800"}', "workflow_id"),
        (b'{"workflow_type":"order","workflow_id":"a\\u0000"}', "workflow_id"),
    ],
)
async def test_a_body_that_is_not_the_json_it_must_be_is_refused(content: bytes, field: str) -> None:
    async with world() as w:
        await check_refused(w, await w.http.post("/v1/workflows", content=content, headers=JSON), field)


@pytest.mark.parametrize(
    ("method", "path", "headers", "content", "field"),
    [
        ("POST", "/v1/workflows", TEXT, b"{}", "Content-Type"),
        ("POST", "/v1/workflows", {}, b"{}", "Content-Type"),
        ("POST", "/v1/workflows", {"Content-Type": "application/json; charset=latin-1"}, b"{}", "Content-Type"),
        ("POST", "/v1/workflows", {"Content-Type": "json"}, b"{}", "Content-Type"),
        ("POST", "/v1/workflows", JSON | {"Content-Encoding": "gzip"}, b"{}", "Content-Encoding"),
        ("POST", "/v1/workflows", JSON | {"Idempotency-Key": ""}, b"{}", "Idempotency-Key"),
        ("POST", "/v1/workflows", JSON | {"Idempotency-Key": "x" * 256}, b"{}", "Idempotency-Key"),
        ("POST", "/v1/workflows", JSON | {"Idempotency-Key": "\xff"}, b"{}", "Idempotency-Key"),
        ("POST", "/v1/workflows", JSON | {"Idempotency-Key": "a\tb"}, b"{}", "Idempotency-Key"),
        ("POST", "/v1/workflows?namespace=Shop", JSON, b"{}", "namespace"),
        ("POST", "/v1/workflows?namespace=", JSON, b"{}", "namespace"),
        ("POST", "/v1/workflows?namespace=" + "a" * 64, JSON, b"{}", "namespace"),
        ("POST", "/v1/workflows?namespace=a&namespace=b", JSON, b"{}", "namespace"),
        ("POST", "/v1/workflows?namespac=a", JSON, b"{}", "namespac"),
        ("POST", "/v1/workflows?namespace=%ff", JSON, b"{}", "query"),
        ("POST", "/v1/workflows?" + "&".join(f"{c}=1" for c in string.ascii_letters), JSON, b"{}", "query"),
        ("POST", SIGNAL, {}, b"x", "Content-Type"),
        ("POST", SIGNAL, JSON, b"x", "body"),
        ("POST", SIGNAL, JSON, b"1 2", "body"),
        ("POST", SIGNAL + "?run_id=5", JSON, b"", "run_id"),
        ("POST", "/v1/workflows/%ff/signals/release", JSON, b"", "workflow_id"),
        ("POST", "/v1/workflows/a%0ab/signals/release", JSON, b"", "workflow_id"),
        ("POST", "/v1/workflows/a/signals/" + "x" * 256, JSON, b"", "name"),
        ("POST", "/v1/workflows/%2E/signals/release", JSON, b"", "workflow_id"),
        ("POST", "/v1/workflows/%2e%2E/signals/release", JSON, b"", "workflow_id"),
        ("POST", "/v1/workflows/one/signals/%2E", JSON, b"", "name"),
        ("POST", "/v1/workflows/one/signals/%2E%2E", JSON, b"", "name"),
        ("GET", "/v1/workflows/%2E%2E/result", {}, b"", "workflow_id"),
        ("PUT", "/v1/routes/%2E%2E", JSON, b'{"version":"%s"}' % (b"a" * 64), "workflow_type"),
        ("PUT", ROUTE, JSON, b'{"version":"x"}', "version"),
        ("PUT", ROUTE, JSON, b"{}", "version"),
        ("PUT", ROUTE, TEXT, b"{}", "Content-Type"),
        ("POST", "/v1/packages", JSON, b"{}", "Content-Type"),
        ("POST", "/v1/packages?force=1", {}, b"x", "force"),
        ("GET", "/v1/versions?workflow_type=", {}, b"", "workflow_type"),
        ("GET", "/v1/versions?type=order", {}, b"", "type"),
        ("GET", "/v1/workflows/one?run_id=" + "A" * 32, {}, b"", "run_id"),
        ("GET", "/v1/workflows/one/history?from_seq=0", {}, b"", "from_seq"),
        ("GET", "/v1/workflows/one/history?limit=1_0", {}, b"", "limit"),
        ("GET", "/v1/workflows/one/history?limit=+5", {}, b"", "limit"),
        ("GET", "/v1/workflows/one/history?encoding=xml", {}, b"", "encoding"),
        ("GET", "/v1/workflows/one/result?wait_ms=5.0", {}, b"", "wait_ms"),
        ("GET", "/v1/workflows/one/result?wait_ms=60001", {}, b"", "wait_ms"),
        ("POST", QUERY, TEXT, b"1", "Content-Type"),
        ("POST", QUERY, {}, b"1", "Content-Type"),
        ("POST", QUERY, JSON, b"NaN", "body"),
        ("POST", QUERY, JSON, b"1 2", "body"),
        ("POST", QUERY, JSON, b"\xff", "body"),
        ("POST", QUERY, JSON, b"[" * 200 + b"]" * 200, "body"),
        ("POST", QUERY, JSON, b"[" * 100_000, "body"),
        ("POST", QUERY, JSON | {"Content-Encoding": "gzip"}, b"1", "Content-Encoding"),
        ("POST", QUERY + f"?wait_ms={limits.QUERY_MS_MAX + 1}", JSON, b"", "wait_ms"),
        ("POST", QUERY + "?wait_ms=soon", JSON, b"", "wait_ms"),
        ("POST", QUERY + "?run_id=..", JSON, b"", "run_id"),
        ("POST", QUERY + "?name=other", JSON, b"", "name"),
        ("POST", QUERY + "?owner_epoch=0", JSON, b"", "owner_epoch"),
        ("POST", "/v1/workflows/one/queries/%00", JSON, b"", "name"),
        ("POST", "/v1/workflows/one/queries/%2E%2E", JSON, b"", "name"),
        ("POST", "/v1/workflows/%C3/queries/stage", JSON, b"", "workflow_id"),
        *(
            ("POST", f"/v1/workflows/{workflow_id}/{verb}{query}", headers, content, field)
            for verb in ("cancel", "terminate")
            for workflow_id, query, headers, content, field in [
                ("one", "", TEXT, b"{}", "Content-Type"),
                ("one", "", {}, b"{}", "Content-Type"),
                ("one", "", JSON, b"[]", "body"),
                ("one", "", JSON, b"null", "body"),
                ("one", "", JSON, b'"why"', "body"),
                ("one", "", JSON, b'{"reason":"a"} x', "body"),
                ("one", "", JSON, b'{"reason":"a","reason":"b"}', "reason"),
                ("one", "", JSON, b'{"reason":5}', "reason"),
                ("one", "", JSON, b'{"reason":' + b"9" * 5000 + b"}", "body"),
                ("one", "", JSON, b'{"reason":["a"]}', "reason"),
                ("one", "", JSON, b'{"reason":"a\\u0000b"}', "reason"),
                ("one", "", JSON, b'{"reason":"\\u001b[31m"}', "reason"),
                ("one", "", JSON, b'{"reason":"\\ud800"}', "reason"),
                ("one", "", JSON, b'{"reason":"\xff"}', "body"),
                ("one", "", JSON, b'{"why":"a"}', "why"),
                ("one", "", JSON, b'{"reason":' + b"[" * 100_000, "body"),
                ("one", "?reason=a", JSON, b"", "reason"),
                ("one", "?namespace=%2E%2E", JSON, b"", "namespace"),
                ("one", "?run_id=" + "0" * 33, JSON, b"", "run_id"),
                ("%2E%2E", "", JSON, b"", "workflow_id"),
                ("a%00", "", JSON, b"", "workflow_id"),
                ("a%7F", "", JSON, b"", "workflow_id"),
                ("%C0%AE", "", JSON, b"", "workflow_id"),
                ("x" * 256, "", JSON, b"", "workflow_id"),
                ("one", "", JSON | {"Idempotency-Key": "a\x00b"}, b"", "Idempotency-Key"),
            ]
        ),
        ("DELETE", f"/v1/versions/{'a' * 64}?force=true", {}, b"", "force"),
        ("DELETE", f"/v1/versions/{'a' * 64}?namespace=..", {}, b"", "namespace"),
    ],
)
async def test_bad_headers_queries_and_paths_are_refused(
    method: str, path: str, headers: dict[str, str], content: bytes, field: str
) -> None:
    async with world() as w:
        await check_refused(w, await w.http.request(method, path, headers=latin(headers), content=content), field)


def latin(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    """Headers of which each character is one byte."""
    return [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]


async def test_an_escape_that_is_none_in_a_path_is_refused() -> None:
    async with world() as w:
        url = w.http.base_url.copy_with(raw_path=b"/v1/workflows/a%zz/result")
        await check_refused(w, await w.http.send(httpx.Request("GET", url)), "workflow_id")


async def check_refused(w: World, answer: httpx.Response, field: str) -> None:
    """Refused for this field, and nobody behind the gateway heard of it."""
    assert (answer.status_code, answer.json()["code"], answer.json()["field"]) == (400, "invalid_argument", field)
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert w.executor.commands == []
    assert w.executors.requests == []


@pytest.mark.parametrize(
    ("path", "limit_bytes", "template"),
    [
        ("/v1/workflows", limits.PAYLOAD_BYTES_MAX, b'{"workflow_type":"order","input":%s}'),
        (SIGNAL, limits.PAYLOAD_BYTES_MAX, b"%s"),
        (QUERY, limits.PAYLOAD_BYTES_MAX, b"%s"),
    ],
)
async def test_a_payload_may_be_as_large_as_the_limit_and_not_larger(path: str, limit_bytes: int, template: bytes) -> None:
    async with world() as w:
        await w.http.post("/v1/workflows", json=START | {"workflow_id": "one"})
        fits = template % (b'"' + b"x" * (limit_bytes - 2) + b'"')
        assert (await w.http.post(path, content=fits, headers=JSON)).is_success
        over = template % (b'"' + b"x" * (limit_bytes - 1) + b'"')
        answer = await w.http.post(path, content=over, headers=JSON)
        assert (answer.status_code, answer.json()["code"]) == (413, "payload_too_large")
        assert answer.json()["limit_bytes"] == limit_bytes


@pytest.mark.parametrize("path", ["/v1/workflows", "/v1/workflows/one/cancel", "/v1/workflows/one/terminate", "/v1/drain"])
async def test_a_body_without_end_is_given_up(path: str) -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * limits.MIB

    async with world() as w:
        answer = await w.http.post(path, content=endless(), headers=JSON)
        assert (answer.status_code, answer.json()["limit_bytes"]) == (413, JSON_BODY_BYTES_MAX)


async def test_a_stated_length_far_over_the_limit_is_refused_unread() -> None:
    async def never() -> AsyncIterator[bytes]:
        raise AssertionError("nothing was to be read")
        yield b""

    async with world() as w:
        headers = {"Content-Length": str(10**12)}
        answer = await w.http.post("/v1/packages", content=never(), headers=headers)
        assert (answer.status_code, answer.json()["limit_bytes"]) == (413, limits.ARCHIVE_BYTES_MAX)


WORDS = ["v1", "workflows", "one", "signals", "queries", "cancel", "terminate", "routes", "versions", "drain", "result"]
PARAMETERS = ["namespace", "run_id", "wait_ms", "limit", "cursor", "status", "started_after", "pins"]


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    path=st.lists(st.one_of(st.sampled_from(WORDS), st.text())),
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE"]),
    query=st.dictionaries(st.one_of(st.sampled_from(PARAMETERS), st.text()), st.text(), max_size=3),
    content=st.one_of(st.binary(), st.sampled_from([b'{"workflow_type":"order"}', b"[]", b'{"version":1}'])),
    content_type=st.sampled_from(["application/json", "text/plain", "x", "application/zip"]),
)
async def test_whatever_comes_the_answer_is_typed(
    path: list[str], method: str, query: dict[str, str], content: bytes, content_type: str
) -> None:
    async with world(reply_wait_ms=1000) as w:
        raw = "/" + "/".join(quote(part, safe="") for part in path)
        url = w.http.base_url.copy_with(raw_path=raw.encode()).copy_merge_params(query)
        request = httpx.Request(method, url, content=content, headers={"Content-Type": content_type})
        answer = await w.http.send(request)
        assert answer.status_code < 500
        if not answer.is_success:
            assert answer.headers["Content-Type"] == "application/problem+json"
            assert answer.json()["code"]
