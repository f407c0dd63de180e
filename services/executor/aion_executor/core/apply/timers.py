"""Timers."""

from typing import assert_never

from aion_common.records.events import TimerCancelled, TimerFired, TimerStarted
from aion_executor.core.apply.turns import command_recorded, given_input
from aion_executor.core.run import Run


def changed(run: Run, event: TimerStarted | TimerCancelled | TimerFired) -> Run:
    """The run waits for a time, or not any more: one that is cancelled may have fired meanwhile; one that fires is an input."""
    match event:
        case TimerStarted(timer=timer, fire_at=fire_at, turn=turn):
            return command_recorded(run, turn, timers={**run.timers, timer: fire_at})
        case TimerCancelled(timer=timer, turn=turn):
            return command_recorded(run, turn, timers=_without(run, timer))
        case TimerFired(timer=timer):
            return given_input(run, run.seq, timers=_without(run, timer))
        case _:
            assert_never(event)


def _without(run: Run, timer: int) -> dict[int, int]:
    return {other: fire_at for other, fire_at in run.timers.items() if other != timer}
