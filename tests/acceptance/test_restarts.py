"""What the catalog decided, and what clients were told, is the same after every service and the broker were killed at once."""

from typing import Any

import pytest

from acceptance.packages import packed
from acceptance.stack import Api, Stack
from support import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")

PAIRS = "pairs"
_SOURCE = """
-module(pairs).
-export([run/1]).
run(_) ->
    receive {aion_signal, _, First} ->
        receive {aion_signal, _, Second} -> [{number}, First, Second] end
    end.
"""


class Client:
    """Makes every call with a key of its own, and can make all of them again."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._told: dict[str, tuple[int, dict[str, Any]]] = {}
        self._calls: dict[str, tuple[str, str, dict[str, Any]]] = {}

    async def call(self, key: str, method: str, path: str, **given: Any) -> dict[str, Any]:
        """A call that must succeed."""
        self._calls[key] = (method, path, given)
        self._told[key] = await self._answer(key)
        status, body = self._told[key]
        assert status < 300, body
        return body

    async def check_repeats(self) -> None:
        """Every call made again with its key gets its first answer."""
        assert {key: await self._answer(key) for key in self._calls} == self._told

    async def _answer(self, key: str) -> tuple[int, dict[str, Any]]:
        method, path, given = self._calls[key]
        answer = await self._api.call(method, path, headers={"Idempotency-Key": key}, **given)
        return answer.status_code, answer.json()


async def load(client: Client, number: int) -> str:
    """Load this version; its name."""
    archive = packed(PAIRS, _SOURCE.replace("{number}", str(number)), "run")
    told = await client.call(f"load-{number}", "POST", "/v1/packages", content=archive)
    version: str = told["records"][0]["version"]
    return version


async def check_after_a_restart(api: Api, client: Client, route: tuple[str, int], loaded: set[str]) -> None:
    """Versions, the route, repeats and a new start are as before the death of everything."""
    version, number = route
    await api.stack.kill_all()
    listed = await api.versions()
    assert {entry["version"] for entry in listed} == loaded
    assert [entry["version"] for entry in listed if entry["route_active"]] == [version]
    await client.check_repeats()
    started = await api.start(PAIRS)
    assert started["version"] == version
    for name in ("a", "b"):
        await api.signal(started["workflow_id"], name, name)
    assert (await api.result(started["workflow_id"]))["result"] == [number, "a", "b"]
    await client.check_repeats()


async def test_deploys_rollbacks_and_unloads_survive_a_restart_of_every_service(own_stack: Stack) -> None:
    api = Api(own_stack, "default")
    client = Client(api)
    v1 = await load(client, 1)
    await client.call("start", "POST", "/v1/workflows", json={"workflow_type": PAIRS, "workflow_id": "old"})
    await client.call("signal", "POST", "/v1/workflows/old/signals/first", json={"n": 1})
    await eventually(lambda: has_taken_its_signal(api))
    before = await api.history("old")

    v2 = await load(client, 2)
    await check_after_a_restart(api, client, (v2, 2), {v1, v2})
    await client.call("back", "PUT", f"/v1/routes/{PAIRS}", json={"version": v1})
    await check_after_a_restart(api, client, (v1, 1), {v1, v2})
    v3 = await load(client, 3)
    await client.call("unload", "DELETE", f"/v1/versions/{v2}")
    await check_after_a_restart(api, client, (v3, 3), {v1, v3})

    refused = await api.call("PUT", f"/v1/routes/{PAIRS}", json={"version": v2})
    assert (refused.status_code, refused.json()["code"]) == (404, "unknown_version")
    await api.signal("old", "second", {"n": 2})
    assert (await api.result("old"))["result"] == [1, {"n": 1}, {"n": 2}]
    assert (await api.history("old"))[: len(before)] == before
    assert await api.recorded_version("old") == v1


async def has_taken_its_signal(api: Api) -> bool:
    """Whether the old run has ended its turn behind the signal."""
    events = await api.history("old")
    signals = [event["seq"] for event in events if event["type"] == "SignalReceived"]
    turns = [event["data"]["observed_seq"] for event in events if event["type"] == "TurnEnded"]
    return bool(signals and turns) and turns[-1] >= signals[-1]
