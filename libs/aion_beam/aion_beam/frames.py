"""Records between Python and the host inside a VM. Pure data; schemas/beam/frames.md is the contract.

`aion_beam.frame_codec` has their bytes. The Erlang twin is aion_frames.erl.
"""

from dataclasses import dataclass

from aion_common.records.events import (
    ActivityCompleted,
    ActivityFailed,
    ActivityTimedOut,
    TimerFired,
    TurnCommand,
    WaitKind,
)
from aion_common.turns import Request


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """An input: `{aion_signal, Name, Payload}` in the run's mailbox; `payload` is JSON text, `null` when there is none."""

    name: str
    payload: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel:
    """An input: `{aion_cancelled, Reason}` is raised in the run's next call that may wait; `reason` None is `undefined`."""

    reason: str | None


Input = Signal | Cancel | TimerFired | ActivityCompleted | ActivityFailed | ActivityTimedOut
"""What a run is given between its turns. The last four are the events themselves, the final ones only (`replay.is_input`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """How a recorded turn ended. `name`: of the signal, or of what else the SDK waited for."""

    kind: WaitKind
    name: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One turn of a run: `inputs` are those first given at it, up to the event `observed_seq`.

    `now_ms`: recorded_at of the newest event given. `commands`: what it did, as recorded, in its order; `end` None: not
    recorded yet, live.
    """

    observed_seq: int
    now_ms: int
    inputs: tuple[Input, ...]
    end: Wait | None
    commands: tuple[TurnCommand, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInfo:
    """What `aion_flow:info/0` tells a run about itself."""

    namespace: str
    workflow_id: str
    run_id: str
    workflow_type: str
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Load modules `(name, part of the beam)`, answered by `Answer`. `more`: a further one of this request follows."""

    request: int
    modules: tuple[tuple[str, bytes], ...]
    more: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """Inspect modules for a deploy; otherwise as `Load`. The answer's value: [OTP release, wakes itself, warnings]."""

    request: int
    modules: tuple[tuple[str, bytes], ...]
    more: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Start a run and replay its recorded turns. `more`: a `History` with further ones follows, replay begins after it."""

    activation: int
    module: str
    function: str
    argument: bytes
    info: RunInfo
    turns: tuple["Turn | PartOfTurn", ...]
    more: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """Further turns of a `Start`."""

    activation: int
    turns: tuple["Turn | PartOfTurn", ...]
    more: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PartOfTurn:
    """The first inputs of a turn too large for one record; the next turn in order brings the rest."""

    observed_seq: int
    now_ms: int
    inputs: tuple[Input, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Deliver:
    """The inputs of the next turn. `more`: a further record brings the rest of them."""

    activation: int
    observed_seq: int
    now_ms: int
    inputs: tuple[Input, ...]
    more: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """End the run's process; nothing more is sent for the activation."""

    activation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ping:
    """Answered by `Pong`, also while every run is busy."""

    request: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Call the workflow's `handle_query` beside the run, once its replay has caught up; answered by `Queried` if the
    activation lives so long. `arguments`: JSON text."""

    activation: int
    query: int
    name: str
    arguments: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """The VM has booted."""

    protocol: int
    otp_release: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The answer to a request; `value` is a sentence when not `ok`."""

    request: int
    ok: bool
    value: object


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A turn ended: the run waits, having been given the events up to `observed_seq`. `requests`: of this turn, in order."""

    activation: int
    observed_seq: int
    kind: WaitKind
    name: str | None
    requests: tuple[Request, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    """The run ended with a result, JSON text. Nothing more is sent for the activation."""

    activation: int
    observed_seq: int
    json: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The run failed; `kind` as in `aion_common.records.events.Failure`, `details` JSON text. Nothing more is sent."""

    activation: int
    observed_seq: int
    kind: str
    message: str
    details: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancelled:
    """The run did not catch what a request to cancel raised. Nothing more is sent."""

    activation: int
    observed_seq: int
    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Diverged:
    """The code did not do what the history says, both as sentences. The process is gone, nothing more is sent."""

    activation: int
    expected: str
    found: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CaughtUp:
    """Every recorded turn was replayed; the run is back in its recorded wait."""

    activation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pong:
    """The answer to `Ping`."""

    request: int


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryFailed:
    """Why a query has no answer, as a sentence."""

    message: str


QueryAnswer = bytes | QueryFailed
"""JSON text, or why there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Queried:
    """The answer to `Query`."""

    activation: int
    query: int
    answer: QueryAnswer


ToVm = Load | Check | Start | History | Deliver | Kill | Ping | Query
Outcome = Waiting | Completed | Failed | Cancelled | Diverged | CaughtUp
FromVm = Ready | Answer | Outcome | Pong | Queried
