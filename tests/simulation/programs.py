"""Workflows of the simulation: small deterministic programs, as generators.

A program yields how it waits: `Asks(name)`, an SDK wait for a signal, which gives its payload and may raise `AskedToCancel`;
`Awaits(numbers)`, an SDK wait for timers and activities, which gives the first of them that has come and may raise, too; or
`Receives(times_out)`, a plain receive, which gives the next message whatever its name, or None when its own time-out was
first. It also yields what it asks for (`Request`), and goes on at once. It returns its result as JSON bytes, raises ValueError
to fail, lets `AskedToCancel` out to give up, or raises `KillsVm`.
"""

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from aion_common.ids import Version, WorkflowType
from aion_common.records.common import ActivityTimeouts, Backoff, RetryPolicy, json_payload
from aion_common.turns import CancelActivity, CancelTimer, Request, ScheduleActivity, StartTimer


@dataclass(frozen=True, slots=True)
class Asks:
    """Waits for the signal of this name."""

    name: str


@dataclass(frozen=True, slots=True)
class Receives:
    """Waits in a plain receive; `times_out`: not for ever."""

    times_out: bool = False


@dataclass(frozen=True, slots=True)
class Awaits:
    """Waits for the first of these timers and activities."""

    numbers: tuple[int, ...]

    @property
    def name(self) -> str:
        """What the history says of it."""
        return " ".join(str(number) for number in self.numbers)


class AskedToCancel(Exception):
    """The run was asked to cancel."""

    def __init__(self, reason: str | None) -> None:
        super().__init__(reason)
        self.reason = reason


class KillsVm(Exception):
    """The code takes its VM with it."""


Message = tuple[str, bytes]


@dataclass(frozen=True, slots=True)
class Come:
    """A timer or activity that has come, and the result if there is one."""

    number: int
    result: bytes | None


Got = bytes | Message | Come | None
Wait = Asks | Awaits | Receives
Program = Generator[Wait | Request, Got, bytes]

EARLY, LATE = "default", "late"
"""The task queues: one that is there, and one that somebody creates some day."""

STEP, SURE = "step", "sure"
"""What workers can do; it is not for ever that they fail at the second."""

CLOSE_MS = 13 * 24 * 3_600_000
"""Longer than all leaps of time together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What a program knows of itself. `activation`: what code cannot know, and what makes it differ from itself if it does."""

    version: Version
    run_id: str
    argument: bytes
    activation: int


def quick(start: Start) -> Program:
    """Completes in its first turn."""
    return b'"%s"' % start.version[:1].encode()
    yield Receives()


def fails(start: Start) -> Program:
    """Fails in its first turn."""
    raise ValueError(start.version[:1])
    yield Receives()


def pair(start: Start) -> Program:
    """Waits for `a`, then for `b`; returns both."""
    del start
    first = yield Asks("a")
    second = yield Asks("b")
    assert isinstance(first, bytes)
    assert isinstance(second, bytes)
    return b"[" + first + b"," + second + b"]"


def mailbox(start: Start) -> Program:
    """Receives some messages, whatever their names, then asks for `b`."""
    names = []
    for _ in range(1 + int(start.run_id[0], 16) % 3):
        got = yield Receives()
        assert isinstance(got, tuple)
        names.append(got[0])
    yield Asks("b")
    return b'"%s"' % "".join(names).encode()


def impatient(start: Start) -> Program:
    """Goes on by itself out of a receive, once or twice; then completes, or asks for `a`."""
    went_on = 0
    for _ in range(1 + int(start.run_id[0], 16) % 2):
        if (yield Receives(times_out=True)) is None:
            went_on += 1
    if int(start.run_id[1], 16) % 4:
        yield Asks("a")
        yield Asks("b")
    return b"%d" % went_on


def killer(start: Start) -> Program:
    """Takes its VM with it whenever it gets `b`."""
    yield Asks("a")
    yield Asks("b")
    raise KillsVm(start.run_id)


def moody(start: Start) -> Program:
    """Is not deterministic: waits for another signal each time it is replayed."""
    yield Asks("ab"[start.activation % 2])
    yield Asks("ab"[start.activation % 2])
    return b"0"


def tidy(start: Start) -> Program:
    """Waits for ever for `never`; asked to cancel, cleans up, for which it needs `b`, and gives up."""
    del start
    try:
        yield Asks("never")
    except AskedToCancel:
        yield Asks("b")
        raise
    return b"0"


def stubborn(start: Start) -> Program:
    """Will not be cancelled and does not end."""
    while True:
        try:
            yield Asks("never")
        except AskedToCancel:
            continue


