"""Starts: what reaches the log, what comes back, and what repeats mean."""

import asyncio
import json

import httpx
import pytest

from aion_common.ids import (
    Namespace,
    Version,
    WorkflowId,
    WorkflowType,
    http_command_id,
    run_id_of,
    workflow_id_of,
)
from aion_common.records.commands import IdConflict, StartRun
from aion_common.records.common import json_payload
from aion_common.records.replies import StartAccepted
from aion_common.testing.memory_cluster import Fault
from gateway.scripted import ROUTED, ScriptedRun, reply
from gateway.world import TOPICS, serving, surroundings, world

START = {"workflow_type": "order"}
DEFAULT = Namespace("default")


async def test_a_start_is_one_command_in_its_workflows_partition() -> None:
    async with world() as w:
        body = {"workflow_type": "order", "workflow_id": "wf/ä", "version": "d" * 64, "id_conflict": "use_existing"}
        answer = await w.http.post("/v1/workflows", json=body | {"input": [1]}, headers={"Idempotency-Key": "key"})
        run_id = run_id_of(DEFAULT, WorkflowId("wf/ä"), http_command_id(DEFAULT, "key", WorkflowId("wf/ä")))
        assert answer.status_code == 201
        assert answer.json() == {"workflow_id": "wf/ä", "run_id": run_id, "version": "d" * 64, "status": "running"}
        assert answer.headers["Idempotency-Key"] == "key"
        (command,) = w.executor.commands
        assert command.body == StartRun(
            workflow_type=WorkflowType("order"),
            version=Version("d" * 64),
            input=json_payload(b"[1]"),
            id_conflict=IdConflict.USE_EXISTING,
        )
        assert command.reply_partition == w.gateway.replies.partition
        assert len(w.cluster.records(TOPICS.commands, w.partition_of("wf/ä"))) == 1


async def test_what_is_left_out_follows_from_the_key_or_is_none() -> None:
    async with world() as w:
        answer = await w.http.post("/v1/workflows?namespace=shop", json=START, headers={"Idempotency-Key": "key"})
        command_id = http_command_id(Namespace("shop"), "key")
        assert answer.json()["workflow_id"] == workflow_id_of(command_id)
        (command,) = w.executor.commands
        assert (command.command_id, command.namespace) == (command_id, "shop")
        assert command.body == StartRun(
            workflow_type=WorkflowType("order"), version=None, input=None, id_conflict=IdConflict.REJECT
        )


async def test_without_a_key_every_start_is_a_new_one_and_its_key_is_returned() -> None:
    async with world() as w:
        first = await w.http.post("/v1/workflows", json=START)
        second = await w.http.post("/v1/workflows", json=START)
        assert first.json()["run_id"] != second.json()["run_id"]
        key = first.headers["Idempotency-Key"]
        again = await w.http.post("/v1/workflows", json=START, headers={"Idempotency-Key": key})
        assert again.json() == first.json()


