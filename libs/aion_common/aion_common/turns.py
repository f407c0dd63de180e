"""What workflow code asks for during a turn: the words between the VM seam and the core. Ids count from 1 in each run, for
timers and activities together, in the order of the calls of its code, so a replay gives the same."""

from msgspec import Struct

from aion_common.records.common import ActivityTimeouts, Payload, RetryPolicy


class StartTimer(Struct, frozen=True, kw_only=True, gc=False):
    """Tell the run when so much time has passed."""

    timer: int
    delay_ms: int


class CancelTimer(Struct, frozen=True, kw_only=True, gc=False):
    """The run does not want to know any more."""

    timer: int


class ScheduleActivity(Struct, frozen=True, kw_only=True, gc=False):
    """Have a worker of the queue do something."""

    activity: int
    activity_type: str
    queue: str
    input: Payload | None
    retry: RetryPolicy
    timeouts: ActivityTimeouts


class CancelActivity(Struct, frozen=True, kw_only=True, gc=False):
    """The run does not want the result any more."""

    activity: int


Request = StartTimer | CancelTimer | ScheduleActivity | CancelActivity
