"""Anything may be killed at any time: parked runs answer afterwards, on their own version, exactly once."""

import asyncio

import httpx
import pytest

from acceptance.packages import RELOAD, fixture_package, reload_package
from acceptance.stack import Api, Stack
from aion_common.ids import CommandId
from support import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.mark.parametrize("wipe", [False, True], ids=["stores kept", "stores deleted"])
async def test_parked_runs_survive_the_death_of_every_service(own_stack: Stack, *, wipe: bool) -> None:
    api = Api(own_stack, "default")
    await api.deploy(reload_package(1))
    parked = {f"old-{number}": 1 for number in range(6)}
    for workflow_id in parked:
        await api.start(RELOAD, workflow_id=workflow_id)
    await api.deploy(reload_package(2))
    for number in range(6):
        parked[f"new-{number}"] = 2
        await api.start(RELOAD, workflow_id=f"new-{number}")
    await own_stack.kill("executor-1")
    await own_stack.kill_vms()
    await own_stack.kill("gateway")
    await own_stack.kill("catalog")
    await own_stack.kill("broker")
    if wipe:
        await own_stack.wipe_stores()
    for workflow_id, version in parked.items():
        await api.signal(workflow_id, "go", key=f"go-{workflow_id}")
        assert (await api.result(workflow_id))["result"] == version
        assert await api.terminal_events(workflow_id) == ["RunCompleted"]
    assert await api.run_once(RELOAD, "afterwards") == 2


async def test_signal_before_a_restart_is_replayed_at_its_place(own_stack: Stack) -> None:
    api = Api(own_stack, "default")
    await api.deploy(fixture_package("two_signals", "run"))
    await api.start("two_signals", workflow_id="w")
    await api.signal("w", "first", {"n": 1})
    before = await api.history("w")
    await own_stack.kill("executor-1")
    await own_stack.kill_vms()
    await api.signal("w", "second", {"n": 2})
    assert (await api.result("w"))["result"] == [{"n": 1}, {"n": 2}]
    after = await api.history("w")
    assert after[:2] == before[:2]
    assert await api.terminal_events("w") == ["RunCompleted"]


async def test_key_is_remembered_across_a_restart_of_the_gateway(own_stack: Stack) -> None:
    api = Api(own_stack, "default")
    await api.deploy(reload_package(1))
    first = await api.start(RELOAD, key="k")
    await own_stack.kill("gateway")
    again = await api.start(RELOAD, key="k")
    assert (again["run_id"], again["workflow_id"]) == (first["run_id"], first["workflow_id"])


async def test_everything_is_there_again_after_a_stop(own_stack: Stack) -> None:
    api = Api(own_stack, "default")
    loaded = await api.deploy(reload_package(1))
    await api.start(RELOAD, workflow_id="w")
    assert await own_stack.stop() == 0
    await own_stack.start()
    assert [entry["version"] for entry in await api.versions()] == [loaded["records"][0]["version"]]
    again = await api.deploy(reload_package(1))
    assert again["records"] == loaded["records"]
    assert (again["freshly_loaded"], again["route_changed"]) == (False, False)
    await api.signal("w", "go")
    assert (await api.result("w"))["result"] == 1


async def test_starts_under_way_while_things_die_are_neither_lost_nor_doubled(own_stack: Stack) -> None:
    api = Api(own_stack, "default")
    await api.deploy(reload_package(1, function="run"))
    begun: list[str] = []
    answered: dict[str, str] = {}

    async def start_until_answered(key: str) -> None:
        begun.append(key)

        async def is_answered() -> bool:
            try:
                answer = await api.call(
                    "POST", "/v1/workflows", json={"workflow_type": RELOAD}, headers={"Idempotency-Key": key}
                )
            except httpx.TransportError:
                return False
            if answer.status_code == httpx.codes.CREATED:
                answered[key] = answer.json()["workflow_id"]
            return key in answered

        await eventually(is_answered, within_s=120)

    async def client(number: int) -> None:
        for position in range(60):
            await start_until_answered(f"k{number}-{position}")

    async def more_answers(number: int) -> None:
        wanted = len(answered) + number
        await eventually(lambda: len(answered) >= wanted, within_s=60)

    async with asyncio.TaskGroup() as tasks:
        for number in range(6):
            tasks.create_task(client(number))
        for service in ("executor-1", "gateway", "broker", "executor-1"):
            await more_answers(10)
            await own_stack.kill(service)
    assert len(answered) == len(begun) == 360
    for workflow_id in answered.values():
        assert (await api.result(workflow_id))["result"] == 1
    report = await own_stack.check()
    assert report.missing(CommandId(f"http/default/{key}") for key in answered) == []
    assert report.runs == report.closed == 360
