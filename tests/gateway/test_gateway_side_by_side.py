"""Two gateways of one cluster: the same answers from either, also when both read the same replies, and if one dies."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import httpx
import pytest

from aion_common.kafka.partitioner import partition_of
from aion_common.kafka.topics import REPLY_PARTITIONS
from aion_gateway.app import create_app
from aion_gateway.gateway import Gateway, open_gateway
from gateway.world import World, surroundings, world

START = {"workflow_type": "order", "workflow_id": "one"}
KEY = {"Idempotency-Key": "key"}
FIRST = "gateway-1"


def named(*, same_partition: bool) -> str:
    """The id of another gateway, whose replies come to the same partition as the first one's or to another."""
    first = partition_of(FIRST.encode(), REPLY_PARTITIONS)
    names = (f"gateway-{number}" for number in range(2, 1000))
    return next(name for name in names if (partition_of(name.encode(), REPLY_PARTITIONS) == first) is same_partition)


TOGETHER, APART = named(same_partition=True), named(same_partition=False)
EITHER = pytest.mark.parametrize("gateway_id", [TOGETHER, APART])


@dataclass(frozen=True, slots=True, kw_only=True)
class Second:
    """Another gateway. It dies, as by kill -9, when `death` is set: what it was doing is never finished."""

    gateway: Gateway
    http: httpx.AsyncClient
    death: asyncio.Event


@asynccontextmanager
async def second(w: World, gateway_id: str) -> AsyncIterator[Second]:
    """Another gateway of the world's cluster."""
    around = replace(surroundings(w.log, w.executors), gateway_id=gateway_id)
    is_open: asyncio.Future[Gateway] = asyncio.get_running_loop().create_future()
    death = asyncio.Event()

    async def live() -> None:
        async with around.client, open_gateway(around) as gateway:
            await gateway.owners.tail.caught_up()
            await gateway.replies.tail.positioned()
            is_open.set_result(gateway)
            await death.wait()

    async with asyncio.TaskGroup() as lives:
        lives.create_task(live())
        gateway = await is_open
        transport = httpx.ASGITransport(app=create_app(gateway), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://second") as http:
            yield Second(gateway=gateway, http=http, death=death)
        death.set()


@EITHER
async def test_a_key_gets_the_same_answer_through_either(gateway_id: str) -> None:
    async with world() as w, second(w, gateway_id) as other:
        same = w.gateway.replies.partition == other.gateway.replies.partition
        assert same is (gateway_id == TOGETHER)
        first = await w.http.post("/v1/workflows", json=START, headers=KEY)
        again = await other.http.post("/v1/workflows", json=START, headers=KEY)
        assert (first.status_code, first.json()) == (again.status_code, again.json())
        assert len(w.executor.runs) == 1
        refused = [
            await http.post("/v1/workflows", json=START, headers={"Idempotency-Key": "no"}) for http in (w.http, other.http)
        ]
        assert [answer.status_code for answer in refused] == [409, 409]
        assert refused[0].json() == refused[1].json()
        cancelled = [
            await http.post("/v1/workflows/one/cancel", headers={"Idempotency-Key": "c"}) for http in (w.http, other.http)
        ]
        assert cancelled[0].json() == cancelled[1].json()


@EITHER
async def test_the_same_call_to_both_at_once_is_one_run_and_both_are_answered(gateway_id: str) -> None:
    async with world() as w, second(w, gateway_id) as other, asyncio.TaskGroup() as calls:
        tasks = [calls.create_task(http.post("/v1/workflows", json=START, headers=KEY)) for http in (w.http, other.http) * 5]
        answers = [await task for task in tasks]
        assert {answer.status_code for answer in answers} == {201}
        assert len({answer.json()["run_id"] for answer in answers}) == 1


@EITHER
async def test_many_starts_through_both_are_each_answered_with_their_own_run(gateway_id: str) -> None:
    async with world() as w, second(w, gateway_id) as other, asyncio.TaskGroup() as calls:
        clients = {f"run-{number}": (w.http, other.http)[number % 2] for number in range(60)}
        tasks = {
            name: calls.create_task(http.post("/v1/workflows", json=START | {"workflow_id": name}))
            for name, http in clients.items()
        }
        for name, task in tasks.items():
            answer = (await task).json()
            assert answer["workflow_id"] == name
            assert answer["run_id"] == w.executor.runs[f"default/{name}".encode()].run_id


@EITHER
async def test_one_that_dies_disturbs_nobody_and_its_calls_are_repeated_at_the_other(gateway_id: str) -> None:
    async with world() as w, second(w, gateway_id) as other, asyncio.TaskGroup() as calls:
        w.executor.replies_dropped = 1
        lost = calls.create_task(other.http.post("/v1/workflows", json=START, headers=KEY))
        await w.executor.has_taken.wait()
        other.death.set()
        lost.cancel()
        again = await w.http.post("/v1/workflows", json=START, headers=KEY)
        assert again.status_code == 201
        assert len(w.executor.runs) == 1
        for number in range(5):
            assert (await w.http.post("/v1/workflows", json=START | {"workflow_id": f"{number}"})).status_code == 201
        assert (await w.http.get("/readyz")).status_code == 200


async def test_a_drain_of_one_leaves_the_other_working() -> None:
    async with world() as w, second(w, TOGETHER) as other:
        await other.http.post("/v1/drain")
        refused = await other.http.post("/v1/workflows", json=START, headers=KEY)
        assert (refused.status_code, refused.json()["code"]) == (503, "shutting_down")
        assert (await w.http.post("/v1/workflows", json=START, headers=KEY)).status_code == 201
        assert (await w.http.get("/readyz")).status_code == 200
