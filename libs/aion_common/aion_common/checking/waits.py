"""What a run waits for, judged by its own records: timers, activities, their attempts, and turns that ask for them. Pure.

Heartbeats are no events of the run: whoever reads the whole partition tells them (`beaten`); without them a time-out is held
against the start of the attempt alone.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import assert_never

from aion_common.records.events import (
    ActivityCancelled,
    ActivityCompleted,
    ActivityFailed,
    ActivityRetried,
    ActivityScheduled,
    ActivityStarted,
    ActivityTimedOut,
    Event,
    HistoryRecord,
    RunCancelled,
    RunCompleted,
    RunFailed,
    RunTerminated,
    RunTimedOut,
    TimeoutKind,
    TimerCancelled,
    TimerFired,
    TimerStarted,
    TurnCommand,
)

Promise = tuple[bool, str]
"""Whether it is kept, and what it says."""

UNKNOWN_QUEUE = "unknown_queue"

AttemptEvent = ActivityStarted | ActivityCompleted | ActivityFailed | ActivityTimedOut | ActivityRetried
_TERMINAL = RunCompleted | RunFailed | RunCancelled | RunTerminated | RunTimedOut


def observed_in(event: Event) -> int | None:
    """Up to where the turn had been given that this event ends, if it ends one that says so."""
    turn = getattr(event, "turn", None)
    seen: int | None = getattr(event if turn is None else turn, "observed_seq", None)
    return seen


@dataclass(slots=True)
class SeenActivity:
    """An activity that has not ended. `task_at`: when the task of attempt `attempt` was owed; None: none is out, and the next
    attempt, which may begin at `retry_at`, has not begun."""

    scheduled: ActivityScheduled
    scheduled_at: int
    attempt: int
    task_at: int | None
    retry_at: int
    started_at: int | None = None
    beat_at: int | None = None

    @property
    def close_by(self) -> int:
        """When it is given up."""
        return self.scheduled_at + self.scheduled.timeouts.schedule_to_close_ms

    def due_at(self, timeout: TimeoutKind) -> int | None:
        """When this time is over; None: it does not count now."""
        limits = self.scheduled.timeouts
        match timeout:
            case TimeoutKind.SCHEDULE_TO_CLOSE:
                return self.close_by
            case TimeoutKind.SCHEDULE_TO_START:
                since, limit = None if self.started_at is not None else self.task_at, limits.schedule_to_start_ms
            case TimeoutKind.START_TO_CLOSE:
                since, limit = self.started_at, limits.start_to_close_ms
            case TimeoutKind.HEARTBEAT:
                since, limit = self.started_at, limits.heartbeat_ms
                since = since if since is None or self.beat_at is None else max(since, self.beat_at)
            case _:
                assert_never(timeout)
        return None if since is None or limit is None else since + limit


@dataclass(slots=True)
class Waits:
    """`timers`: those that wait, and when they fire. `activities`: those that have not ended. `asked`: numbers ever used, and
    whether for an activity. `turn_from`: the first command of the turn whose end has not come yet. `unheard`: activities of
    this turn without a queue, whose failures must follow."""

    timers: dict[int, int] = field(default_factory=dict)
    activities: dict[int, SeenActivity] = field(default_factory=dict)
    asked: dict[int, bool] = field(default_factory=dict)
    turn_from: int | None = None
    unheard: list[int] = field(default_factory=list)

    @property
    def is_halfway(self) -> bool:
        """Whether the next record must go on with the same decision."""
        return self.turn_from is not None or bool(self.unheard)

    def promises(self, record: HistoryRecord) -> Iterator[Promise]:
        """What the next event has to keep."""
        event, now_ms = record.event, record.recorded_at
        is_command = isinstance(event, TurnCommand)
        yield self.turn_from is None or is_command, "the commands of a turn stand together, and the last one ends it"
        if self.turn_from is None and self.unheard:
            is_failure = isinstance(event, ActivityFailed) and event.activity in self.unheard
            yield is_failure, f"an activity without a queue fails at once, but {self.unheard} did not"
        if is_command and (seen := observed_in(event)) is not None:
            yield seen < (self.turn_from or record.seq), "a turn has not observed what it does itself"
        match event:
            case TimerStarted(timer=timer, fire_at=fire_at):
                yield timer not in self.asked, f"the number {timer} is used once"
                yield fire_at >= now_ms, "a timer fires later than it starts"
            case TimerCancelled(timer=timer):
                yield self.asked.get(timer) is False, f"a timer that is cancelled was started, but {timer} was not"
            case TimerFired(timer=timer):
                yield timer in self.timers, f"a timer fires once, after its start and if nobody cancelled it, but {timer} does"
                yield now_ms >= self.timers.get(timer, now_ms), f"timer {timer} fires when its time has come, not before"
            case ActivityScheduled(activity=number):
                yield number not in self.asked, f"the number {number} is used once"
            case ActivityCancelled(activity=number):
                yield self.asked.get(number) is True, f"an activity that is cancelled was scheduled, but {number} was not"
            case event if isinstance(event, AttemptEvent):
                yield from self._of_attempt(event, now_ms)
            case _:
                pass

    def _of_attempt(self, event: AttemptEvent, now_ms: int) -> Iterator[Promise]:
        known = self.activities.get(event.activity)
        yield known is not None, f"nothing is told of an activity that nobody waits for, such as {event.activity}"
        if known is None:
            return
        is_out = known.task_at is not None and event.attempt == known.attempt
        is_next = known.task_at is None and event.attempt == known.attempt + 1
        about = f"attempt {event.attempt} of activity {event.activity}"
        match event:
            case ActivityStarted():
                yield is_out and known.started_at is None, f"{about} begins once, while it is the present one"
            case ActivityCompleted():
                yield is_out, f"{about} is completed while it is the present one"
            case ActivityFailed(failure=failure):
                is_unheard = is_next and failure.kind == UNKNOWN_QUEUE
                yield is_out or is_unheard, f"{about} fails while it is the present one"
                yield is_out or now_ms >= known.retry_at, f"{about} fails for want of a queue at its time, not before"
                is_final = event.retry_at is None or failure.kind not in known.scheduled.retry.non_retryable
                yield is_final, f"a failure of kind {failure.kind} is final"
                yield from _of_next(known, event, now_ms, about)
            case ActivityTimedOut(timeout=timeout):
                of_all = timeout is TimeoutKind.SCHEDULE_TO_CLOSE
                yield event.attempt == known.attempt and (is_out or of_all), f"{about} times out while it is the present one"
                due_at = known.due_at(timeout)
                yield due_at is not None and now_ms >= due_at, f"the {timeout} time of {about} is over, not before"
                is_last = of_all or timeout is TimeoutKind.SCHEDULE_TO_START
                yield event.retry_at is None or not is_last, f"nothing is tried again after a {timeout} time-out"
                yield from _of_next(known, event, now_ms, about)
            case ActivityRetried():
                yield is_next, f"attempts go up by one, after the one before has ended: {about}"
                yield now_ms >= known.retry_at, f"{about} begins when it was said, not before"
            case _:
                assert_never(event)

    def advance(self, record: HistoryRecord) -> None:
        """The event has happened."""
        event, now_ms = record.event, record.recorded_at
        if isinstance(event, TurnCommand):
            self.turn_from = (self.turn_from or record.seq) if event.turn is None else None
        else:
            self.turn_from = None
        match event:
            case TimerStarted(timer=timer, fire_at=fire_at):
                self.asked[timer] = False
                self.timers[timer] = fire_at
            case TimerCancelled(timer=timer) | TimerFired(timer=timer):
                self.timers.pop(timer, None)
            case ActivityScheduled(activity=number, has_queue=has_queue):
                self.asked[number] = True
                began = SeenActivity(
                    event, now_ms, attempt=int(has_queue), task_at=now_ms if has_queue else None, retry_at=now_ms
                )
                self.activities[number] = began
                self.unheard += [] if has_queue else [number]
            case ActivityCancelled(activity=number):
                self._end(number)
            case event if isinstance(event, AttemptEvent):
                self._advance_attempt(event, now_ms)
            case event if isinstance(event, _TERMINAL):
                self.timers.clear()
                self.activities.clear()
                self.unheard.clear()
            case _:
                pass

    def _advance_attempt(self, event: AttemptEvent, now_ms: int) -> None:
        known = self.activities.get(event.activity)
        if known is None:
            return
        match event:
            case ActivityStarted():
                known.started_at = now_ms
            case ActivityCompleted() | ActivityFailed(retry_at=None) | ActivityTimedOut(retry_at=None):
                self._end(event.activity)
            case ActivityFailed() | ActivityTimedOut():
                known.attempt, known.retry_at = event.attempt, event.retry_at or now_ms
                known.task_at = known.started_at = known.beat_at = None
                self.unheard = [number for number in self.unheard if number != event.activity]
            case ActivityRetried():
                known.attempt, known.task_at = event.attempt, now_ms
            case _:
                assert_never(event)

    def _end(self, number: int) -> None:
        self.activities.pop(number, None)
        self.unheard = [other for other in self.unheard if other != number]

    def beaten(self, number: int, attempt: int, now_ms: int) -> bool:
        """A worker is still at an attempt. Whether it is the present one."""
        known = self.activities.get(number)
        if known is None or known.task_at is None or known.attempt != attempt:
            return False
        known.beat_at = now_ms
        return True


def _of_next(known: SeenActivity, event: ActivityFailed | ActivityTimedOut, now_ms: int, about: str) -> Iterator[Promise]:
    """What is promised of the attempt behind one that failed."""
    if event.retry_at is not None:
        attempts = known.scheduled.retry.attempts
        yield event.retry_at >= now_ms, f"what comes behind {about} begins later"
        yield event.retry_at < known.close_by, f"nothing begins behind {about} when its activity is given up"
        yield attempts is None or event.attempt < attempts, f"{about} is the last one, of {attempts}"