def solo(start: Start) -> Program:
    """As `tidy`, in packages that only the thorough client touches."""
    return tidy(start)


def call(
    number: int,
    *,
    queue: str = EARLY,
    attempts: int | None = 3,
    start_ms: int | None = 60_000,
    close_ms: int = 120_000,
) -> ScheduleActivity:
    """An activity with all the time-outs there are."""
    retry = RetryPolicy(
        attempts=attempts,
        backoff=Backoff.EXPONENTIAL,
        initial_ms=100,
        max_ms=1_000,
        jitter_percent=10,
        non_retryable=("broken",),
    )
    timeouts = ActivityTimeouts(
        schedule_to_start_ms=start_ms,
        start_to_close_ms=2_000,
        schedule_to_close_ms=close_ms,
        heartbeat_ms=500,
    )
    return ScheduleActivity(
        activity=number,
        activity_type=STEP if attempts else SURE,
        queue=queue,
        input=json_payload(b"%d" % number),
        retry=retry,
        timeouts=timeouts,
    )


def sleeps(start: Start) -> Program:
    """Waits for half a second."""
    del start
    yield StartTimer(timer=1, delay_ms=500)
    yield Awaits((1,))
    return b"1"


def calls(start: Start) -> Program:
    """Calls two activities, one after the other."""
    found = []
    for number in (1, 2):
        yield call(
            number,
            queue=LATE if start.run_id[number] in "01" else EARLY,
            start_ms=60 if start.run_id[3] in "0123" else 60_000,
            close_ms=700 if start.run_id[4] in "0123" else 120_000,
        )
        got = yield Awaits((number,))
        assert isinstance(got, Come)
        found.append(got.result or b"null")
    return b"[" + b",".join(found) + b"]"


def races(start: Start) -> Program:
    """Calls an activity and gives up on it after a while, or when it is asked to cancel; then waits for `b`."""
    yield call(1)
    yield StartTimer(timer=2, delay_ms=20 << int(start.run_id[0], 16) % 8)
    try:
        got = yield Awaits((1, 2))
    except AskedToCancel:
        yield CancelActivity(activity=1)
        yield Asks("b")
        raise
    assert isinstance(got, Come)
    yield CancelTimer(timer=2) if got.number == 1 else CancelActivity(activity=1)
    yield Asks("b")
    return b"%d" % got.number


def sure(start: Start) -> Program:
    """Sleeps, and calls an activity until it succeeds."""
    del start
    yield StartTimer(timer=1, delay_ms=20)
    yield call(2, attempts=None, start_ms=None, close_ms=CLOSE_MS)
    yield Awaits((1,))
    got = yield Awaits((2,))
    assert isinstance(got, Come)
    return got.result or b"null"


PROGRAMS: Mapping[WorkflowType, Callable[[Start], Program]] = MappingProxyType(
    {
        WorkflowType(program.__name__): program
        for program in (quick, fails, pair, mailbox, impatient, killer, moody, tidy, stubborn, solo, sleeps, calls, races, sure)
    }
)

ON_ALL = tuple(WorkflowType(name) for name in ("quick", "pair", "mailbox", "fails", "sleeps", "calls", "races"))
"""Types that every shared release provides."""

GO_ON_BY_THEMSELVES = frozenset({"impatient"})
"""Types that wait in a plain receive with time-outs of their own only."""

MAY_BE_BLOCKED = frozenset({"moody"})
"""Types whose replay may differ."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A package: its version, what it provides, and whether its code waits with time-outs of its own."""

    version: Version
    types: tuple[WorkflowType, ...]
    wakes_itself: bool


def _release(digit: str, *types: WorkflowType | str) -> Release:
    provided = tuple(WorkflowType(name) for name in types)
    return Release(version=Version(digit * 64), types=provided, wakes_itself="impatient" in types)


RELEASES = (
    _release("1", *ON_ALL, "killer"),
    _release("2", *ON_ALL, "impatient", "tidy"),
    _release("3", *ON_ALL, "moody", "stubborn"),
    _release("4", *ON_ALL, "impatient", "killer", "tidy"),
    _release("5", "solo"),
    _release("6", "solo", "sure"),
)

OFTEN: Mapping[str, int] = MappingProxyType({"pair": 2, "mailbox": 2, "impatient": 6, "tidy": 2, "calls": 4, "races": 3})
"""How much more often than once these types are started where they are provided."""

SHARED = 4
"""So many of the releases are everybody's."""
