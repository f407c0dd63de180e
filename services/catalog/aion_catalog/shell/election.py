"""Who of the catalog's instances works: the member that holds the one partition of `aion.catalog.commands`.

The group only says who should work. That nobody else can commit is the transactional.id's doing: an instance that still
believes in an old assignment is fenced.
"""

import asyncio
import enum
from collections.abc import Awaitable, Callable

import structlog

from aion_catalog.shell import PARTITION
from aion_common import limits
from aion_common.errors import Fenced, Unavailable
from aion_common.kafka.api import Log
from aion_common.kafka.topics import Topics

logger = structlog.get_logger()

WorkTerm = Callable[[Callable[[], None]], Awaitable[None]]
"""Does the work of the elected until it is cancelled or raises; calls its argument whenever it got something done."""


class Election:
    """Whether this process is elected now, fed by a membership."""

    def __init__(self) -> None:
        self.won = asyncio.Event()
        self.lost = asyncio.Event()

    def on_assigned(self, partitions: frozenset[int]) -> None:
        """The membership's callback."""
        gained, missed = (self.won, self.lost) if PARTITION in partitions else (self.lost, self.won)
        missed.clear()
        gained.set()


class Backoff:
    """The wait before the next try: doubles while failures follow one another."""

    def __init__(self) -> None:
        self._next_ms = limits.CATALOG_RETRY_MIN_MS

    def reset(self) -> None:
        """Something worked."""
        self._next_ms = limits.CATALOG_RETRY_MIN_MS

    async def wait(self) -> None:
        """Something failed."""
        wait_ms = self._next_ms
        self._next_ms = min(2 * wait_ms, limits.CATALOG_RETRY_MAX_MS)
        await asyncio.sleep(wait_ms / 1000)


class _Ended(enum.Enum):
    """How a term ended."""

    LOST = enum.auto()
    FENCED = enum.auto()
    FAILED = enum.auto()


async def work_when_elected(log: Log, topics: Topics, member_id: str, session_ms: int, work: WorkTerm) -> None:
    """Take part in the election until cancelled, and do the work whenever elected.

    A term that was fenced gives its place up and works again only if the group says so again (two that believe in
    themselves would fence each other for ever); a term that failed starts over with back-off. Everything but
    `Unavailable` and `Fenced` ends this too.
    """
    election = Election()
    backoff = Backoff()
    membership = await log.membership(
        f"{topics.prefix}catalog", topics.catalog_commands, member_id, session_ms, election.on_assigned
    )
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(membership.failed(), name="catalog-membership")
            while True:
                await election.won.wait()
                ended = await _term(election, work, backoff.reset)
                if ended is _Ended.FENCED:
                    election.on_assigned(frozenset())
                    await membership.rejoin()
                elif ended is _Ended.FAILED:
                    await backoff.wait()
    finally:
        await membership.close()


async def _term(election: Election, work: WorkTerm, on_progress: Callable[[], None]) -> _Ended:
    async with asyncio.TaskGroup() as tasks:
        working = tasks.create_task(_outcome(work, on_progress), name="catalog-term")
        losing = tasks.create_task(election.lost.wait(), name="catalog-lost")
        await asyncio.wait({working, losing}, return_when=asyncio.FIRST_COMPLETED)
        working.cancel()
        losing.cancel()
    if working.cancelled():
        logger.info("catalog no longer elected")
        return _Ended.LOST
    return working.result()


async def _outcome(work: WorkTerm, on_progress: Callable[[], None]) -> _Ended:
    logger.info("catalog elected")
    try:
        await work(on_progress)
    except Fenced as error:
        logger.warning("catalog fenced by another instance", reason=str(error))
        return _Ended.FENCED
    except Unavailable as error:
        logger.warning("catalog starts over", reason=str(error))
        return _Ended.FAILED
    raise AssertionError("a term ends by an error or by being cancelled")
