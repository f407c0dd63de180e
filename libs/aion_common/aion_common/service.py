"""The frame around every service process: logs, signals, exit code, end with the parent. Shutdown begins only here.

A service is `async def serve(settings, stop)`: it runs until `stop` is set or something fatal is raised, and closes what
it opened. SIGTERM and SIGINT set `stop`; a second signal ends the process at once. Operating errors end it with one
clear line and code 1; only a bug prints a traceback.
"""

import asyncio
import ctypes
import functools
import gc
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress

import structlog

from aion_common import limits
from aion_common.errors import AionError
from aion_common.event_loop import loop_factory
from aion_common.logs import configure_logs
from aion_common.settings import PARENT_PID, Settings

logger = structlog.get_logger()

Serve = Callable[[Settings, asyncio.Event], Awaitable[None]]

_PR_SET_PDEATHSIG = 1


def log_failure(error: AionError) -> None:
    """How a service tells why it ended; a command for people tells it in other ways."""
    logger.error("service failed", error=type(error).__name__, reason=str(error))


def run(serve: Serve, settings: Settings, *, service: str, tell: Callable[[AionError], None] = log_failure) -> int:
    """Run the service to its end and return the exit code: 0 stopped as asked, 1 an operating error, which was told.

    Raises whatever is a bug, so that its traceback is printed. `service` is the name in the logs. Call it from the main
    thread, once per process.
    """
    configure_logs(settings.log_level, service=service)
    if sys.flags.optimize:
        tell(AionError("python -O removes the assertions that protect the data: run without -O"))
        return 1
    end_with_parent()
    collect_rarely()
    run_in_batches()
    try:
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            runner.run(_until_stopped(serve, settings))
    except AionError as error:
        tell(error)
        return 1
    except BaseExceptionGroup as group:
        leaves = list(_leaves(group))
        errors = [leaf for leaf in leaves if isinstance(leaf, AionError)]
        if len(errors) < len(leaves):
            raise
        for once in {str(leaf): leaf for leaf in errors}.values():
            tell(once)
        return 1
    return 0


def collect_rarely() -> None:
    """Look for garbage in cycles once in many allocations: records and states are in none, and a loop that makes and drops
    thousands of them per batch would spend a sixth of its time on looking. What the imports made is never looked at again."""
    gc.freeze()
    gc.set_threshold(limits.GC_ALLOCATIONS)


def run_in_batches() -> None:
    """Not be interrupted by every process that wakes: SCHED_BATCH of sched(7), Linux only, inherited by children. The brokers,
    services and workers of a machine wake each other with each request, and find more to do at once if they take turns."""
    if sys.platform == "linux":
        # Refused by musl, and by some sandboxes.
        with suppress(OSError):
            if os.sched_getscheduler(0) == os.SCHED_OTHER:
                os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def end_with_parent() -> None:
    """If a supervisor named itself in `AION_PARENT_PID`: be killed by the kernel when it is gone (Linux only).

    The kernel watches the thread that started this process, so a supervisor must start children from its main thread.
    Called by the child itself at start: a parent that died before is found by its pid. The variable is taken out of the
    environment, because grandchildren have another parent.
    """
    parent = os.environ.pop(PARENT_PID, None)
    if parent is None or not sys.platform.startswith("linux"):
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if str(os.getppid()) != parent:
        os.kill(os.getpid(), signal.SIGKILL)


async def _until_stopped(serve: Serve, settings: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, functools.partial(_signalled, number, stop))
    logger.info("service started", pid=os.getpid())
    await serve(settings, stop)
    logger.info("service stopped")


def _signalled(number: signal.Signals, stop: asyncio.Event) -> None:
    if stop.is_set():
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        return
    logger.info("stopping", signal=number.name)
    stop.set()


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error