@pytest.mark.parametrize(
    "text",
    [
        "123456789012345678901234567890",
        "1.10",
        "0.1000000000000000055511151231257827",
        "1e400",
        "-0.0",
        '{"b": 1, "a" : [1.50, "\\u00e4ä"]}',
        "null",
        '"\\ud800"',
        "1" * 5000,
    ],
)
async def test_input_reaches_the_log_as_the_text_it_was(text: str) -> None:
    async with world() as w:
        body = f'{{"workflow_type": "order" , "input" :  {text} }}'.encode()
        answer = await w.http.post("/v1/workflows", content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == 201
        (command,) = w.executor.commands
        assert isinstance(command.body, StartRun)
        assert command.body.input == json_payload(text.encode())


async def test_the_same_key_gives_the_same_run_also_after_a_restart_of_the_gateway() -> None:
    async with world() as w:
        key = {"Idempotency-Key": "key"}
        first = await w.http.post("/v1/workflows", json=START, headers=key)
        async with serving(surroundings(w.log, w.executors)) as (_, other):
            again = await other.post("/v1/workflows", json=START, headers=key)
        assert (again.status_code, again.json()) == (first.status_code, first.json())
        assert len(w.executor.runs) == 1


async def test_a_second_open_run_is_already_started_or_the_existing_one() -> None:
    async with world() as w:
        first = await w.http.post("/v1/workflows", json=START | {"workflow_id": "one"})
        refused = await w.http.post("/v1/workflows", json=START | {"workflow_id": "one"})
        assert refused.status_code == 409
        assert refused.json()["code"] == "already_started"
        assert refused.json()["run_id"] == first.json()["run_id"]
        joined = await w.http.post("/v1/workflows", json=START | {"workflow_id": "one", "id_conflict": "use_existing"})
        assert joined.json()["run_id"] == first.json()["run_id"]


async def test_a_lost_answer_is_unavailable_and_the_repeat_gets_the_same_run() -> None:
    async with world(reply_wait_ms=50) as w:
        w.executor.replies_dropped = 1
        lost = await w.http.post("/v1/workflows", json=START)
        assert (lost.status_code, lost.json()["code"]) == (503, "unavailable")
        key = lost.json()["idempotency_key"]
        assert lost.headers["Idempotency-Key"] == key
        again = await w.http.post("/v1/workflows", json=START, headers={"Idempotency-Key": key})
        assert again.status_code == 201
        assert len(w.executor.runs) == 1


@pytest.mark.parametrize("fault", list(Fault))
async def test_a_send_of_unknown_outcome_is_unavailable_and_the_repeat_starts_once(fault: Fault) -> None:
    async with world() as w:
        body = START | {"workflow_id": "one"}
        w.cluster.fail_next_append(TOPICS.commands, w.partition_of("one"), fault)
        unknown = await w.http.post("/v1/workflows", json=body, headers={"Idempotency-Key": "key"})
        assert (unknown.status_code, unknown.json()["idempotency_key"]) == (503, "key")
        again = await w.http.post("/v1/workflows", json=body, headers={"Idempotency-Key": "key"})
        assert again.status_code == 201
        assert len(w.executor.runs) == 1


async def test_calls_with_one_key_at_once_share_the_answer() -> None:
    async with world() as w:
        call = httpx.Request("POST", "http://gateway/v1/workflows", json=START, headers={"Idempotency-Key": "key"})
        answers = await asyncio.gather(*(w.http.send(call) for _ in range(20)))
        assert {answer.status_code for answer in answers} == {201}
        assert len({answer.json()["run_id"] for answer in answers}) == 1
        assert len(w.executor.runs) == 1


async def test_a_key_of_another_call_is_refused_naming_the_header() -> None:
    async with world() as w:
        key = {"Idempotency-Key": "key"}
        await w.http.post("/v1/workflows", json=START | {"workflow_id": "one"}, headers=key)
        refused = await w.http.post("/v1/workflows/one/signals/release", headers=key)
        assert (refused.status_code, refused.json()["field"]) == (400, "Idempotency-Key")
        assert w.executor.runs[b"default/one"].inputs == []


async def test_a_key_counts_within_its_workflow_id() -> None:
    async with world() as w:
        key = {"Idempotency-Key": "key"}
        answers = [
            await w.http.post("/v1/workflows", json=START | {"workflow_id": workflow_id}, headers=key)
            for workflow_id in ("one", "two", "one")
        ]
        first, second, again = (answer.json()["run_id"] for answer in answers)
        assert first == again != second


async def test_a_late_answer_to_an_earlier_call_with_the_key_is_not_taken_for_this_one() -> None:
    async with world() as w, asyncio.TaskGroup() as calls:
        w.executor.replies_dropped = 1
        key = {"Idempotency-Key": "key"}
        waiting = calls.create_task(w.http.post("/v1/workflows", json=START | {"workflow_id": "b"}, headers=key))
        await w.executor.has_taken.wait()
        (command,) = w.executor.commands
        run_id = run_id_of(command.namespace, WorkflowId("a"), command.command_id)
        sender = await w.log.sender()
        await reply(sender, TOPICS, command, StartAccepted(run_id=run_id, version=ROUTED, created=True))
        assert (await waiting).json()["field"] == "Idempotency-Key"


async def test_waiting_for_the_end_gives_the_result_with_every_digit() -> None:
    async with world() as w:
        w.executor.on_start = lambda run: run.close("completed", '"result":1.10000000000000000001')
        answer = await w.http.post("/v1/workflows", json=START | {"wait": "closed"})
        assert answer.status_code == 201
        members = json.loads(answer.content, object_pairs_hook=list, parse_float=str)
        assert [name for name, _ in members] == ["workflow_id", "run_id", "version", "status", "result"]
        assert dict(members)["result"] == "1.10000000000000000001"
        assert answer.json()["version"] == ROUTED


async def test_a_result_too_deep_to_take_apart_is_left_to_be_read() -> None:
    async with world() as w:
        deep = "[" * 100_000 + "]" * 100_000
        w.executor.on_start = lambda run: run.close("completed", f'"result":{deep}')
        answer = await w.http.post("/v1/workflows", json=START | {"wait": "closed"})
        assert (answer.status_code, answer.json()["status"]) == (202, "running")
        read = await w.http.get(f"/v1/workflows/{answer.json()['workflow_id']}/result")
        assert deep in read.text


async def test_waiting_for_the_end_of_a_run_that_fails_gives_the_failure() -> None:
    async with world() as w:
        w.executor.on_start = lambda run: run.close("failed", '"failure":{"kind":"crash","message":"boom"}')
        answer = await w.http.post("/v1/workflows", json=START | {"wait": "closed"})
        assert answer.status_code == 201
        assert answer.json()["failure"] == {"kind": "crash", "message": "boom"}
        assert "result" not in answer.json()


async def test_a_run_that_stays_open_is_accepted_without_a_result() -> None:
    async with world() as w:
        answer = await w.http.post("/v1/workflows", json=START | {"wait": "closed", "wait_ms": 1})
        assert answer.status_code == 202
        assert answer.json().keys() == {"workflow_id", "run_id", "version", "status"}
        assert answer.json()["status"] == "running"


async def test_waiting_ends_when_the_run_does() -> None:
    async with world() as w:
        started = asyncio.Event()

        def opened(run: ScriptedRun) -> None:
            asyncio.get_running_loop().call_soon(run.close, "completed", '"result":1')
            started.set()

        w.executor.on_start = opened
        answer = await w.http.post("/v1/workflows", json=START | {"wait": "closed", "wait_ms": 60_000})
        assert started.is_set()
        assert (answer.status_code, answer.json()["result"]) == (201, 1)


async def test_an_outage_of_kafka_is_waited_out() -> None:
    async with world() as w:
        w.cluster.reachable = False
        refused = await w.http.post("/v1/workflows", json=START, headers={"Idempotency-Key": "key"})
        assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
        assert (await w.http.get("/healthz")).status_code == 200
        w.cluster.reachable = True
        again = await w.http.post("/v1/workflows", json=START, headers={"Idempotency-Key": "key"})
        assert again.status_code == 201
