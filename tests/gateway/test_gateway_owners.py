"""Reads: passed on from the owner as they are, whoever that is by now."""

import asyncio

import httpx
import pytest

from aion_common import limits
from gateway.scripted import ScriptedOwner
from gateway.world import World, world

DESCRIBE = "/v1/workflows/one"
SECOND = "executor-2:2000"


async def started(w: World) -> str:
    """Start the workflow `one`; its run id."""
    answer = await w.http.post("/v1/workflows", json={"workflow_type": "order", "workflow_id": "one"})
    return str(answer.json()["run_id"])


def second_owner(w: World, owner_epoch: int) -> ScriptedOwner:
    """Another executor that has taken the partition of the workflow `one`; nobody was told yet."""
    owner = ScriptedOwner(w.executor, "executor-2")
    owner.owned[w.partition_of("one")] = owner_epoch
    w.executors.listening[SECOND] = owner
    return owner


def epoch_of(w: World, workflow_id: str) -> int:
    """The owner epoch that the gateway knows: an owner with an older one must not answer."""
    owner = w.gateway.owners.newest(w.partition_of(workflow_id))
    assert owner is not None
    return owner.owner_epoch


async def test_a_read_asks_the_owner_of_the_workflows_partition_and_passes_its_answer_on() -> None:
    async with world() as w:
        run_id = await started(w)
        answer = await w.http.get(f"/v1/workflows/one/history?run_id={run_id}&from_seq=2&limit=5&encoding=avro")
        assert answer.json() == {
            "what": "history",
            "answered_by": "executor-1",
            "query": {
                "namespace": "default",
                "workflow_id": "one",
                "run_id": run_id,
                "from_seq": "2",
                "limit": "5",
                "encoding": "avro",
                "owner_epoch": str(epoch_of(w, "one")),
            },
        }
        assert w.executors.requests[-1].url.path == f"/partitions/{w.partition_of('one')}/history"
        described = await w.http.get(DESCRIBE)
        assert described.json()["query"] == {
            "namespace": "default",
            "workflow_id": "one",
            "owner_epoch": str(epoch_of(w, "one")),
        }


async def test_a_refusal_of_the_owner_is_passed_on() -> None:
    async with world() as w:
        answer = await w.http.get(DESCRIBE)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
        assert answer.headers["Content-Type"] == "application/problem+json"


async def test_the_bytes_and_the_type_of_an_answer_are_not_touched() -> None:
    async def raw(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=b"\xc3\x01", headers={"content-type": "avro/binary"})

    async with world() as w:
        w.executors.listening["executor-1:1000"] = raw
        answer = await w.http.get("/v1/workflows/one/history?encoding=avro")
        assert (answer.content, answer.headers["Content-Type"]) == (b"\xc3\x01", "avro/binary")


async def test_a_result_is_waited_for_at_the_owner() -> None:
    async with world() as w:
        run_id = await started(w)
        open_still = await w.http.get("/v1/workflows/one/result")
        assert (open_still.status_code, open_still.json()) == (
            202,
            {"workflow_id": "one", "run_id": run_id, "status": "running"},
        )
        w.executor.runs[b"default/one"].close("completed", '"result":1.10')
        closed = await w.http.get("/v1/workflows/one/result?wait_ms=60000")
        assert closed.status_code == 200
        assert closed.content.endswith(b'"status":"completed","result":1.10}')


async def test_the_newest_owner_epoch_wins_whatever_the_order() -> None:
    async with world() as w:
        await started(w)
        second_owner(w, 20)
        await w.announce(w.partition_of("one"), 20, "executor-2", SECOND)
        await w.announce(w.partition_of("one"), 15, "executor-1", "executor-1:1000")
        assert (await w.http.get(DESCRIBE)).json()["answered_by"] == "executor-2"


@pytest.mark.parametrize("old_owner", ["says wrong_owner", "is dead", "is restoring", "has no address"])
async def test_a_read_finds_the_new_owner(old_owner: str) -> None:
    async def restoring(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(503)

    async with world() as w, asyncio.TaskGroup() as calls:
        await started(w)
        w.owner.owned.clear()
        if old_owner == "is dead":
            del w.executors.listening["executor-1:1000"]
        if old_owner == "is restoring":
            w.executors.listening["executor-1:1000"] = restoring
        if old_owner == "has no address":
            await w.announce(w.partition_of("one"), 15, "executor-3", "xn--a:1")
            assert (await w.http.get("/readyz")).status_code == 503
        reading = calls.create_task(w.http.get(DESCRIBE))
        second_owner(w, 20)
        await w.announce(w.partition_of("one"), 20, "executor-2", SECOND)
        assert (await reading).json()["answered_by"] == "executor-2"


async def test_a_wait_at_an_owner_that_hangs_goes_over_to_the_new_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "OWNER_HTTP_MS", 10**9)
    hanging = asyncio.Event()

    async def hangs(_request: httpx.Request) -> httpx.Response:
        hanging.set()
        await asyncio.Event().wait()
        raise AssertionError("nobody answers")

    async with world() as w, asyncio.TaskGroup() as calls:
        await started(w)
        w.executors.listening["executor-1:1000"] = hangs
        waiting = calls.create_task(w.http.get("/v1/workflows/one/result?wait_ms=60000"))
        await hanging.wait()
        second_owner(w, 20)
        w.executor.runs[b"default/one"].close("completed", '"result":1')
        await w.announce(w.partition_of("one"), 20, "executor-2", SECOND)
        assert (await waiting).json()["result"] == 1


async def test_without_an_owner_that_answers_a_read_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REPLY_WAIT_MS", 30)
    async with world() as w:
        w.owner.owned.clear()
        answer = await w.http.get(DESCRIBE)
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")


async def test_a_start_is_accepted_although_its_end_cannot_be_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REPLY_WAIT_MS", 10)
    async with world() as w:
        w.executors.listening.clear()
        answer = await w.http.post("/v1/workflows", json={"workflow_type": "order", "wait": "closed", "wait_ms": 1})
        assert (answer.status_code, answer.json()["status"]) == (202, "running")
