"""The alarm of a partition rings in time on either event loop, and costs a timer or two. uvloop's clock counts milliseconds."""

import asyncio
from collections import deque
from typing import Any

import pytest
import uvloop

from aion_executor.shell.alarm import Alarm

PAUSES_S = [number / 3_000 for number in range(1, 30)]


class _Counted:
    """How many timers were started."""

    timers = 0

    def call_at(self, when: float, callback: Any, *args: Any, context: Any = None) -> Any:
        self.timers += 1
        return super().call_at(when, callback, *args, context=context)  # type: ignore[misc]


class PlainLoop(_Counted, asyncio.SelectorEventLoop):  # type: ignore[misc]
    """As plain asyncio has it."""


class FastLoop(_Counted, uvloop.Loop):  # type: ignore[misc]
    """As services have it."""


@pytest.mark.parametrize("loop", [PlainLoop, FastLoop])
def test_alarm_rings_in_time_and_does_not_spin(loop: type[PlainLoop | FastLoop]) -> None:
    async def ring() -> None:
        events = asyncio.get_running_loop()
        assert isinstance(events, _Counted)
        for pause_s in PAUSES_S:
            rung = asyncio.Event()
            alarm = Alarm(rung.set)
            events.timers = 0
            began = events.time()
            alarm.set(pause_s)
            await rung.wait()
            assert events.time() - began > pause_s - 0.0006
            assert events.timers <= 2

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(ring())


@pytest.mark.parametrize("loop", [PlainLoop, FastLoop])
def test_alarm_rings_at_the_time_that_was_set_last(loop: type[PlainLoop | FastLoop]) -> None:
    async def ring() -> None:
        events = asyncio.get_running_loop()
        rung = deque[float]()
        alarm = Alarm(lambda: rung.append(events.time()))
        began = events.time()
        for pause_s in (0.0004, 0.0002, 0.03, 3.0, 0.02):
            alarm.set(pause_s)
        late = asyncio.Event()
        Alarm(late.set).set(0.05)
        await late.wait()
        assert len(rung) == 1
        assert rung[0] - began > 0.0194
        alarm.set(0.001)
        alarm.cancel()
        Alarm(late.set).set(0.003)
        late.clear()
        await late.wait()
        assert len(rung) == 1

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(ring())
