"""Code is replaced under running workflows: what was started before stays, what is started after is new."""

import asyncio
from typing import Any

import pytest

from acceptance.packages import RELOAD, reload_package
from acceptance.stack import Api
from support import paced

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def load(api: Api, number: int) -> dict[str, Any]:
    """Load version `number` and return the answer."""
    return await api.deploy(reload_package(number))


async def test_parked_run_keeps_its_version_while_new_starts_run_the_next(api: Api) -> None:
    first = await load(api, 1)
    v1 = first["records"][0]["version"]
    assert (first["freshly_loaded"], first["route_changed"]) == (True, True)
    await api.start(RELOAD, workflow_id="parked")
    second = await load(api, 2)
    v2 = second["records"][0]["version"]
    assert (second["freshly_loaded"], second["route_changed"]) == (True, True)
    assert await api.run_once(RELOAD, "new") == 2
    await api.signal("parked", "go")
    assert (await api.result("parked"))["result"] == 1
    assert await api.recorded_version("parked") == v1
    assert await api.recorded_version("new") == v2


@pytest.mark.parametrize("clients", [1, 8])
async def test_starts_during_a_load_never_go_back_and_answer_as_recorded(api: Api, clients: int) -> None:
    numbers = {(await load(api, 1))["records"][0]["version"]: 1}
    started: list[list[str]] = [[] for _ in range(clients)]

    async def client(number: int) -> None:
        async for position in paced(range(40), every_ms=2):
            workflow_id = f"c{number}-{position}"
            await api.start(RELOAD, workflow_id=workflow_id)
            started[number].append(workflow_id)

    async with asyncio.TaskGroup() as tasks:
        for number in range(clients):
            tasks.create_task(client(number))
        loaded = await load(api, 2)
        numbers[loaded["records"][0]["version"]] = 2
    assert await api.run_once(RELOAD, "after") == 2

    async def check(workflow_ids: list[str]) -> None:
        versions = [numbers[await api.recorded_version(workflow_id)] for workflow_id in workflow_ids]
        assert versions == sorted(versions)
        for workflow_id, version in zip(workflow_ids, versions, strict=True):
            await api.signal(workflow_id, "go")
            assert (await api.result(workflow_id))["result"] == version

    async with asyncio.TaskGroup() as tasks:
        for workflow_ids in started:
            tasks.create_task(check(workflow_ids))


async def test_twenty_loads_in_a_row_under_starts(api: Api) -> None:
    numbers = {(await load(api, 1))["records"][0]["version"]: 1}
    started: list[str] = []
    done = asyncio.Event()

    async def client() -> None:
        while not done.is_set():
            workflow_id = f"w{len(started)}"
            answer = await api.start(RELOAD, workflow_id=workflow_id)
            started.append(answer["version"])

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(client())
        for number in range(2, 22):
            numbers[(await load(api, number))["records"][0]["version"]] = number
            assert await api.run_once(RELOAD, f"after-{number}") == number
        done.set()
    versions = [numbers[version] for version in started]
    assert versions == sorted(versions)
    assert len(versions) > 20


async def test_loading_again_is_idempotent_and_routes_back(api: Api) -> None:
    first = await load(api, 1)
    again = await load(api, 1)
    assert again["records"] == first["records"]
    assert (again["freshly_loaded"], again["route_changed"]) == (False, False)
    assert len(await api.versions()) == 1
    await load(api, 2)
    back = await load(api, 1)
    assert back["records"] == first["records"]
    assert (back["freshly_loaded"], back["route_changed"]) == (False, True)
    assert len(await api.versions()) == 2
    assert await api.run_once(RELOAD, "next") == 1


async def test_listing_shows_the_route_and_routing_back_works(api: Api) -> None:
    v1 = (await load(api, 1))["records"][0]["version"]
    v2 = (await load(api, 2))["records"][0]["version"]
    assert {entry["version"]: entry["route_active"] for entry in await api.versions()} == {v1: False, v2: True}
    routed = await api.call("PUT", f"/v1/routes/{RELOAD}", json={"version": v1})
    assert routed.status_code == 200
    assert (routed.json()["previous_version"], routed.json()["route_changed"]) == (v2, True)
    assert {entry["version"]: entry["route_active"] for entry in await api.versions()} == {v1: True, v2: False}
    assert await api.run_once(RELOAD, "back") == 1
    refused = await api.call("PUT", f"/v1/routes/{RELOAD}", json={"version": "f" * 64})
    assert (refused.status_code, refused.json()["code"]) == (404, "unknown_version")
    assert sorted(refused.json()["loaded"]) == sorted([v1, v2])


async def test_same_code_with_another_manifest_is_refused(api: Api) -> None:
    original = await api.deploy(reload_package(1, function="run"))
    refused = await api.call("POST", "/v1/packages", content=reload_package(1, function="park"))
    assert (refused.status_code, refused.json()["code"]) == (409, "manifest_mismatch")
    started = await api.start(RELOAD, wait="closed")
    assert started["result"] == 1
    again = await api.deploy(reload_package(1, function="run"))
    assert again["records"] == original["records"]
    assert (again["freshly_loaded"], again["route_changed"]) == (False, False)


async def test_start_on_a_named_version(api: Api) -> None:
    v1 = (await load(api, 1))["records"][0]["version"]
    await load(api, 2)
    await api.start(RELOAD, workflow_id="old", version=v1)
    await api.signal("old", "go")
    assert (await api.result("old"))["result"] == 1


async def test_same_key_gives_the_same_run_and_an_open_id_is_taken(api: Api) -> None:
    await load(api, 1)
    first = await api.start(RELOAD, key="k1", workflow_id="w")
    again = await api.start(RELOAD, key="k1", workflow_id="w")
    assert (again["run_id"], again["version"]) == (first["run_id"], first["version"])
    unnamed = [await api.start(RELOAD, key="k2") for _ in range(2)]
    assert unnamed[0]["workflow_id"] == unnamed[1]["workflow_id"]
    taken = await api.call("POST", "/v1/workflows", json={"workflow_type": RELOAD, "workflow_id": "w"})
    assert (taken.status_code, taken.json()["code"], taken.json()["run_id"]) == (409, "already_started", first["run_id"])
    existing = await api.start(RELOAD, workflow_id="w", id_conflict="use_existing")
    assert existing["run_id"] == first["run_id"]
