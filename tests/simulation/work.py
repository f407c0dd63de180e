"""What the ledger sees of timers, activities and workers: tasks, reports, and what the histories make of them.

Held against them at once: a task leaves after its attempt is in the history; a result is one that a worker told of that very
attempt, and there is one; numbers of attempts go up by one; nothing happens early by the brokers' clock. At rest every
attempt must have been sent. The times by the owners' clocks are the checker's business.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from aion_common.ids import RunId
from aion_common.records.common import Payload
from aion_common.records.events import (
    ActivityCancelled,
    ActivityCompleted,
    ActivityFailed,
    ActivityRetried,
    ActivityScheduled,
    ActivityStarted,
    ActivityTimedOut,
    Event,
    HeartbeatsReceived,
    TimerCancelled,
    TimerFired,
    TimerStarted,
)
from aion_common.records.tasks import Task, TaskCompleted, TaskFailed, TaskHeartbeat, TaskReport, TaskStarted

Attempt = tuple[RunId, int, int]
"""Run, number of the activity, attempt."""

BY_ENGINE = frozenset({"unknown_queue", "cancelled", "limit"})
"""Kinds of failures that no worker told."""

Promise = Callable[[bool, str], None]


@dataclass(slots=True)
class Work:
    """`owed`: attempts that a history says are to be sent; `sent`: how often each was. `told`: what workers reported of each
    attempt. `present`: of each open activity its newest attempt. `timers`: of each open one when it fires."""

    promise: Promise
    clocks_apart_ms: int
    counts: Counter[str]
    owed: dict[Attempt, ActivityScheduled] = field(default_factory=dict)
    sent: Counter[Attempt] = field(default_factory=Counter)
    told: dict[Attempt, list[object]] = field(default_factory=dict)
    present: dict[tuple[RunId, int], int] = field(default_factory=dict)
    timers: dict[tuple[RunId, int], int] = field(default_factory=dict)
    by_run: Counter[RunId] = field(default_factory=Counter)
    """How much each run waits for."""
    _calls: dict[tuple[RunId, int], ActivityScheduled] = field(default_factory=dict)

    def take_task(self, queue: str, partition: int, task: Task) -> None:
        """Something has left to workers."""
        attempt = (task.run_id, task.activity, task.attempt)
        call = self.owed.get(attempt)
        self.promise(call is not None, f"task {attempt} left before it was in a history")
        if call is not None:
            same = (call.queue, call.activity_type, call.input) == (queue, task.activity_type, task.input)
            self.promise(same, f"task {attempt} is what the run called: {task}")
        self.promise(task.results_partition == partition, f"reports of task {attempt} go where its run is")
        self.sent[attempt] += 1
        self.counts["Task"] += 1

    def take_report(self, report: TaskReport) -> None:
        """A worker told something."""
        self.told.setdefault((report.run_id, report.activity, report.attempt), []).append(report.body)

    def take_event(self, where: str, run_id: RunId, event: Event, now_ms: int) -> bool:
        """An event of a run; `now_ms`: by the broker. Whether it is an input."""
        match event:
            case TimerStarted(timer=timer, fire_at=fire_at):
                self.timers[run_id, timer] = fire_at
                self.by_run[run_id] += 1
            case TimerCancelled(timer=timer):
                self.by_run[run_id] -= self.timers.pop((run_id, timer), None) is not None
            case TimerFired(timer=timer):
                fire_at = self.timers.pop((run_id, timer), -1)
                self.by_run[run_id] -= 1
                self.promise(fire_at >= 0, f"{where}: timer {timer} fires once, if nobody cancelled it")
                self.promise(
                    fire_at - now_ms <= self.clocks_apart_ms, f"{where}: timer {timer} fires {fire_at - now_ms} ms early"
                )
                return True
            case ActivityScheduled(activity=number, has_queue=has_queue):
                self._calls[run_id, number] = event
                self.by_run[run_id] += 1
                self.present[run_id, number] = 1
                if has_queue:
                    self.owed[run_id, number, 1] = event
            case ActivityCancelled(activity=number):
                self._end(run_id, number)
            case ActivityStarted() | ActivityCompleted() | ActivityFailed() | ActivityTimedOut() | ActivityRetried():
                return self._take_attempt(where, run_id, event)
            case _:
                pass
        return False

    def _take_attempt(
        self,
        where: str,
        run_id: RunId,
        event: ActivityStarted | ActivityCompleted | ActivityFailed | ActivityTimedOut | ActivityRetried,
    ) -> bool:
        number, attempt = event.activity, event.attempt
        present = self.present.get((run_id, number), 0)
        told = self.told.get((run_id, number, attempt), [])
        match event:
            case ActivityRetried():
                self.promise(present + 1 == attempt, f"{where}: attempt {attempt} comes after {present}")
                self.present[run_id, number] = attempt
                self.owed[run_id, number, attempt] = self._calls[run_id, number]
                return False
            case ActivityFailed(failure=failure) if failure.kind == "unknown_queue":
                self.counts["unknown queue"] += 1
                self.promise(attempt - present in {0, 1}, f"{where}: attempt {attempt} comes after {present}")
                self.promise((run_id, number, attempt) not in self.owed, f"{where}: attempt {attempt} had a queue")
                self.present[run_id, number] = attempt
            case ActivityFailed(failure=failure):
                is_told = failure.kind in BY_ENGINE or any(
                    isinstance(body, TaskFailed) and body.failure == failure for body in told
                )
                self.promise(is_told, f"{where}: no worker told of this failure of attempt {attempt}")
                self.promise(present == attempt, f"{where}: attempt {attempt} fails, {present} is the present one")
            case ActivityCompleted(result=result):
                self._completed(where, told, result)
                self.promise(present == attempt, f"{where}: attempt {attempt} is completed, {present} is the present one")
            case ActivityTimedOut(timeout=timeout):
                self.counts[timeout.value] += 1
                self.promise(present == attempt, f"{where}: attempt {attempt} times out, {present} is the present one")
            case ActivityStarted():
                self.promise(TaskStarted() in told, f"{where}: no worker told that attempt {attempt} begins")
                self.promise(present == attempt, f"{where}: attempt {attempt} begins, {present} is the present one")
                return False
        if getattr(event, "retry_at", None) is not None:
            return False
        self._end(run_id, number)
        return True

    def _completed(self, where: str, told: list[object], result: Payload | None) -> None:
        self.promise(TaskCompleted(result=result) in told, f"{where}: no worker told this result: {result}")

    def take_heartbeats(self, where: str, event: HeartbeatsReceived) -> None:
        """Workers are still at some attempts."""
        for beat in event.heartbeats:
            present = self.present.get((beat.run_id, beat.activity))
            self.promise(present == beat.attempt, f"{where}: a heartbeat of {beat.attempt}, {present} is the present one")
            told = self.told.get((beat.run_id, beat.activity, beat.attempt), [])
            self.promise(TaskHeartbeat(details=beat.details) in told, f"{where}: no worker told this heartbeat: {beat}")

    def _end(self, run_id: RunId, number: int) -> None:
        self.by_run[run_id] -= self.present.pop((run_id, number), None) is not None

    def end_run(self, run_id: RunId) -> None:
        """Nobody waits any more."""
        for waits in (self.present, self.timers):
            for key in [key for key in waits if key[0] == run_id]:
                del waits[key]
        del self.by_run[run_id]

    def never_sent(self) -> list[Attempt]:
        """Attempts whose task nobody has seen."""
        return [attempt for attempt in self.owed if not self.sent[attempt]]
