"""Many seeds on all processors: what broke, and whether everything that should happen did happen somewhere."""

import multiprocessing
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor

from simulation.world import Ending, run_seed

SOMEWHERE = (
    "StartParked",
    "StartReleased",
    "RunBlocked",
    "RunFailed",
    "void",
    "second writer",
    "queries",
    "wrong clock",
    "UnloadAbandoned",
    "DeadLettered",
    "TimerCancelled",
    "ActivityStarted",
    "ActivityFailed",
    "ActivityRetried",
    "ActivityCancelled",
    "HeartbeatsReceived",
    "report of an old attempt",
    "unknown queue",
    "schedule_to_start",
    "start_to_close",
    "schedule_to_close",
    "heartbeat",
    "refused already_started",
    "refused closed",
    "refused ingress",
    "refused invalid_package",
    "refused route_active",
    "refused unavailable",
    "refused unknown_version",
    "refused unknown_workflow_type",
)
"""What some seed of a few hundred must have seen; what every seed must have is in `world.MUST_SUCCEED`."""

FEW_HUNDRED = 600


def live(seeds: Sequence[int]) -> Iterator[Ending]:
    """The endings of the seeds, in order."""
    workers = min(len(seeds), os.cpu_count() or 1)
    if workers <= 1:
        yield from map(run_seed, seeds)
        return
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(run_seed, seeds, chunksize=8)


def never_seen(endings: Sequence[Ending]) -> list[str]:
    """What should have happened somewhere and did not."""
    counts: Counter[str] = Counter()
    for ending in endings:
        counts.update(ending.counts)
    return [kind for kind in SOMEWHERE if not counts[kind]]


def told(ending: Ending) -> str:
    """A broken seed, with its last records."""
    return f"seed {ending.seed}: {ending.broken}\n{ending.story}\nagain: make sim SEED={ending.seed}"
