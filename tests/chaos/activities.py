"""What the workers of the kill loop execute. Every effect is a line in one file, `LEDGER`, which the loop compares with the
histories: an effect happens before its result is told, so what is in a history is in the file.

    aion worker chaos.activities
"""

import asyncio
import json
import os

from aion_worker import Context, RetryableError, activity
from support import paced

LEDGER = "AION_CHAOS_LEDGER"
"""Environment variable: the file."""

FAILURES = 2
"""So many attempts of `stubborn` fail."""

STEP_S = 0.3
SLOWLY_S = 0.1
BEAT_MS = 50


@activity
def step(value: int, context: Context) -> int:
    """One of several, each of which needs the one before. No time-out of its own brings it back: only its task, read again."""
    context.wait_cancelled(STEP_S)
    context.raise_if_cancelled()
    return effect(context, value + 1)


@activity
def double(value: int, context: Context) -> int:
    """One of many."""
    return effect(context, 2 * value)


@activity
def slowly(value: int, context: Context) -> int:
    """As `double`, later, unless nobody waits any more."""
    context.wait_cancelled(SLOWLY_S)
    context.raise_if_cancelled()
    return effect(context, 2 * value)


@activity
def stubborn(value: int, context: Context) -> int:
    """Succeeds when it has failed often enough. The number of the attempt, times the value."""
    if context.attempt <= FAILURES:
        raise RetryableError("not_yet", f"attempt {context.attempt}")
    return effect(context, context.attempt * value)


@activity
async def count(beats: int, context: Context) -> int:
    """Goes on where an attempt before it was killed."""
    async for beat in paced(range(context.heartbeat_details or 0, beats), every_ms=BEAT_MS):
        context.heartbeat(beat + 1)
    return effect(context, beats)


@activity
async def hang(_: None) -> None:
    """Until nobody waits any more."""
    await asyncio.Event().wait()


def effect(context: Context, result: int) -> int:
    """Let it happen: one line, appended at once."""
    line = json.dumps({"key": context.idempotency_key, "attempt": context.attempt, "result": result}) + "\n"
    file = os.open(os.environ[LEDGER], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(file, line.encode())
    finally:
        os.close(file)
    return result
