"""What owners say of runs, as JSON: pages, payloads as they are, bytes of the log."""

import base64
import json

import pytest
from msgspec.structs import replace

from aion_common.ids import WorkflowId
from aion_common.records.common import Payload, json_payload
from aion_common.records.events import Failure, RunFailed
from aion_executor.shell import views
from aion_executor.shell.views import description_of, history_of, json_bytes, records_of, result_of
from executor.given import V1, W1, routed, signal, start
from executor.world import World


@pytest.fixture
def world() -> World:
    return World().after(routed(V1, 1), start("c1", "two_signals"), signal("c2", "a", b"1.10"), signal("c3", "x", None))


def test_history_comes_in_pages(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    run = world.newest(W1)
    values = world.loop.store.history(run.run_id, 1, 1_000)
    monkeypatch.setattr(views, "HISTORY_PAGE_BYTES_MAX", len(values[0]) + len(values[1]))
    seen: list[int] = []
    from_seq: int | None = 1
    while from_seq is not None:
        page = history_of(world.loop.store.history(run.run_id, from_seq, 1_000), from_seq, run.seq)
        body = json.loads(json_bytes(page))
        seen.extend(event["seq"] for event in body["events"])
        from_seq = body["next_seq"]
    assert seen == list(range(1, run.seq + 1))


def test_page_behind_the_end_is_empty(world: World) -> None:
    run = world.newest(W1)
    assert history_of([], run.seq + 1, run.seq) == {"events": [], "next_seq": None}


def test_payloads_keep_their_digits(world: World) -> None:
    run = world.newest(W1)
    text = json_bytes(history_of(world.loop.store.history(run.run_id, 1, 10), 1, run.seq))
    assert b'"json":1.10' in text


def test_records_are_the_bytes_of_the_log(world: World) -> None:
    run = world.newest(W1)
    values = world.loop.store.history(run.run_id, 1, 10)
    records = json.loads(json_bytes(records_of(values, 1, run.seq)))["records"]
    assert [base64.b64decode(record) for record in records] == values
    assert all(value in world.history for value in values)


def test_description_says_what_the_run_waits_for(world: World) -> None:
    run = world.newest(W1)
    body = description_of(run, None, resident=True)
    assert (body["status"], body["waits_for"], body["history_length"]) == ("running", "b", run.seq)
    assert "closed_at" not in body


def test_end_of_a_run_is_in_its_description_and_result(world: World) -> None:
    run = world.after(signal("c4", "b", b"2")).newest(W1)
    terminal = world.loop.store.records(run.run_id, run.seq, 1)[0]
    assert b'"result":[1.10,2]' in json_bytes(result_of(run, terminal))
    assert b'"result":[1.10,2]' in json_bytes(description_of(run, terminal, resident=False))


def test_failure_is_told(world: World) -> None:
    failed = WorkflowId("failed")
    run = world.after(start("c9", "fails", workflow_id=failed)).newest(failed)
    terminal = world.loop.store.records(run.run_id, run.seq, 1)[0]
    assert result_of(run, terminal)["failure"] == {"kind": "error", "message": "fails"}


def test_details_of_a_failure_are_as_plain_as_a_result(world: World) -> None:
    run = world.newest(W1)

    def told(details: Payload) -> bytes:
        failed = RunFailed(observed_seq=1, failure=Failure(kind="error", message="no", details=details))
        terminal = replace(world.records()[-1], event=failed)
        assert description_of(run, terminal, resident=False)["failure"] == result_of(run, terminal)["failure"]
        return json_bytes(result_of(run, terminal))

    assert b'"details":{"cents":1.10}}' in told(json_payload(b'{"cents":1.10}'))
    assert b'"details":{"content_type":"text/plain","base64":"bm8="}}' in told(Payload(content_type="text/plain", data=b"no"))
