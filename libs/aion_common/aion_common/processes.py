"""Signals to child processes of asyncio: to VMs, services and brokers."""

import asyncio
import contextlib
import os
import signal


def send_signal(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    """Send it, unless the process has ended. Harmless to repeat.

    `Process.kill` and its like first look whether the process has ended, and if so take its exit code away from the thread that
    waits for it: asyncio then warns of an unknown child and reports the code 255 (cured in Python 3.13 as it is here).
    """
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)
