"""A version is unloaded when provably nothing needs it, and not a moment before."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from acceptance.packages import RELOAD, reload_package
from acceptance.stack import Api, Stack
from acceptance.writer import Workflow, Writer
from aion_common.ids import Namespace, RunId, Version, WorkflowId, WorkflowType
from aion_common.kafka.client import connect
from aion_common.kafka.topics import Topics
from aion_common.records.events import RunStarted, RunTerminated, TurnEnded, WaitKind
from support import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def load(api: Api, number: int) -> str:
    """Load version `number`; its name."""
    version: str = (await api.deploy(reload_package(number)))["records"][0]["version"]
    return version


async def refusal(api: Api, version: str) -> dict[str, Any]:
    """Of an unload."""
    answer = await api.unload(version)
    assert answer.status_code == 409, answer.text
    body: dict[str, Any] = answer.json()
    return body


@pytest_asyncio.fixture(loop_scope="session")
async def writer(own_stack: Stack) -> AsyncIterator[Writer]:
    """Beside the stack."""
    log = await connect(f"127.0.0.1:{own_stack.kafka_port}")
    yield Writer(log=log, topics=Topics("aion."), partitions=own_stack.partitions)
    await log.close()


async def test_version_is_unloaded_when_nothing_needs_it_any_more(own_stack: Stack, writer: Writer) -> None:
    api = Api(own_stack, "default")
    v1 = await load(api, 1)
    await api.start(RELOAD, workflow_id="parked")
    assert (await refusal(api, v1))["code"] == "route_active"
    v2 = await load(api, 2)

    pinned = await refusal(api, v1)
    assert (pinned["code"], pinned["pins_total"]) == ("version_pinned", 1)
    assert [(pin["kind"], pin["workflow_id"]) for pin in pinned["pins"]] == [("live_run", "parked")]
    assert {version["version"] for version in await api.versions()} == {v1, v2}
    await api.signal("parked", "go")
    assert (await api.result("parked"))["result"] == 1

    other = Workflow(namespace=Namespace("default"), workflow_id=WorkflowId("other"), run_id=RunId("ab" * 16))
    started = RunStarted(workflow_type=WorkflowType(RELOAD), version=Version(v1), input=None)
    await writer.append(other, [started, TurnEnded(observed_seq=1, wait=WaitKind.RECEIVE, name=None)])
    pinned = await refusal(api, v1)
    assert (pinned["code"], pinned["pins_total"]) == ("version_pinned", 1)
    assert [(pin["kind"], pin["workflow_id"]) for pin in pinned["pins"]] == [("recoverable_run", "other")]
    assert (await api.describe("other"))["status"] == "running"

    await writer.append(other, [RunTerminated(reason="by the writer")])
    assert (await api.unload(v1)).json() == {"unloaded": True}
    assert {version["version"] for version in await api.versions()} == {v2}
    await eventually(lambda: no_vm_of(own_stack, v1))
    unknown = await api.call("PUT", f"/v1/routes/{RELOAD}", json={"version": v1})
    assert (unknown.status_code, unknown.json()["code"], unknown.json()["loaded"]) == (404, "unknown_version", [v2])
    assert await api.run_once(RELOAD, "new") == 2


async def no_vm_of(stack: Stack, version: str) -> bool:
    """Whether no executor tells of one."""
    return f'aion_vms{{version="{version}"}}' not in await stack.metrics()


LOADS = 30
STARTERS = 8


async def test_starts_between_loads_and_unloads_all_succeed(api: Api) -> None:
    archives = {number: await asyncio.to_thread(reload_package, number) for number in range(1, LOADS + 2)}
    numbers: dict[str, int] = {}
    started: list[list[dict[str, Any]]] = [[] for _ in range(STARTERS)]
    unloads: list[int] = []
    is_over = asyncio.Event()

    async def load_next(number: int) -> None:
        numbers[(await api.deploy(archives[number]))["records"][0]["version"]] = number

    async def starter(number: int) -> None:
        while not is_over.is_set():
            newest = max(numbers.values())
            run = await api.start(RELOAD, workflow_id=f"s{number}-{len(started[number])}")
            started[number].append({**run, "least": newest})
            await api.signal(run["workflow_id"], "go")

    async def loader() -> None:
        for number in range(2, LOADS + 2):
            await load_next(number)

    async def unloader() -> None:
        for attempt in range(LOADS):
            await eventually(lambda attempt=attempt: len(numbers) > attempt // 2)  # type: ignore[misc]
            answer = await api.unload([*numbers][attempt % len(numbers)])
            assert answer.status_code in (200, 404, 409), answer.text
            unloads.append(answer.status_code)

    async def operator() -> None:
        try:
            await asyncio.gather(loader(), unloader())
        finally:
            is_over.set()

    await load_next(1)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(operator())
        for number in range(STARTERS):
            tasks.create_task(starter(number))
    assert len(unloads) == LOADS
    assert {200, 409} <= set(unloads)
    routed = [version["version"] for version in await api.versions() if version["route_active"]]
    assert [numbers[version] for version in routed] == [LOADS + 1]
    async with asyncio.TaskGroup() as tasks:
        for runs in started:
            tasks.create_task(check_runs(api, runs, numbers))


async def check_runs(api: Api, runs: list[dict[str, Any]], numbers: dict[str, int]) -> None:
    """Of one client, in order: the version of each is that of its answer, of its history and of its result, is none that was
    replaced before the start, and never goes back."""
    ran = [numbers[run["version"]] for run in runs]
    assert ran == sorted(ran)
    assert all(number >= run["least"] for number, run in zip(ran, runs, strict=True))
    for number, run in zip(ran, runs, strict=True):
        assert (await api.result(run["workflow_id"]))["result"] == number
        assert await api.recorded_version(run["workflow_id"]) == run["version"]


async def test_nothing_changes_while_the_gateway_drains(own_stack: Stack) -> None:
    api = Api(own_stack, "default")
    v1, v2 = await load(api, 1), await load(api, 2)
    await api.start(RELOAD, workflow_id="w")
    before = await api.versions()
    assert (await own_stack.http.post("/v1/drain")).status_code == 202
    refused = [
        await api.call("POST", "/v1/packages", content=reload_package(3)),
        await api.call("POST", "/v1/workflows", json={"workflow_type": RELOAD}),
        await api.call("PUT", f"/v1/routes/{RELOAD}", json={"version": v1}),
        await api.unload(v1),
    ]
    assert [(answer.status_code, answer.json()["code"]) for answer in refused] == [(503, "shutting_down")] * 4
    assert await api.versions() == before
    assert {version["version"] for version in before} == {v1, v2}
    await api.signal("w", "go")
    assert (await api.result("w"))["result"] == 2
