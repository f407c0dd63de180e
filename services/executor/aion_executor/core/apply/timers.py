"""Timers."""

from typing import assert_never

from msgspec.structs import replace

from aion_common.records.events import TimerCancelled, TimerFired, TimerStarted
from aion_executor.core.apply.turns import command_recorded, given_input
from aion_executor.core.run import Run


def changed(run: Run, event: TimerStarted | TimerCancelled | TimerFired) -> Run:
    """The run waits for a time, or not any more: one that is cancelled may have fired meanwhile; one that fires is an input."""
    match event:
        case TimerStarted(timer=timer, fire_at=fire_at, turn=turn):
            return command_recorded(replace(run, timers={**run.timers, timer: fire_at}), turn)
        case TimerCancelled(timer=timer, turn=turn):
            return command_recorded(_without(run, timer), turn)
        case TimerFired(timer=timer):
            return given_input(_without(run, timer), run.seq)
        case _:
            assert_never(event)


def _without(run: Run, timer: int) -> Run:
    return replace(run, timers={other: fire_at for other, fire_at in run.timers.items() if other != timer})
