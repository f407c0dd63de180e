"""Deadlines: called once at their time, and never when they are over before."""

import asyncio

import pytest

from aion_worker.deadlines import Deadlines
from support import eventually


async def test_deadlines_are_called_in_the_order_of_their_times_once() -> None:
    called: list[str] = []
    deadlines = Deadlines()
    deadlines.begin(0.001, lambda: called.append("later"))
    deadlines.begin(-1, lambda: called.append("past"))
    await eventually(lambda: "later" in called)
    deadlines.begin(0, lambda: called.append("in another turn"))
    await eventually(lambda: "in another turn" in called)
    assert called == ["past", "later", "in another turn"]


@pytest.mark.parametrize("turns", range(2))
async def test_what_has_ended_before_is_not_called(turns: int) -> None:
    called: list[str] = []
    deadlines = Deadlines()
    ended = deadlines.begin(0, lambda: called.append("ended"))
    deadlines.begin(0, lambda: called.append("other"))
    for _ in range(turns):
        await asyncio.sleep(0)
    ended.end()
    await eventually(lambda: called != [])
    assert called == ["other"]
    ended.end()
