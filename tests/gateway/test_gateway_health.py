"""Health: ready only when a start would work, alive unless stuck; the document that describes the API."""

import httpx
import pytest

from aion_gateway.http.problems import IDEMPOTENCY_KEY
from gateway.world import PARTITIONS, World, world


async def reasons(w: World) -> str:
    """Why the gateway is not ready."""
    answer = await w.http.get("/readyz")
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    return "; ".join(answer.json()["reasons"])


async def test_ready_when_every_partition_is_owned_by_who_says_so() -> None:
    async with world() as w:
        answer = await w.http.get("/readyz")
        assert (answer.status_code, answer.json()) == (200, {"ready": True, "partitions": PARTITIONS})
        assert [request.url.path for request in w.executors.requests] == ["/ready"]


async def test_not_ready_while_a_partition_has_no_owner() -> None:
    async with world() as w:
        await w.announce(0, 11, "executor-2", "executor-2:2000")
        assert "partition 0: its owner executor-2 at executor-2:2000 does not answer" in await reasons(w)
        del w.owner.owned[1]
        assert "partition 1: executor-1 at executor-1:1000 does not own it any more" in await reasons(w)
        w.owner.owned[2] = 9
        assert "partition 2: executor-1 owns it with epoch 9, the newest one known is 10" in await reasons(w)


async def test_not_ready_before_every_partition_was_owned() -> None:
    async with world(partitions_owned=1) as w:
        assert await reasons(w) == "partition 1: nobody owns it yet; partition 2: nobody owns it yet"


@pytest.mark.parametrize("nonsense", [b"", b"[]", b'{"member":1,"owned":{}}', b'{"member":"x","owned":{"0":"y"}}'])
async def test_not_ready_when_executors_talk_nonsense(nonsense: bytes) -> None:
    async def answer(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=nonsense)

    async with world() as w:
        w.executors.listening["executor-1:1000"] = answer
        assert "does not answer" in await reasons(w)


async def test_not_ready_while_kafka_is_away_but_alive() -> None:
    async with world() as w:
        w.cluster.reachable = False
        assert "Kafka does not answer" in await reasons(w)
        assert (await w.http.get("/healthz")).json() == {"alive": True}
        w.cluster.reachable = True
        assert (await w.http.get("/readyz")).status_code == 200


async def test_the_document_describes_every_call_with_its_problems() -> None:
    async with world() as w:
        document = (await w.http.get("/openapi.json")).json()
        calls = {
            (method.upper(), path): call for path, methods in document["paths"].items() for method, call in methods.items()
        }
        assert calls.keys() == {
            ("POST", "/v1/packages"),
            ("GET", "/v1/versions"),
            ("PUT", "/v1/routes/{workflow_type}"),
            ("POST", "/v1/workflows"),
            ("POST", "/v1/workflows/{workflow_id}/signals/{name}"),
            ("GET", "/v1/workflows/{workflow_id}"),
            ("GET", "/v1/workflows/{workflow_id}/history"),
            ("GET", "/v1/workflows/{workflow_id}/result"),
            ("POST", "/v1/workflows/{workflow_id}/queries/{name}"),
            ("POST", "/v1/workflows/{workflow_id}/cancel"),
            ("POST", "/v1/workflows/{workflow_id}/terminate"),
            ("GET", "/v1/workflows"),
            ("DELETE", "/v1/versions/{version}"),
            ("POST", "/v1/queues"),
            ("GET", "/v1/queues"),
            ("POST", "/v1/drain"),
            ("GET", "/healthz"),
            ("GET", "/readyz"),
            ("GET", "/metrics"),
        }
        for (method, path), call in calls.items():
            assert "422" not in call["responses"] or path in {
                "/v1/packages",
                "/v1/workflows/{workflow_id}/queries/{name}",
            }
            assert "application/problem+json" in call["responses"]["503"]["content"]
            names = {parameter["name"] for parameter in call.get("parameters", ())}
            assert (IDEMPOTENCY_KEY in names) == (method != "GET")
            assert ("namespace" in names) == (path.startswith("/v1") and path not in {"/v1/drain", "/v1/queues"})
        start = calls["POST", "/v1/workflows"]["requestBody"]["content"]["application/json"]["schema"]
        schema = document["components"]["schemas"][start["$ref"].rpartition("/")[2]]
        assert schema["additionalProperties"] is False
        assert schema["required"] == ["workflow_type"]
        assert schema["properties"]["id_conflict"]["enum"] == ["reject", "use_existing", "terminate_existing"]
        references = set(_references(document))
        assert references <= document["components"]["schemas"].keys()


def _references(part: object) -> list[str]:
    if isinstance(part, dict):
        found = [part["$ref"].rpartition("/")[2]] if isinstance(part.get("$ref"), str) else []
        return found + [name for value in part.values() for name in _references(value)]
    return [name for value in part for name in _references(value)] if isinstance(part, list) else []
