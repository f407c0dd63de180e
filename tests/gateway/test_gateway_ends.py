"""Cancel and terminate: what reaches the log, and what repeats and closed runs get."""

import pytest

from aion_common import limits
from aion_common.records.commands import CancelRun, IdConflict, StartRun, TerminateRun
from gateway.world import World, world

START = {"workflow_type": "order", "workflow_id": "one"}
CANCEL = "/v1/workflows/one/cancel"
TERMINATE = "/v1/workflows/one/terminate"
ENDS = pytest.mark.parametrize("path", [CANCEL, TERMINATE])


async def started(w: World) -> str:
    """Start the workflow `one`; its run id."""
    return str((await w.http.post("/v1/workflows", json=START)).json()["run_id"])


@pytest.mark.parametrize(("path", "wish"), [(CANCEL, CancelRun), (TERMINATE, TerminateRun)])
async def test_the_wish_reaches_the_log_with_its_reason(path: str, wish: type[CancelRun | TerminateRun]) -> None:
    async with world() as w:
        run_id = await started(w)
        reason = "lost\n\tinterest ä"
        answer = await w.http.post(path, json={"reason": reason}, headers={"Idempotency-Key": "key"})
        assert (answer.status_code, answer.json()) == (202, {"workflow_id": "one", "run_id": run_id, "seq": 2})
        assert answer.headers["Idempotency-Key"] == "key"
        assert w.executor.commands[-1].body == wish(run_id=None, reason=reason)


@ENDS
@pytest.mark.parametrize("content", [b"", b"{}", b' {"reason" : null} '])
async def test_a_reason_may_be_left_out(path: str, content: bytes) -> None:
    async with world() as w:
        await started(w)
        headers = {"Content-Type": "application/json"} if content else {}
        assert (await w.http.post(path, content=content, headers=headers)).status_code == 202
        body = w.executor.commands[-1].body
        assert isinstance(body, CancelRun | TerminateRun)
        assert body.reason is None


@ENDS
async def test_a_reason_may_be_as_long_as_the_limit_and_not_longer(path: str) -> None:
    async with world() as w:
        await started(w)
        longest = "ä" * (limits.REASON_BYTES_MAX // 2)
        assert (await w.http.post(path, json={"reason": longest + "a"})).json()["field"] == "reason"
        assert (await w.http.post(path, json={"reason": longest})).status_code == 202


@ENDS
async def test_a_repeat_gets_the_first_answer(path: str) -> None:
    async with world() as w:
        await started(w)
        answers = [await w.http.post(path, headers={"Idempotency-Key": "key"}) for _ in range(2)]
        assert answers[0].json() == answers[1].json()
        assert len(w.executor.runs[b"default/one"].inputs) == 1


async def test_a_key_of_a_cancel_does_not_terminate() -> None:
    async with world() as w:
        await started(w)
        key = {"Idempotency-Key": "key"}
        assert (await w.http.post(CANCEL, headers=key)).status_code == 202
        answer = await w.http.post(TERMINATE, headers=key)
        assert (answer.status_code, answer.json()["field"]) == (400, "Idempotency-Key")


@ENDS
async def test_the_run_may_be_named(path: str) -> None:
    async with world() as w:
        run_id = await started(w)
        other = await w.http.post(f"{path}?run_id={'0' * 32}")
        assert (other.status_code, other.json()["code"]) == (404, "not_found")
        assert (await w.http.post(f"{path}?run_id={run_id}")).status_code == 202


@ENDS
async def test_a_closed_run_is_left_alone(path: str) -> None:
    async with world() as w:
        await started(w)
        w.executor.runs[b"default/one"].close("timed_out", "")
        answer = await w.http.post(path)
        assert (answer.status_code, answer.json()["code"], answer.json()["run_status"]) == (409, "closed", "timed_out")


async def test_a_start_may_end_the_run_that_is_open() -> None:
    async with world() as w:
        first = await started(w)
        body = START | {"id_conflict": "terminate_existing", "run_timeout_ms": limits.RUN_TIMEOUT_MS_MAX}
        answers = [await w.http.post("/v1/workflows", json=body, headers={"Idempotency-Key": "key"}) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [201, 201]
        assert answers[0].json() == answers[1].json()
        assert answers[0].json()["run_id"] != first
        start = w.executor.commands[-1].body
        assert isinstance(start, StartRun)
        assert start.id_conflict is IdConflict.TERMINATE_EXISTING
        assert start.run_timeout_ms == limits.RUN_TIMEOUT_MS_MAX
