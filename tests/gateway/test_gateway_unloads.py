"""Unloading versions, and what the listing says pins them."""

import httpx
import pytest

from aion_common import limits
from gateway.scripted import ROUTED, problem_answer
from gateway.world import World, serving, surroundings, world

ZIP = {"Content-Type": "application/zip"}


async def deployed(w: World, archive: bytes) -> str:
    """Deploy; the version."""
    answer = await w.http.post("/v1/packages", content=archive, headers=ZIP)
    return str(answer.json()["records"][0]["version"])


async def versions(http: httpx.AsyncClient, query: str = "") -> list[dict[str, object]]:
    """The listing."""
    answer = await http.get("/v1/versions" + query)
    assert answer.status_code == 200
    listed: list[dict[str, object]] = answer.json()["versions"]
    return listed


async def test_an_unloaded_version_is_in_no_listing_of_any_gateway() -> None:
    async with world() as w, serving(surroundings(w.log, w.executors)) as (_, other):
        first, second = await deployed(w, b"one"), await deployed(w, b"two")
        answer = await w.http.delete(f"/v1/versions/{first}", headers={"Idempotency-Key": "key"})
        assert (answer.status_code, answer.json()) == (200, {"unloaded": True})
        assert answer.headers["Idempotency-Key"] == "key"
        assert [one["version"] for one in await versions(other)] == [second]
        again = await other.delete(f"/v1/versions/{first}", headers={"Idempotency-Key": "key"})
        assert again.json() == {"unloaded": True}
        unknown = await w.http.delete(f"/v1/versions/{first}")
        assert (unknown.status_code, unknown.json()["loaded"]) == (404, [second])


async def test_a_version_that_is_loaded_again_is_listed_again() -> None:
    async with world() as w:
        first, second = await deployed(w, b"one"), await deployed(w, b"two")
        await w.http.delete(f"/v1/versions/{first}")
        await deployed(w, b"one")
        assert [(one["version"], one["route_active"]) for one in await versions(w.http)] == [(second, False), (first, True)]


async def test_a_routed_version_stays() -> None:
    async with world() as w:
        version = await deployed(w, b"one")
        answer = await w.http.delete(f"/v1/versions/{version}")
        assert (answer.status_code, answer.json()["code"]) == (409, "route_active")
        assert (answer.json()["workflow_type"], answer.json()["version"]) == ("order", ROUTED)
        assert len(await versions(w.http)) == 1


async def test_a_pinned_version_stays_and_its_pins_are_named() -> None:
    async with world() as w:
        first, _ = await deployed(w, b"one"), await deployed(w, b"two")
        w.catalog.is_pinned = True
        answer = await w.http.delete(f"/v1/versions/{first}")
        assert (answer.status_code, answer.json()["code"]) == (409, "version_pinned")
        assert answer.json()["pins_total"] == 101
        assert answer.json()["pins"] == [{"kind": "live_run", "workflow_id": "one", "run_id": "b" * 32}]
        assert len(await versions(w.http)) == 2


async def test_a_key_of_another_unload_does_not_unload() -> None:
    async with world() as w:
        first, second = await deployed(w, b"one"), await deployed(w, b"two")
        await deployed(w, b"three")
        key = {"Idempotency-Key": "key"}
        assert (await w.http.delete(f"/v1/versions/{first}", headers=key)).status_code == 200
        answer = await w.http.delete(f"/v1/versions/{second}", headers=key)
        assert (answer.status_code, answer.json()["field"]) == (400, "Idempotency-Key")
        assert len(await versions(w.http)) == 2


@pytest.mark.parametrize("segment", ["v1", "A" * 64, "a" * 63, "a" * 65, "a" * 63 + "%00", "a" * 64 + "%0A", "%ff", "%2e%2e"])
async def test_what_is_no_version_is_refused_unsent(segment: str) -> None:
    async with world() as w:
        answer = await w.http.delete(f"/v1/versions/{segment}")
        assert (answer.status_code, answer.json()["field"]) == (400, "version")
        assert w.catalog.answers == {}


async def test_pins_are_the_sums_over_all_partitions() -> None:
    async with world() as w:
        first, second = await deployed(w, b"one"), await deployed(w, b"two")

        async def pins(partition: int, query: dict[str, str]) -> httpx.Response:
            assert query == {"namespace": "default", "owner_epoch": "10"}
            counts = {"live_run": partition, "recoverable_run": 10, "recorded_child": 0}
            return httpx.Response(200, json={"versions": {first: counts} if partition else {}})

        w.owner.lists["pins"] = pins
        listed = {one["version"]: one["pins"] for one in await versions(w.http, "?pins=true")}
        assert listed == {
            first: {"live_run": 1 + 2, "recoverable_run": 20, "recorded_child": 0},
            second: {"live_run": 0, "recoverable_run": 0, "recorded_child": 0},
        }


@pytest.mark.parametrize("query", ["", "?pins=false"])
async def test_owners_are_not_asked_for_pins_that_nobody_wants(query: str) -> None:
    async with world() as w:
        await deployed(w, b"one")
        assert "pins" not in (await versions(w.http, query))[0]
        assert w.executors.requests == []


@pytest.mark.parametrize("value", ["", "1", "TRUE", "yes"])
async def test_pins_are_wanted_or_not(value: str) -> None:
    async with world() as w:
        assert (await w.http.get(f"/v1/versions?pins={value}")).json()["field"] == "pins"


async def test_without_every_owner_pins_are_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REPLY_WAIT_MS", 30)

    async def pins(partition: int, _query: dict[str, str]) -> httpx.Response:
        return problem_answer("wrong_owner", "no") if partition == 1 else httpx.Response(200, json={"versions": {}})

    async with world() as w:
        w.owner.lists["pins"] = pins
        answer = await w.http.get("/v1/versions?pins=true")
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
