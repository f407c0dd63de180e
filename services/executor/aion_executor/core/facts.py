"""What the core may not look up itself."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """`now_ms`: the time of this batch, never before the partition's newest record."""

    now_ms: int
    payload_bytes_max: int
    pending_signals_max: int
    history_events_max: int
    history_bytes_max: int
