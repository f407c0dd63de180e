"""Every service is told to stop and started again, one after the other, under load: nothing is lost, doubled or refused."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from aion_client import Client
from aion_common.limits import DRAIN_MS, STOP_WAIT_MS
from chaos.calls import Calls
from chaos.load import TYPE, Load
from chaos.rounds import Outcome, clients, look, more_answers
from chaos.system import Size, System, running
from support import eventually, paced

pytestmark = pytest.mark.timeout(300)

CLIENTS = 4
LONG_MS = 60_000


async def test_restarting_every_service_under_load_loses_doubles_and_refuses_nothing(tmp_path: Path) -> None:
    async with running(tmp_path, Size()) as system, clients(system) as gateways:
        load = Load(calls=Calls(gateways=gateways), seed=7)
        outcome = Outcome(seed=load.seed, rounds=1, load=load, died=system.died)
        await load.load()
        done = asyncio.Event()
        async with asyncio.TaskGroup() as talking:
            for number in range(CLIENTS):
                talking.create_task(load.converse(number, 1, done))
            faithful = [talking.create_task(stay_faithful(url, done)) for url in system.gateways]
            try:
                for name in system.services:
                    await restart_under_load(system, load, name)
            finally:
                done.set()
        await load.settle()
        load.notes.starts += sum(task.result() for task in faithful) + 3 * len(system.services)
        await look(system, outcome, [])
        assert outcome.is_clean, outcome.document()["sentences"]
        assert system.died == [f"{name}: exit code 0" for name in system.services]
        assert outcome.document()["loads"] == 1 + len(system.services)


async def restart_under_load(system: System, load: Load, name: str) -> None:
    """A deploy and an unload begin before the service stops; so do waits for ends of runs, which are answered."""
    await more_answers(load)
    is_gateway = name in system.gateways_by_name
    url = system.gateways_by_name[name] if is_gateway else system.gateways[0]
    async with asyncio.TaskGroup() as calls, waiting(url, name) as (http, waits):
        calls.create_task(load.replace())
        system.hold_down(name)
        end = calls.create_task(system.end(name))
        if is_gateway:
            await drains(http, name)
            for wait in waits:
                answer = await wait
                assert (answer.status_code, answer.json()["status"]) == (202, "running"), answer.text
        code, took_ms = await end
        assert code == 0
        assert took_ms < STOP_WAIT_MS
        assert took_ms >= (DRAIN_MS if is_gateway else 0)
        system.let_go(name)
        await eventually(lambda: bool(system.pids(name)))
        await eventually(lambda: is_ready(load), within_s=60)
        for kept in ("start", "result", "other"):
            await accepted(load, "POST", f"/v1/workflows/{name}-{kept}/signals/item", f"{name}-{kept}-last", json=1)
            told = await accepted(load, "GET", f"/v1/workflows/{name}-{kept}/result", None, params={"wait_ms": 2_000})
            assert told["result"][1] == [1]
        if not is_gateway:
            for wait in waits:
                answer = await wait
                assert answer.is_success, answer.text
                assert answer.json()["result"][1] == [1]


@asynccontextmanager
async def waiting(url: str, name: str) -> AsyncIterator[tuple[httpx.AsyncClient, list[asyncio.Task[httpx.Response]]]]:
    """Three open runs, two of which somebody waits for through this gateway: by their start, and by their result."""
    async with httpx.AsyncClient(base_url=url, timeout=2 * LONG_MS / 1000, trust_env=False) as http:
        wish: dict[str, Any] = {"workflow_type": TYPE, "input": 1}
        for kept in ("result", "other"):
            await answered(http, 201, "POST", "/v1/workflows", json={**wish, "workflow_id": f"{name}-{kept}"})
        asked = {**wish, "workflow_id": f"{name}-start", "wait": "closed", "wait_ms": LONG_MS}
        async with asyncio.TaskGroup() as group:
            result = group.create_task(http.get(f"/v1/workflows/{name}-result/result", params={"wait_ms": LONG_MS}))
            start = group.create_task(http.post("/v1/workflows", json=asked))
            await eventually(lambda: is_started(http, f"{name}-start"))
            yield http, [start, result]


async def is_started(http: httpx.AsyncClient, workflow_id: str) -> bool:
    """Whether there is a run."""
    return (await http.get(f"/v1/workflows/{workflow_id}")).is_success


async def drains(http: httpx.AsyncClient, name: str) -> None:
    """Wait until it does: then it takes no starts, and everything else goes on."""
    await eventually(lambda: is_draining(http))
    body = {"workflow_type": TYPE, "workflow_id": f"{name}-refused", "input": 0}
    refused = await answered(http, 503, "POST", "/v1/workflows", json=body)
    assert refused["code"] == "shutting_down"
    other = f"/v1/workflows/{name}-other"
    assert (await answered(http, 200, "GET", other))["status"] == "running"
    assert await answered(http, 200, "POST", f"{other}/queries/items") == []
    await answered(http, 202, "POST", f"{other}/signals/ignored", json=0)


async def is_draining(http: httpx.AsyncClient) -> bool:
    """Whether the gateway says so."""
    answer = await http.get("/readyz")
    return not answer.is_success and answer.json()["code"] == "shutting_down"


async def is_ready(load: Load) -> bool:
    """Whether every gateway finds an owner of every partition."""
    try:
        return all([(await http.get("/readyz")).is_success for http in load.calls.gateways])
    except httpx.TransportError:
        return False


async def stay_faithful(url: str, done: asyncio.Event) -> int:
    """Whoever knows one gateway only, and our client: no call fails. Returns how many runs it started."""
    starts = 0
    with Client(url) as aion:
        async for number in paced(range(1_000_000), every_ms=50):
            if done.is_set():
                break
            await asyncio.to_thread(converse, aion, f"faithful-{url.rpartition(':')[2]}-{number}")
            starts += 1
    return starts


def converse(aion: Client, workflow_id: str) -> None:
    """Start, signal, wait."""
    started = aion.start(TYPE, workflow_id=workflow_id, input=1)
    aion.signal(workflow_id, "item", 1)
    result = aion.wait(workflow_id, run_id=started["run_id"])
    assert result["status"] == "completed", result


async def answered(http: httpx.AsyncClient, status: int, method: str, path: str, **given: Any) -> Any:
    """The body of an answer that must have this status."""
    answer = await http.request(method, path, **given)
    assert answer.status_code == status, answer.text
    return answer.json()


async def accepted(load: Load, method: str, path: str, key: str | None, **given: Any) -> Any:
    """The body of the answer, through whatever gateway."""
    return await load.calls.answered(0, method, path, key, **given)
