"""Signals: JSON or bytes, to the latest run or a named one."""

import asyncio

import pytest

from aion_common.records.commands import SignalRun
from aion_common.records.common import Payload, json_payload
from gateway.world import World, world

LATIN = "text/plain; charset=latin-1"
SIGNAL = "/v1/workflows/one/signals/release"


async def started(w: World) -> str:
    """Start the workflow `one`; its run id."""
    answer = await w.http.post("/v1/workflows", json={"workflow_type": "order", "workflow_id": "one"})
    return str(answer.json()["run_id"])


@pytest.mark.parametrize(
    ("headers", "content", "payload"),
    [
        ({"Content-Type": "application/json"}, b' {"a": 1.50} ', json_payload(b' {"a": 1.50} ')),
        ({"Content-Type": "Application/JSON; charset=UTF-8"}, b"1", json_payload(b"1")),
        ({"Content-Type": "application/json"}, b"", None),
        ({}, b"", None),
        (
            {"Content-Type": LATIN},
            b"\xff",
            Payload(content_type=LATIN, data=b"\xff"),
        ),
        ({"Content-Type": "application/x-thing"}, b"\x00NaN", Payload(content_type="application/x-thing", data=b"\x00NaN")),
    ],
)
async def test_a_signal_reaches_the_log_with_its_payload_as_it_was(
    headers: dict[str, str], content: bytes, payload: Payload | None
) -> None:
    async with world() as w:
        run_id = await started(w)
        answer = await w.http.post(SIGNAL, headers=headers, content=content)
        assert answer.status_code == 202
        assert answer.json() == {"workflow_id": "one", "run_id": run_id, "seq": 2}
        assert answer.headers["Idempotency-Key"]
        assert w.executor.commands[-1].body == SignalRun(run_id=None, name="release", payload=payload)


async def test_names_and_ids_may_hold_what_paths_hold_only_escaped() -> None:
    async with world() as w:
        await w.http.post("/v1/workflows", json={"workflow_type": "order", "workflow_id": "a/b?ü %"})
        answer = await w.http.post("/v1/workflows/a%2Fb%3F%C3%BC%20%25/signals/x%2Fy")
        assert answer.json()["workflow_id"] == "a/b?ü %"
        assert w.executor.commands[-1].body == SignalRun(run_id=None, name="x/y", payload=None)


async def test_a_repeated_signal_is_received_once() -> None:
    async with world() as w:
        await started(w)
        answers = [await w.http.post(SIGNAL, headers={"Idempotency-Key": "key"}) for _ in range(2)]
        assert answers[0].json() == answers[1].json()
        assert len(w.executor.runs[b"default/one"].inputs) == 1


async def test_the_run_may_be_named() -> None:
    async with world() as w:
        run_id = await started(w)
        assert (await w.http.post(f"{SIGNAL}?run_id={run_id}")).status_code == 202
        other = await w.http.post(f"{SIGNAL}?run_id={'0' * 32}")
        assert (other.status_code, other.json()["code"]) == (404, "not_found")


async def test_a_closed_run_takes_no_signal() -> None:
    async with world() as w:
        await started(w)
        w.executor.runs[b"default/one"].close("completed", '"result":1')
        answer = await w.http.post(SIGNAL)
        assert (answer.status_code, answer.json()["code"], answer.json()["run_status"]) == (409, "closed", "completed")


async def test_a_signal_to_another_workflow_with_the_same_key_gets_an_answer_of_its_own() -> None:
    async with world() as w, asyncio.TaskGroup() as calls:
        await started(w)
        w.executor.has_taken.clear()
        w.executor.replies_dropped = 1
        key = {"Idempotency-Key": "key"}
        waiting = calls.create_task(w.http.post(SIGNAL, headers=key))
        await w.executor.has_taken.wait()
        other = await w.http.post("/v1/workflows/two/signals/release", headers=key)
        assert (other.status_code, other.json()["code"]) == (404, "not_found")
        repeat = await w.http.post(SIGNAL, headers=key)
        assert (await waiting).json() == repeat.json()
