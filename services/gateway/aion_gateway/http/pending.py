"""What a run waits for, in descriptions."""

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict

_ANSWER = ConfigDict(frozen=True)


class PendingActivity(BaseModel):
    """An activity that did not end yet. `scheduled`: its task was sent, and no worker has told that it began (workers tell
    so only if a time-out counts from then, or by a heartbeat); `started`: one is at it; `waiting`: the next attempt begins at
    `retry_at`."""

    model_config = _ANSWER
    activity: int
    type: str
    queue: str
    attempt: int
    state: Literal["scheduled", "started", "waiting"]
    scheduled_at: int
    retry_at: int | None = None
    last_heartbeat_at: int | None = None


class PendingTimer(BaseModel):
    """A timer that did not fire yet."""

    model_config = _ANSWER
    timer: int
    fires_at: int


class PendingWork(BaseModel):
    """What a run waits for: of activities the first, and of timers the next, at most a hundred of each, with how many
    there are when they are more; signals that it was not given yet, and children, in numbers."""

    model_config = ConfigDict(frozen=True, extra="allow")
    activities: Sequence[PendingActivity] = ()
    activities_total: int | None = None
    timers: Sequence[PendingTimer] = ()
    timers_total: int | None = None
    children: int = 0
    signals: int = 0
