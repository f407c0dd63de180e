"""What time does to a run: never early, and nothing if something else has ended it meanwhile."""

from aion_common.records.events import RunCancelled, RunEvent, RunTimedOut, TimerFired
from aion_executor.core.decide import activities
from aion_executor.core.decision import NOTHING, Decision
from aion_executor.core.facts import Facts
from aion_executor.core.run import Run, is_open

DUE_EVENTS_MAX = 100
"""Of one decision; a run with more is due again at once."""


def come_due(run: Run | None, facts: Facts) -> Decision:
    """End the run if its time is over; else its timers fire, the earliest first, and activities time out or are tried again."""
    if run is None or not is_open(run):
        return NOTHING
    if run.timeout_at is not None and run.timeout_at <= facts.now_ms:
        return Decision(events=(RunTimedOut(timeout_ms=run.timeout_at - run.started_at),))
    if run.cancel is not None and run.cancel.deadline_ms <= facts.now_ms:
        return Decision(events=(RunCancelled(observed_seq=None, reason=run.cancel.reason),))
    due = sorted((fire_at, timer) for timer, fire_at in run.timers.items() if fire_at <= facts.now_ms)
    events: list[RunEvent] = [TimerFired(timer=timer) for _, timer in due]
    for number, known in run.activities.items():
        events.extend(activities.come_due(run, number, known, facts))
    return Decision(events=tuple(events[:DUE_EVENTS_MAX]))
