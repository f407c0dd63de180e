"""Problems: every refusal, with its status and the fields of its code, wherever it comes from."""

import json

import httpx
import pytest

from aion_common.problems import METHOD_NOT_ALLOWED, PROBLEM_KINDS, problem, problem_of
from aion_common.records.replies import RejectionCode
from gateway.scripted import REFUSED, ROUTED, rejection
from gateway.world import world

RFC_MEMBERS = {"type", "title", "status", "detail", "code"}
EXPECTED: dict[str, tuple[int, dict[str, object]]] = {
    "invalid_argument": (400, {"field": "scripted_field"}),
    "invalid_package": (422, {"reason": "scripted invalid_package"}),
    "payload_too_large": (413, {"limit_bytes": 7}),
    "not_found": (404, {}),
    "unknown_workflow_type": (404, {}),
    "unknown_version": (404, {"loaded": [ROUTED]}),
    "already_started": (409, {"run_id": "b" * 32}),
    "closed": (409, {"run_status": "completed"}),
    "manifest_mismatch": (409, {"workflow_type": "order", "version": ROUTED}),
    "route_active": (409, {"workflow_type": "order", "version": ROUTED}),
    "version_pinned": (
        409,
        {
            "workflow_type": "order",
            "version": ROUTED,
            "pins_total": 101,
            "pins": [{"kind": "live_run", "workflow_id": "one", "run_id": "b" * 32}],
        },
    ),
    "query_failed": (422, {}),
    "query_timeout": (504, {}),
    "shutting_down": (503, {}),
    "overloaded": (429, {}),
    "unavailable": (503, {}),
}


def own_fields(body: dict[str, object]) -> dict[str, object]:
    """What a problem says beyond the members of the RFC."""
    return {name: value for name, value in body.items() if name not in RFC_MEMBERS}


def test_every_code_of_a_rejection_is_in_the_tables() -> None:
    assert {str(code) for code in RejectionCode} == EXPECTED.keys()
    assert EXPECTED.keys() < PROBLEM_KINDS.keys()


@pytest.mark.parametrize("code", EXPECTED)
def test_a_rejection_is_a_problem_with_the_fields_of_its_code_alone(code: str) -> None:
    status, body = problem_of(rejection(code))
    assert (status, own_fields(body)) == EXPECTED[code]
    assert body["status"] == status
    assert body["code"] == code
    assert body["type"] == f"urn:aion:problem:{code}"
    assert body["detail"] == f"scripted {code}"
    assert json.loads(json.dumps(body)) == body


def test_wrong_owner_is_misdirected_request() -> None:
    status, body = problem("wrong_owner", "another executor owns partition 3")
    assert (status, body["code"]) == (421, "wrong_owner")


def test_a_field_that_a_code_does_not_define_is_a_bug() -> None:
    with pytest.raises(AssertionError, match="run_id"):
        problem("not_found", "there is no such run", run_id="b" * 32)


@pytest.mark.parametrize("code", EXPECTED)
async def test_a_refused_start_answers_with_its_problem(code: str) -> None:
    async with world() as w:
        call = {"workflow_type": REFUSED + code}
        answer = await w.http.post("/v1/workflows", json=call, headers={"Idempotency-Key": "key"})
        check_problem(answer, code)


@pytest.mark.parametrize("code", EXPECTED)
async def test_a_refused_deploy_answers_with_its_problem(code: str) -> None:
    async with world() as w:
        archive = (REFUSED + code).encode()
        answer = await w.http.post("/v1/packages", content=archive, headers={"Idempotency-Key": "key"})
        check_problem(answer, code)


def check_problem(answer: httpx.Response, code: str) -> None:
    """The whole answer, key included."""
    status, fields = EXPECTED[code]
    with_key = fields | ({"idempotency_key": "key"} if code == "unavailable" else {})
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert (answer.status_code, answer.json()["code"], own_fields(answer.json())) == (status, code, with_key)
    assert answer.headers["Idempotency-Key"] == "key"
    assert answer.headers.get("Retry-After") == ("1" if code in {"overloaded", "shutting_down"} else None)


async def test_a_path_that_does_not_exist_is_not_found() -> None:
    async with world() as w:
        for path in ("/v1/nothing", "/", "/v1/workflows/", "/v1/versions/", "/docs"):
            answer = await w.http.get(path)
            assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), path


async def test_a_method_that_a_path_does_not_take_names_those_it_does() -> None:
    async with world() as w:
        for method, path, allowed in (
            ("DELETE", "/v1/workflows", "GET, POST"),
            ("GET", "/v1/workflows/one/cancel", "POST"),
            ("POST", f"/v1/versions/{ROUTED}", "DELETE"),
            ("OPTIONS", "/v1/drain", "POST"),
        ):
            answer = await w.http.request(method, path)
            assert (answer.status_code, answer.json()["code"]) == (405, METHOD_NOT_ALLOWED)
            assert answer.headers["Allow"] == allowed


async def test_a_defect_says_nothing_but_that_it_is_one() -> None:
    async def defect(_request: httpx.Request) -> httpx.Response:
        raise RuntimeError("a secret")

    async with world() as w:
        w.executors.listening["executor-1:1000"] = defect
        call = {"workflow_type": "order", "wait": "closed"}
        answer = await w.http.post("/v1/workflows", json=call, headers=[(b"idempotency-key", "ä".encode())])
        assert (answer.status_code, answer.json()["code"]) == (500, "internal")
        assert "secret" not in answer.text
        assert answer.json()["idempotency_key"] == "ä"
        assert dict(answer.headers.raw)[b"idempotency-key"] == "ä".encode()


async def test_more_requests_than_the_limit_are_overloaded_and_health_is_served() -> None:
    async with world(in_flight_max=0) as w:
        answer = await w.http.post("/v1/workflows", json={"workflow_type": "order"}, headers={"Idempotency-Key": "key"})
        check_problem(answer, "overloaded")
        assert w.executor.commands == []
        assert (await w.http.get("/healthz")).status_code == 200
        assert (await w.http.get("/readyz")).status_code == 200
