"""What a turn may ask for: so much is one decision, and a run's state and one record batch hold it."""

from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from aion_common.ids import Namespace, RunId, Version, WorkflowId, WorkflowType, workflow_key
from aion_common.limits import DECISION_BYTES_MAX, HISTORY_EVENTS_MAX, TURN_REQUESTS_MAX, WAITS_MAX
from aion_common.records.common import json_payload
from aion_common.records.events import ActivityScheduled, CatalogApplied, HistoryRecord, RunBlocked, RunEvent, WaitKind
from aion_common.turns import CancelActivity, Request, StartTimer
from aion_common.wire import seal
from aion_common.wire.history import CHAIN_START
from aion_executor.core.activities import begun
from aion_executor.core.decide import decide
from aion_executor.core.decision import Decision
from aion_executor.core.facts import Facts
from aion_executor.core.inputs import TurnInput, Waits
from aion_executor.core.run import Run, RunStatus
from executor.given import EMPTY, FACTS
from executor.vm_twin import activity

NOW_MS = 1_800_000_000_000
LIVE = replace(FACTS, now_ms=NOW_MS, waits_max=WAITS_MAX, decision_bytes_max=DECISION_BYTES_MAX, history_events_max=50_000)


def run_of(workflow_id: str, namespace: str = "default", *, waits: int = 0) -> Run:
    """A run that waits for so many activities."""
    call = activity(1)
    scheduled = ActivityScheduled(
        activity=1,
        activity_type=call.activity_type,
        queue=call.queue,
        input=call.input,
        retry=call.retry,
        timeouts=call.timeouts,
        turn=None,
        has_queue=True,
    )
    return Run(
        namespace=Namespace(namespace),
        workflow_id=WorkflowId(workflow_id),
        run_id=RunId("f" * 32),
        workflow_type=WorkflowType("calls"),
        version=Version("1" * 64),
        status=RunStatus.RUNNING,
        seq=1,
        chain=b"",
        history_bytes=0,
        started_at=NOW_MS,
        unobserved=(1,),
        activities=dict.fromkeys(range(1, waits + 1), begun(scheduled, 2, NOW_MS)),
    )


def decided(run: Run, facts: Facts, requests: Sequence[Request]) -> Sequence[RunEvent | CatalogApplied]:
    """What a turn of the run leads to that asks for these things."""
    turn = TurnInput(run_id=run.run_id, observed_seq=1, outcome=Waits(wait=WaitKind.RESULT, name="x"), requests=tuple(requests))
    decision = decide(EMPTY, run, turn, facts)
    assert isinstance(decision, Decision)
    return decision.events


def test_cancels_make_room_for_others_and_take_none() -> None:
    full = run_of("w", waits=WAITS_MAX)
    cancels: list[Request] = [CancelActivity(activity=number) for number in full.activities]
    new: list[Request] = [activity(WAITS_MAX + 1), activity(WAITS_MAX + 2)]
    assert len(decided(full, LIVE, cancels + new)) == WAITS_MAX + 2
    assert len(decided(full, LIVE, cancels[:2] + new)) == 4
    of_nobody = CancelActivity(activity=WAITS_MAX + 9)
    for too_few in ([], cancels[:1], [cancels[0], cancels[0]], [cancels[0], of_nobody]):
        assert [type(event) for event in decided(full, LIVE, too_few + new)] == [RunBlocked]


def test_a_turn_that_its_vm_let_pass_is_not_too_large() -> None:
    call = replace(activity(1), input=json_payload(b"1" * 400))
    requests = [replace(call, activity=number) for number in range(1, TURN_REQUESTS_MAX + 1)]
    assert len(decided(run_of("w"), LIVE, requests)) == TURN_REQUESTS_MAX


@pytest.mark.parametrize("queues", [frozenset({"default"}), frozenset[str]()])
@pytest.mark.parametrize(("letters", "letters_of_namespace"), [(1, 1), (255, 63)])
def test_no_turn_takes_more_bytes_than_it_is_counted_for(
    letters: int, letters_of_namespace: int, queues: frozenset[str]
) -> None:
    run, facts = run_of("w" * letters, "n" * letters_of_namespace, waits=1), replace(LIVE, queues=queues)
    calls = [replace(activity(number), activity_type="t" * letters) for number in range(2, 100)]
    choosy = replace(activity(100), retry=replace(calls[0].retry, non_retryable=("k" * letters,) * 100))
    requests: list[Request] = [*calls, choosy, StartTimer(timer=101, delay_ms=10**9), CancelActivity(activity=1)]
    taken = sum(_bytes_in_log(run, event) for event in decided(run, facts, requests))
    refused = decided(run, replace(facts, decision_bytes_max=taken - 1), requests)
    assert [type(event) for event in refused] == [RunBlocked]


def _bytes_in_log(run: Run, event: RunEvent | CatalogApplied) -> int:
    record = HistoryRecord(
        namespace=run.namespace,
        workflow_id=run.workflow_id,
        run_id=run.run_id,
        seq=HISTORY_EVENTS_MAX,
        recorded_at=NOW_MS,
        owner_epoch=2**40,
        chain=b"",
        cause=None,
        event=event,
    )
    return len(workflow_key(run.namespace, run.workflow_id)) + len(seal(record, CHAIN_START).value)
