"""Who runs on uvloop."""

import asyncio
import sys
from collections import deque

import pytest
import uvloop

from aion_common.event_loop import loop_factory
from aion_worker import Worker, activity


def test_the_loop_is_uvloops_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert loop_factory() is uvloop.new_event_loop
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert loop_factory() is None


def test_a_worker_that_is_run_is_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    loops = deque[asyncio.AbstractEventLoop]()

    async def serve(_worker: Worker, _stop: asyncio.Event) -> None:
        loops.append(asyncio.get_running_loop())

    monkeypatch.setattr(Worker, "serve", serve)
    Worker("127.0.0.1:9092", activities=[double]).run()
    assert isinstance(loops.pop(), uvloop.Loop)


@activity
def double(number: int) -> int:
    return 2 * number
