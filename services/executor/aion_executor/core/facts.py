"""What the core may not look up itself."""

from collections.abc import Collection

from msgspec import Struct


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
