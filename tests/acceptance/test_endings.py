"""Queries, cancel, terminate and time-outs, through real VMs and the whole stack."""

import pytest

from acceptance.packages import fixture_source, packed
from acceptance.stack import Api

pytestmark = pytest.mark.asyncio(loop_scope="session")

FLOWS = {"publishes": "publishes", "cleans_up": "cleans_up", "swallows": "swallows"}


async def deploy(api: Api) -> None:
    """The module of flows, each a workflow type."""
    await api.deploy(packed("flows", fixture_source("flows"), "swallows", FLOWS))


async def query(api: Api, workflow_id: str, name: str, arguments: object = None) -> tuple[int, object]:
    """Status and answer."""
    answer = await api.call("POST", f"/v1/workflows/{workflow_id}/queries/{name}", json=arguments)
    return answer.status_code, answer.json()


async def test_query_shows_what_the_run_published_last_also_after_its_vm_died(api: Api) -> None:
    await deploy(api)
    await api.start("publishes", workflow_id="q")
    assert await query(api, "q", "stage") == (200, None)
    await api.signal("q", "a")
    assert await query(api, "q", "stage") == (200, {"stage": "one"})
    await api.stack.kill_vms()
    assert await query(api, "q", "stage") == (200, {"stage": "one"})
    assert await query(api, "q", "arguments", {"n": 1}) == (200, {"n": 1})
    status, problem = await query(api, "q", "refuse")
    assert isinstance(problem, dict)
    assert (status, problem["code"]) == (422, "query_failed")
    for name in "bc":
        await api.signal("q", name)
    assert (await api.result("q"))["result"] == "done"
    status, problem = await query(api, "q", "stage")
    assert isinstance(problem, dict)
    assert (status, problem["code"]) == (409, "closed")


async def test_cancelled_run_cleans_up_or_ends(api: Api) -> None:
    await deploy(api)
    await api.start("cleans_up", workflow_id="tidy")
    assert (await api.call("POST", "/v1/workflows/tidy/cancel", json={"reason": "no stock"})).status_code == 202
    await api.signal("tidy", "undo", 7)
    assert (await api.result("tidy"))["result"] == {"reason": "no stock", "undo": 7}
    await api.start("publishes", workflow_id="plain")
    assert (await api.call("POST", "/v1/workflows/plain/cancel", json={})).status_code == 202
    ended = await api.result("plain")
    assert (ended["status"], ended["failure"]["kind"]) == ("cancelled", "cancelled")
    assert await api.terminal_events("plain") == ["RunCancelled"]


async def test_terminated_and_replaced_runs_end_at_once(api: Api) -> None:
    await deploy(api)
    await api.start("swallows", workflow_id="w")
    assert (await api.call("POST", "/v1/workflows/w/terminate", json={"reason": "wrong"})).status_code == 202
    assert (await api.result("w"))["failure"] == {"kind": "terminated", "message": "wrong"}
    first = await api.start("swallows", workflow_id="w")
    second = await api.start("swallows", workflow_id="w", id_conflict="terminate_existing")
    ended = await api.call("GET", "/v1/workflows/w/result", params={"run_id": first["run_id"]})
    assert ended.json()["status"] == "terminated"
    assert (await api.describe("w"))["run_id"] == second["run_id"]


async def test_run_is_ended_by_its_time_out(api: Api) -> None:
    await deploy(api)
    started = await api.start("swallows", workflow_id="late", run_timeout_ms=300)
    ended = await api.result("late")
    assert ended["status"] == "timed_out"
    events = await api.history("late")
    assert events[-1]["recorded_at"] >= events[0]["recorded_at"] + 300
    listed = await api.call("GET", "/v1/workflows", params={"status": "timed_out"})
    assert [run["run_id"] for run in listed.json()["workflows"]] == [started["run_id"]]
