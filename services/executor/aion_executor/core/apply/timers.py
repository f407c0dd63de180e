"""Timers."""

from msgspec.structs import replace

from aion_common.records.events import TimerCancelled, TimerFired, TimerStarted
from aion_executor.core.apply.turns import command_recorded, given_input
from aion_executor.core.run import Run


def started(run: Run, event: TimerStarted) -> Run:
    """One more time that the run waits for."""
    return command_recorded(replace(run, timers={**run.timers, event.timer: event.fire_at}), event.turn)


def cancelled(run: Run, event: TimerCancelled) -> Run:
    """It may have fired meanwhile."""
    return command_recorded(_without(run, event.timer), event.turn)


def fired(run: Run, event: TimerFired, seq: int) -> Run:
    """One more input that the run was not given yet."""
    return given_input(_without(run, event.timer), seq)


def _without(run: Run, timer: int) -> Run:
    return replace(run, timers={other: fire_at for other, fire_at in run.timers.items() if other != timer})
