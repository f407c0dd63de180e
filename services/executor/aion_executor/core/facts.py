"""What the core may not look up itself."""

from msgspec import Struct


class Facts(Struct, frozen=True, kw_only=True, gc=False):
    """`now_ms`: the time of this batch, never before the partition's newest record. `number`: the partition's."""

    now_ms: int
    number: int
    payload_bytes_max: int
    pending_signals_max: int
    history_events_max: int
    history_bytes_max: int
    cancel_grace_ms: int
    parked_starts_max: int
