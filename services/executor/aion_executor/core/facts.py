"""What the core may not look up itself."""

from collections.abc import Collection

from msgspec import Struct

from aion_common import limits


class Facts(Struct, frozen=True, kw_only=True, gc=False):
    """`now_ms`: the time of this batch, never before the partition's newest record. `number`: the partition's.
    `waits_max`: timers and activities that a run may have open. `queues`: the task queues that exist."""

    now_ms: int
    number: int
    payload_bytes_max: int
    pending_signals_max: int
    history_events_max: int
    history_bytes_max: int
    cancel_grace_ms: int
    parked_starts_max: int
    decision_bytes_max: int
    waits_max: int
    queues: Collection[str]


def facts_at(now_ms: int, number: int, queues: Collection[str]) -> Facts:
    """With the limits of this release."""
    return Facts(
        now_ms=now_ms,
        number=number,
        payload_bytes_max=limits.PAYLOAD_BYTES_MAX,
        pending_signals_max=limits.PENDING_SIGNALS_MAX,
        history_events_max=limits.HISTORY_EVENTS_MAX,
        history_bytes_max=limits.HISTORY_BYTES_MAX,
        cancel_grace_ms=limits.CANCEL_GRACE_MS,
        parked_starts_max=limits.PARKED_STARTS_MAX,
        decision_bytes_max=limits.DECISION_BYTES_MAX,
        waits_max=limits.WAITS_MAX,
        queues=queues,
    )
