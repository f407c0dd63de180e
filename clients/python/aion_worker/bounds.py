"""The worker's own limits, with their reasons; those it shares with the services are in `aion_common.limits`."""

from aion_common.limits import KIB

WORKER_RUNNING_DEFAULT = 100
"""Activities that a worker executes at once, if nobody says otherwise."""

WORKER_AHEAD_MAX = 10_000
"""Tasks of one partition that a worker begins behind the oldest one that has not ended: all of them are executed again when
it dies."""

WORKER_KNOWN_MAX = 10_000
"""Ended tasks that a worker remembers, and cancellations: what comes again is not executed again."""

WORKER_PARCEL_BYTES = 512 * KIB
"""Last reports that a worker sends together: no more are added then, so that they fill about one batch of records."""

WORKER_COMMIT_MS = 100
"""Between two commits of a worker: what ended since the last one is executed again when it dies."""

WORKER_RETRY_MS = 200
"""Wait of a worker before it asks Kafka again for what it was refused."""

WORKER_POLL_MS = 100
"""One long-poll of a worker: it notices so late that it is told to stop."""

WORKER_DRAIN_MS = 30_000
"""Activities that run when a worker is told to stop may take so long to end, if nobody says otherwise."""

WORKER_LAST_WORDS_MS = 2_000
"""Activities that are given up then may take so long to clean up."""

WORKER_BEAT_MS = 15_000
"""Details of heartbeats go out as if this were the time-out, where an activity has none."""

BEATS_PER_TIMEOUT = 3
"""Heartbeats in one heartbeat time-out: two may be lost."""

TRACEBACK_CHARACTERS_MAX = 8 * KIB
"""The end of a traceback, in the details of a failure: the place where it happened is there."""
