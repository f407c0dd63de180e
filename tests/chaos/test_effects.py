"""What the workers did against what the histories say: a lost effect, one too many, and an end too many are seen."""

from pathlib import Path

from aion_common.records.common import ActivityTimeouts, Backoff, RetryPolicy, json_payload
from aion_common.records.events import (
    ActivityCompleted,
    ActivityFailed,
    ActivityRetried,
    ActivityScheduled,
    ActivityTimedOut,
    Failure,
    TimeoutKind,
)
from chaos.effects import Asked, Effect, effects_in
from chaos.errands import NEVER_MS, Wish

RETRY = RetryPolicy(attempts=None, backoff=Backoff.FIXED, initial_ms=1, max_ms=1, jitter_percent=0, non_retryable=())
TIMEOUTS = ActivityTimeouts(schedule_to_close_ms=1, start_to_close_ms=None, schedule_to_start_ms=None, heartbeat_ms=None)
SCHEDULED = ActivityScheduled(activity=1, activity_type="a", queue="q", input=None, retry=RETRY, timeouts=TIMEOUTS, turn=None)
FAILED = ActivityFailed(activity=1, attempt=1, failure=Failure(kind="k", message="", details=None), retry_at=1)
RETRIED = ActivityRetried(activity=1, attempt=2, heartbeat=None)
COMPLETED = ActivityCompleted(activity=1, attempt=2, result=json_payload(b"7"))
EFFECT = Effect("r/1", 2, "7")


def asked(*events: object) -> Asked:
    """Of one run."""
    found = Asked()
    for event in events:
        found.take("r", event)
    return found


def test_a_result_that_had_its_effect_is_neither_lost_nor_doubled() -> None:
    found = asked(SCHEDULED, FAILED, RETRIED, COMPLETED)
    effects = [EFFECT, EFFECT, Effect("r/1", 1, "7")]
    assert found.lost(effects) == []
    assert found.doubled(effects) == []


def test_a_result_without_its_effect_is_lost() -> None:
    found = asked(SCHEDULED, FAILED, RETRIED, COMPLETED)
    for other in ([], [EFFECT._replace(attempt=1)], [EFFECT._replace(key="r/2")], [EFFECT._replace(result="8")]):
        assert found.lost(other) == [f"the effect of {EFFECT}"]


def test_an_effect_that_nobody_asked_for_is_one_too_many() -> None:
    found = asked(SCHEDULED, FAILED)
    for effect in (EFFECT, EFFECT._replace(attempt=1, key="r/2")):
        assert found.doubled([effect]) == [f"{effect}, and nobody asked for it"]


def test_a_report_that_counted_twice_is_one_too_many() -> None:
    late = ActivityTimedOut(activity=1, attempt=2, timeout=TimeoutKind.HEARTBEAT, retry_at=None)
    for end, told in ((COMPLETED, ["activity r/1 was completed 2 times"]), (late, []), (FAILED, [])):
        found = asked(SCHEDULED, FAILED, RETRIED, COMPLETED, end)
        attempt = 1 if end is FAILED else 2
        assert found.doubled([EFFECT]) == [f"attempt {attempt} of r/1 ended 2 times", *told]


def test_effects_are_read_in_order(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    assert effects_in(ledger) == []
    ledger.write_text('{"key": "r/1", "attempt": 2, "result": 7}\n{"key": "r/2", "attempt": 1, "result": null}\n')
    assert effects_in(ledger) == [EFFECT, Effect("r/2", 1, "null")]


def test_what_a_run_may_end_with_depends_on_the_race_and_on_a_hint_that_may_be_late() -> None:
    wish = Wish(value=3, steps=2, items=(1, 2), beats=4, nap_ms=5, hint_ms=NEVER_MS, hint=6)
    only = {"steps": 5, "doubles": [2, 4], "stubborn": 9, "gave_up": "timeout", "in_time": 6, "slept": True, "counted": 4}
    assert wish.results() == [{**only, "first": [first, 6], "hint": 6} for first in ("quick", "slow")]
