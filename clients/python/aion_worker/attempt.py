"""One attempt of an activity on its way: called, stopped when nobody waits any more, accompanied by its heartbeats.

It knows nothing of Kafka: `tell` takes what is to be reported meanwhile, and `run` returns what is to be reported at the end.
"""

import asyncio
from collections.abc import Awaitable, Callable
from enum import Enum, auto
from functools import partial
from typing import Any

from aion_common.errors import Unavailable
from aion_common.records.common import Payload
from aion_common.records.tasks import ReportBody, Task, TaskCancelled, TaskFailed, TaskHeartbeat, TaskStarted
from aion_worker import bounds
from aion_worker.activity import Activity
from aion_worker.context import Context
from aion_worker.deadlines import Deadlines
from aion_worker.errors import ActivityCancelled
from aion_worker.outcome import completed, failed
from aion_worker.threads import Threads

Tell = Callable[[ReportBody], Awaitable[None]]
"""Reports about the attempt. Raises Unavailable."""


class _Stopped(Enum):
    CANCELLED = auto()
    """The owner says that nobody waits: it is told that the work stopped."""
    TOO_LATE = auto()
    """The owner knows by its own clock: nothing is told."""


class Attempt:
    """Lives in one asyncio task, that of `run`. Everything else is called on the event loop too, but for the context's part."""

    def __init__(
        self, task: Task, activity: Activity[..., object], now_ms: int, threads: Threads, deadlines: Deadlines
    ) -> None:
        self._task = task
        self._activity = activity
        self._threads = threads
        self._deadlines = deadlines
        self._loop = asyncio.get_running_loop()
        self._now_ms = now_ms
        deadline = task.close_by
        if task.start_to_close_ms is not None:
            deadline = min(deadline, now_ms + task.start_to_close_ms)
        self._context = Context(task, deadline, self._beat_from_anywhere)
        self._inside: asyncio.Task[object] | None = None
        self._stopped: _Stopped | None = None
        self._latest = task.heartbeat
        self._is_untold = False
        self._is_beginning_untold = task.report_started
        self._news = asyncio.Event()

    @property
    def latest(self) -> Payload | None:
        """The newest details of a heartbeat, this attempt's or an earlier one's."""
        return self._latest

    async def run(self) -> ReportBody | None:
        """Call the function; what is to be reported, None: nothing. A cancellation from outside is passed on, and leaves
        whatever runs in a thread."""
        task = asyncio.current_task()
        assert task is not None, "an attempt runs in a task"
        cancels_before = task.cancelling()
        seconds = (self._context.deadline - self._now_ms) / 1000
        too_late = self._deadlines.begin(seconds, self._be_too_late)
        self._inside = task
        try:
            body: ReportBody | None = await self._call()
        except (asyncio.CancelledError, ActivityCancelled) as error:
            # Our own `_stop` is one of the cancellations, any other comes from outside.
            ours = int(self._stopped is not None and self._activity.is_async)
            if task.cancelling() - cancels_before > ours:
                raise
            body = failed(error) if self._stopped is None else TaskCancelled()
        except (Exception, SystemExit) as error:  # reported: the workflow decides
            body = failed(error)
        finally:
            self._inside = None
            too_late.end()
            if self._stopped is not None and self._activity.is_async:
                task.uncancel()
        return None if self._stopped is _Stopped.TOO_LATE else body

    def cancel(self) -> None:
        """Nobody waits for the result any more. Harmless when the function has ended, and when repeated."""
        self._stop(_Stopped.CANCELLED)

    def abandon(self) -> None:
        """Let a function in a thread know that the worker does not wait for it. Whoever calls cancels `run` as well."""
        self._context.cancel()

    def untold(self, end: ReportBody) -> list[ReportBody]:
        """What belongs before the report of the end: that it began, if nobody was told yet, and before a failure the newest
        details of a heartbeat, for the next attempt."""
        before: list[ReportBody] = []
        if self._is_beginning_untold:
            before.append(TaskStarted())
        if self._is_untold and isinstance(end, TaskFailed) and end.retryable:
            before.append(TaskHeartbeat(details=self._latest))
        return before

    @property
    def must_be_accompanied(self) -> bool:
        """Whether there may be something to tell before it ends."""
        return self._task.report_started or self._task.heartbeat_ms is not None or self._activity.takes_context

    async def accompany(self, tell: Tell) -> None:
        """Tell that it began, if the task asks for it, and from time to time that it goes on. Runs until it is cancelled."""
        if self._task.report_started:
            await _insist(tell, TaskStarted())
            self._is_beginning_untold = False
        beats_by_itself = self._task.heartbeat_ms is not None
        pause_s = (self._task.heartbeat_ms or bounds.WORKER_BEAT_MS) / bounds.BEATS_PER_TIMEOUT / 1000
        wait_s = pause_s if beats_by_itself else None
        while True:
            try:
                async with asyncio.timeout(wait_s):
                    await self._news.wait()
            except TimeoutError:
                pass
            self._news.clear()
            self._is_untold = False
            try:
                await tell(TaskHeartbeat(details=self._latest))
            except Unavailable:
                self._is_untold = True
            await asyncio.sleep(pause_s)
            wait_s = 0 if beats_by_itself or self._is_untold else None

    async def _call(self) -> ReportBody:
        arguments = self._activity.arguments(self._task.input, self._context)
        function: Callable[..., Any] = self._activity.function
        outcome = function(**arguments) if self._activity.is_async else self._threads.call(partial(function, **arguments))
        return completed(self._activity.result(await outcome))

    def _be_too_late(self) -> None:
        self._stop(_Stopped.TOO_LATE)

    def _stop(self, why: _Stopped) -> None:
        if self._inside is None or self._stopped is not None:
            return
        self._stopped = why
        self._context.cancel()
        if self._activity.is_async:
            self._inside.cancel()

    def _beat_from_anywhere(self, details: Payload | None) -> None:
        try:
            self._loop.call_soon_threadsafe(self._beat, details)
        except RuntimeError:
            return  # the loop is closed: the worker has ended without this call

    def _beat(self, details: Payload | None) -> None:
        if details is not None:
            self._latest = details
        self._is_untold = True
        self._news.set()


async def _insist(tell: Tell, body: ReportBody) -> None:
    while True:
        try:
            await tell(body)
        except Unavailable:
            await asyncio.sleep(bounds.WORKER_RETRY_MS / 1000)
        else:
            return
