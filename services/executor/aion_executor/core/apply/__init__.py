"""Events -> state: the only door. The same functions run live, on restore and in the checker."""

from typing import assert_never

from aion_common.records.events import (
    ActivityCancelled,
    ActivityCompleted,
    ActivityFailed,
    ActivityRetried,
    ActivityScheduled,
    ActivityStarted,
    ActivityTimedOut,
    CatalogApplied,
    DeadLettered,
    HeartbeatsReceived,
    HistoryRecord,
    OwnerEpoch,
    Progress,
    RunBlocked,
    RunCancelled,
    RunCancelRequested,
    RunCompleted,
    RunFailed,
    RunStarted,
    RunTerminated,
    RunTimedOut,
    SignalReceived,
    StartParked,
    StartReleased,
    TimerCancelled,
    TimerFired,
    TimerStarted,
    TurnEnded,
)
from aion_executor.core.apply import activities, catalog, endings, ownership, runs, signals, timers, turns
from aion_executor.core.partition import Partition
from aion_executor.core.run import Run


def apply_to_run(run: Run | None, record: HistoryRecord, value_bytes: int) -> Run:
    """The run after an event of it. `value_bytes`: size of the record as it stands in the log."""
    event = record.event
    if run is None:
        match event:
            case RunStarted():
                return runs.started(record, event, value_bytes)
        raise AssertionError("the first event of a run is RunStarted")
    assert record.seq == run.seq + 1, "the events of a run have no gap"
    run = runs.extended(run, record, value_bytes)
    # The most frequent first: each class is tried in turn, and one that does not match takes longer than a record to make.
    match event:
        case ActivityScheduled():
            return activities.scheduled(run, event, record.recorded_at)
        case ActivityCompleted():
            return activities.completed(run, event)
        case SignalReceived():
            return signals.received(run, record.seq)
        case TurnEnded():
            return turns.ended(run, event)
        case RunCompleted() | RunFailed():
            return runs.ended(run, event, record.recorded_at)
        case TimerStarted() | TimerCancelled() | TimerFired():
            return timers.changed(run, event)
        case ActivityStarted() | ActivityFailed() | ActivityTimedOut() | ActivityRetried() | ActivityCancelled():
            return activities.changed(run, event, record.recorded_at)
        case RunBlocked():
            return runs.blocked(run, event)
        case RunCancelRequested():
            return endings.cancel_requested(run, event, record.seq)
        case RunCancelled():
            return endings.cancelled(run, event, record.recorded_at)
        case RunTerminated():
            return endings.terminated(run, record.recorded_at)
        case RunTimedOut():
            return endings.timed_out(run, record.recorded_at)
        case (
            RunStarted()
            | OwnerEpoch()
            | Progress()
            | CatalogApplied()
            | StartParked()
            | StartReleased()
            | DeadLettered()
            | HeartbeatsReceived()
        ):
            raise AssertionError("a second start, or an event of a partition, was applied to a run")
        case _:
            assert_never(event)


def apply_to_partition(partition: Partition, record: HistoryRecord, offset: int) -> Partition:
    """The partition after one of its own events, which stands at `offset` of the history topic."""
    match record.event:
        case OwnerEpoch() as event:
            return ownership.epoch_began(partition, event, offset)
        case Progress() as event:
            return ownership.progressed(partition, event, record.recorded_at)
        case CatalogApplied() as event:
            return catalog.applied(partition, event.marker)
        case StartParked() as event:
            return catalog.parked(partition, event)
        case StartReleased() as event:
            return catalog.released(partition, event)
        case DeadLettered() | HeartbeatsReceived():
            return partition
        case _:
            raise AssertionError("an event of a run was applied to a partition")
