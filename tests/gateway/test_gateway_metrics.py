"""What a gateway counts: by route and never by path; what Prometheus reads."""

import asyncio

import pytest
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from gateway.scripted import ScriptedRun
from gateway.world import world

START = {"workflow_type": "order"}


def value(name: str, **labels: str) -> float:
    """Of a sample; 0 while there is none."""
    return REGISTRY.get_sample_value(name, labels) or 0.0


def served(route: str, method: str, status: str) -> float:
    """Requests so far."""
    return value("aion_http_requests_total", route=route, method=method, status=status)


@pytest.mark.parametrize(
    ("method", "path", "route", "status"),
    [
        ("POST", "/v1/workflows", "/v1/workflows", "201"),
        ("GET", "/v1/workflows/a%2Fb", "/v1/workflows/{workflow_id}", "404"),
        ("DELETE", "/v1/versions/x", "/v1/versions/{version}", "400"),
        ("GET", "/v1/nothing/at/all", "none", "404"),
        ("GET", "/healthz", "/healthz", "200"),
    ],
)
async def test_requests_are_counted_by_route_method_and_status(method: str, path: str, route: str, status: str) -> None:
    async with world() as w:
        before = served(route, method, status)
        timed = value("aion_http_request_seconds_count", route=route, method=method)
        answer = await w.http.request(method, path, json=START if method == "POST" else None)
        assert answer.status_code == int(status)
        assert served(route, method, status) == before + 1
        assert value("aion_http_request_seconds_count", route=route, method=method) == timed + 1


async def test_methods_that_nobody_knows_make_no_series() -> None:
    async with world() as w:
        before = value("aion_http_requests_total", route="none", method="other", status="404")
        for number in range(3):
            await w.http.request(f"BREW{number}", "/v1/nothing")
        assert value("aion_http_requests_total", route="none", method="other", status="404") == before + 3


async def test_a_defect_is_counted_as_one() -> None:
    async with world() as w:

        def defect(_run: ScriptedRun) -> None:
            w.executors.listening.clear()
            w.gateway.owners.ask = None  # type: ignore[method-assign, assignment]

        w.executor.on_start = defect
        before = served("/v1/workflows", "POST", "500")
        answer = await w.http.post("/v1/workflows", json=START | {"wait": "closed"})
        assert answer.status_code == 500
        assert served("/v1/workflows", "POST", "500") == before + 1


async def test_requests_in_flight_and_answers_awaited_are_shown_and_end() -> None:
    async with world() as w, asyncio.TaskGroup() as calls:
        in_flight, awaited = value("aion_http_in_flight_requests"), value("aion_answers_awaited_commands")
        w.executor.replies_dropped = 1
        waiting = calls.create_task(w.http.post("/v1/workflows", json=START))
        await w.executor.has_taken.wait()
        assert value("aion_http_in_flight_requests") == in_flight + 1
        assert value("aion_answers_awaited_commands") == awaited + 1
        await w.executor.repeat_answers()
        await waiting
        assert value("aion_http_in_flight_requests") == in_flight
        assert value("aion_answers_awaited_commands") == awaited


async def test_an_answer_that_never_comes_is_not_awaited_for_ever() -> None:
    async with world(reply_wait_ms=1) as w:
        awaited = value("aion_answers_awaited_commands")
        w.executor.replies_dropped = 1
        assert (await w.http.post("/v1/workflows", json=START)).status_code == 503
        assert value("aion_answers_awaited_commands") == awaited


async def test_overloaded_requests_are_counted_and_the_counts_are_always_served() -> None:
    async with world(in_flight_max=0) as w:
        before = value("aion_http_overloaded_total")
        answer = await w.http.post("/v1/workflows", json=START)
        assert (answer.status_code, answer.headers["Retry-After"]) == (429, "1")
        assert (await w.http.get("/v1/versions")).status_code == 429
        assert value("aion_http_overloaded_total") == before + 2
        assert (await w.http.get("/metrics")).status_code == 200


async def test_prometheus_reads_what_is_counted() -> None:
    async with world() as w:
        await w.http.post("/v1/workflows", json=START)
        answer = await w.http.get("/metrics")
        assert answer.headers["Content-Type"].startswith("text/plain; version=")
        families = {family.name for family in text_string_to_metric_families(answer.text)}
        assert families >= {
            "aion_http_requests",
            "aion_http_request_seconds",
            "aion_http_in_flight_requests",
            "aion_http_overloaded",
            "aion_answers_awaited_commands",
            "aion_skipped_records",
        }
