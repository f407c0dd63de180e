"""The worker as its users see it: what it executes, and how it is run."""

import asyncio
import os
import re
import secrets
import signal
from collections.abc import Iterable, Iterator
from dataclasses import KW_ONLY, dataclass
from typing import Any

from aion_common import limits
from aion_common.clock import SystemClock
from aion_common.errors import AionError
from aion_common.event_loop import loop_factory
from aion_common.kafka.api import Log
from aion_common.kafka.assignor import STICKY, STOCK
from aion_common.kafka.client import connect
from aion_common.kafka.topics import Topics
from aion_common.settings import checked_bootstrap, host_name
from aion_worker import bounds
from aion_worker.activity import Activity
from aion_worker.errors import WrongActivity
from aion_worker.serving import Plan, serve

PROTOCOLS = (STICKY, *STOCK)
"""Workers in other languages may be in the group."""

QUEUE = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


@dataclass(frozen=True, slots=True)
class Worker:
    """Executes the tasks of one queue. Workers of the same queue share its tasks, and must have the same activities.

    `bootstrap`: HOST:PORT of brokers, separated by commas. `max_concurrent`: activities under way at once. `prefix`: before
    every topic name. `grace_s`: how long those that run may take to end when the worker is told to stop; then they are
    given up, and executed again by another worker.

    Raises ValueError and WrongActivity for what cannot be, before anything is connected.
    """

    bootstrap: str
    queue: str = "default"
    _: KW_ONLY
    activities: Iterable[Activity[..., Any]]
    max_concurrent: int = bounds.WORKER_RUNNING_DEFAULT
    prefix: str = "aion."
    grace_s: float = bounds.WORKER_DRAIN_MS / 1000
    session_s: float = limits.GROUP_SESSION_MS / 1000
    """Without a sign of life for so long, the worker's tasks go to others. Brokers refuse less than 6 s by default."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "activities", tuple(self.activities))
        try:
            checked_bootstrap(self.bootstrap)
        except ValueError as error:
            raise ValueError(f"bootstrap {self.bootstrap!r}: {error}") from error
        if not QUEUE.fullmatch(self.queue):
            raise ValueError(f"queue {self.queue!r}: 1 to 63 of a-z 0-9 _ -, beginning with a letter or a digit")
        if self.max_concurrent < 1:
            raise ValueError(f"max_concurrent is at least 1, got {self.max_concurrent}")
        if self.session_s <= 0:
            raise ValueError(f"session_s is more than 0, got {self.session_s}")
        if not self.activities:
            raise ValueError("a worker without activities has nothing to do")
        self._by_name()

    def run(self) -> None:
        """Work until SIGTERM or SIGINT, then drain; a second signal ends the process at once. Call it from the main thread.
        It runs on uvloop where that is installed; `serve` runs on the caller's event loop.

        Raises AionError, of it Unavailable when Kafka does not answer at the start, NoSuchQueue and WrongCluster."""
        try:
            with asyncio.Runner(loop_factory=loop_factory()) as runner:
                runner.run(self._until_signalled())
        except BaseExceptionGroup as group:
            leaves = list(_leaves(group))
            if all(isinstance(leaf, AionError) for leaf in leaves):
                raise leaves[0] from group
            raise

    async def serve(self, stop: asyncio.Event, log: Log | None = None) -> None:
        """Work until `stop` is set, then drain. `log`: where tasks come from, instead of the brokers; it is not closed.
        Raises as `run`; what fails later comes as an ExceptionGroup."""
        own = await connect(self.bootstrap, client_id="aion-worker", protocols=PROTOCOLS) if log is None else None
        plan = Plan(
            topics=Topics(self.prefix),
            queue=self.queue,
            activities=self._by_name(),
            running_max=self.max_concurrent,
            drain_ms=round(self.grace_s * 1000),
            session_ms=round(self.session_s * 1000),
            name=f"{host_name()}-{os.getpid()}-{secrets.token_hex(3)}",
        )
        used = log if own is None else own
        assert used is not None, "given or made"
        try:
            await serve(used, plan, SystemClock(), stop)
        finally:
            if own is not None:
                await own.close()

    async def _until_signalled(self) -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()

        def stop_by(number: signal.Signals) -> None:
            if stop.is_set():
                signal.signal(number, signal.SIG_DFL)
                os.kill(os.getpid(), number)
            stop.set()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop_by, number)
        await self.serve(stop)

    def _by_name(self) -> dict[str, Activity[..., Any]]:
        by_name: dict[str, Activity[..., Any]] = {}
        for given in self.activities:
            if not isinstance(given, Activity):
                raise WrongActivity(f"{given!r} is no activity: put @activity above it")
            if by_name.setdefault(given.name, given) is not given:
                raise WrongActivity(f"two activities have the name {given.name!r}")
        return by_name


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error
