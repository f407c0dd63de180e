"""The gateway over a real broker: what the memory log promises holds there too."""

import asyncio

from aion_common.kafka.api import Log
from aion_common.kafka.topics import Topics
from gateway.scripted import Executors
from gateway.world import serving, surroundings, world_around

START = {"workflow_type": "order", "workflow_id": "one"}


async def test_deploy_start_signal_and_result_through_real_topics(kafka_log: Log, topic_prefix: str) -> None:
    executors = Executors()
    around = surroundings(kafka_log, executors, Topics(topic_prefix))
    async with world_around(around, executors) as w:
        assert (await w.http.get("/readyz")).status_code == 200
        deployed = await w.http.post("/v1/packages", content=b"archive" * 200_000)
        assert deployed.json()["freshly_loaded"] is True
        assert len((await w.http.get("/v1/versions")).json()["versions"]) == 1
        started = await w.http.post("/v1/workflows", json=START, headers={"Idempotency-Key": "key"})
        assert started.status_code == 201
        assert (await w.http.post("/v1/workflows/one/signals/release", json={"a": 1})).status_code == 202
        w.executor.runs[b"default/one"].close("completed", '"result":1')
        assert (await w.http.get("/v1/workflows/one/result?wait_ms=60000")).json()["result"] == 1
        async with serving(surroundings(kafka_log, executors, Topics(topic_prefix))) as (_, other):
            again = await other.post("/v1/workflows", json=START, headers={"Idempotency-Key": "key"})
            assert again.json() == started.json()


async def test_many_starts_at_once_are_all_answered(kafka_log: Log, topic_prefix: str) -> None:
    executors = Executors()
    around = surroundings(kafka_log, executors, Topics(topic_prefix))
    async with world_around(around, executors) as w, asyncio.TaskGroup() as calls:
        tasks = [calls.create_task(w.http.post("/v1/workflows", json={"workflow_type": "order"})) for _ in range(100)]
        answers = [await task for task in tasks]
        assert {answer.status_code for answer in answers} == {201}
        assert len({answer.json()["run_id"] for answer in answers}) == len(w.executor.runs) == 100
