"""Packages: what arrives is what lies in the topic, listings never lag behind a deploy."""

from collections.abc import AsyncIterator

import pytest
from blake3 import blake3

from aion_common import limits
from aion_common.testing.memory_cluster import Fault
from aion_common.wire import decode
from gateway.scripted import DEPLOYED_AT
from gateway.world import TOPICS, World, serving, surroundings, world

ZIP = {"Content-Type": "application/zip"}


async def deployed(w: World, archive: bytes) -> str:
    """Deploy; the version."""
    answer = await w.http.post("/v1/packages", content=archive, headers=ZIP)
    assert answer.status_code == 200
    return str(answer.json()["records"][0]["version"])


async def test_a_deploy_answers_what_is_loaded() -> None:
    async with world() as w:
        answer = await w.http.post("/v1/packages", content=b"archive", headers=ZIP | {"Idempotency-Key": "key"})
        record = {
            "workflow_type": "order",
            "version": blake3(b"archive").hexdigest(),
            "manifest_digest": "c" * 64,
            "deployed_at": DEPLOYED_AT,
        }
        assert answer.json() == {
            "records": [record],
            "freshly_loaded": True,
            "route_changed": True,
            "warnings": ["scripted"],
        }
        assert answer.headers["Idempotency-Key"] == "key"
        again = await w.http.post("/v1/packages", content=b"archive", headers=ZIP)
        assert again.json() == answer.json() | {"freshly_loaded": False, "route_changed": False}


@pytest.mark.parametrize("size", [1, limits.CHUNK_BYTES_MAX - 1, limits.CHUNK_BYTES_MAX, 3 * limits.CHUNK_BYTES_MAX + 1])
async def test_an_archive_arrives_whole_whatever_its_pieces(size: int) -> None:
    archive = bytes(range(251)) * (size // 251 + 1)

    async def in_pieces() -> AsyncIterator[bytes]:
        for start in range(0, size, 300_000):
            yield archive[start : min(start + 300_000, size)]

    async with world() as w:
        answer = await w.http.post("/v1/packages", content=in_pieces(), headers=ZIP)
        assert answer.status_code == 200
        assert w.catalog.archives == [archive[:size]]
        chunks = [decode(record.value) for record in w.cluster.records(TOPICS.packages, 0)]
        assert len(chunks) == -(-size // limits.CHUNK_BYTES_MAX)
        assert all(len(chunk.content) <= limits.CHUNK_BYTES_MAX for chunk in chunks)


async def test_an_archive_over_the_limit_is_not_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "ARCHIVE_BYTES_MAX", 1000)
    async with world() as w:
        answer = await w.http.post("/v1/packages", content=b"x" * 1001, headers=ZIP)
        assert (answer.status_code, answer.json()["limit_bytes"]) == (413, 1000)
        assert w.catalog.answers == {}


async def test_an_empty_archive_is_an_invalid_package() -> None:
    async with world() as w:
        answer = await w.http.post("/v1/packages", headers=ZIP)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_package")
        assert "empty" in answer.json()["reason"]


async def test_a_chunk_that_cannot_be_stored_makes_the_deploy_unavailable_and_repeatable() -> None:
    async with world() as w:
        w.cluster.fail_next_append(TOPICS.packages, 0, Fault.APPLIED)
        answer = await w.http.post("/v1/packages", content=b"archive", headers=ZIP | {"Idempotency-Key": "key"})
        assert (answer.status_code, answer.json()["idempotency_key"]) == (503, "key")
        again = await w.http.post("/v1/packages", content=b"archive", headers=ZIP | {"Idempotency-Key": "key"})
        assert again.json()["freshly_loaded"] is True


async def test_a_listing_shows_every_deploy_that_has_returned_on_every_gateway() -> None:
    async with world() as w, serving(surroundings(w.log, w.executors)) as (_, other):
        assert (await other.get("/v1/versions")).json() == {"versions": []}
        for number in range(5):
            version = await deployed(w, b"archive %d" % number)
            listed = (await other.get("/v1/versions")).json()["versions"]
            assert len(listed) == number + 1
            assert [one["version"] for one in listed if one["route_active"]] == [version]


async def test_a_listing_is_of_one_namespace_and_if_asked_of_one_type() -> None:
    async with world() as w:
        version = await deployed(w, b"archive")
        listed = (await w.http.get("/v1/versions?workflow_type=order")).json()["versions"]
        assert listed == [
            {
                "workflow_type": "order",
                "version": version,
                "route_active": True,
                "deployed_at": DEPLOYED_AT,
                "manifest_digest": "c" * 64,
            }
        ]
        assert (await w.http.get("/v1/versions?workflow_type=other")).json() == {"versions": []}
        assert (await w.http.get("/v1/versions?namespace=other")).json() == {"versions": []}


async def test_a_listing_is_unavailable_while_kafka_is() -> None:
    async with world() as w:
        w.cluster.reachable = False
        answer = await w.http.get("/v1/versions")
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        assert "idempotency_key" not in answer.json()
        w.cluster.reachable = True
        assert (await w.http.get("/v1/versions")).status_code == 200


async def test_routing_back_answers_both_versions_and_shows_in_the_listing() -> None:
    async with world() as w:
        first, second = await deployed(w, b"one"), await deployed(w, b"two")
        answer = await w.http.put("/v1/routes/order", json={"version": first})
        assert answer.json() == {
            "workflow_type": "order",
            "version": first,
            "previous_version": second,
            "route_epoch": 2,
            "route_changed": True,
        }
        listed = (await w.http.get("/v1/versions")).json()["versions"]
        assert {one["version"]: one["route_active"] for one in listed} == {first: True, second: False}


async def test_routing_to_an_unknown_version_names_the_loaded_ones() -> None:
    async with world() as w:
        version = await deployed(w, b"one")
        answer = await w.http.put("/v1/routes/order", json={"version": "f" * 64})
        assert (answer.status_code, answer.json()["code"]) == (404, "unknown_version")
        assert answer.json()["loaded"] == [version]
