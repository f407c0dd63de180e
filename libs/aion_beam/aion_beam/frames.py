"""Records between Python and the host inside a VM. Pure data; schemas/beam/frames.md is the contract.

`aion_beam.frame_codec` has their bytes. The Erlang twin is aion_frames.erl.
"""

from msgspec import Struct

from aion_common.records.events import (
    ActivityCompleted,
    ActivityFailed,
    ActivityTimedOut,
    TimerFired,
    TurnCommand,
    WaitKind,
)
from aion_common.turns import Request


class Signal(Struct, frozen=True, kw_only=True, gc=False):
    """An input: `{aion_signal, Name, Payload}` in the run's mailbox; `payload` is JSON text, `null` when there is none."""

    name: str
    payload: bytes


class Cancel(Struct, frozen=True, kw_only=True, gc=False):
    """An input: `{aion_cancelled, Reason}` is raised in the run's next call that may wait; `reason` None is `undefined`."""

    reason: str | None


Input = Signal | Cancel | TimerFired | ActivityCompleted | ActivityFailed | ActivityTimedOut
"""What a run is given between its turns. The last four are the events themselves, the final ones only (`replay.is_input`)."""


class Wait(Struct, frozen=True, kw_only=True, gc=False):
    """How a recorded turn ended. `name`: of the signal, or of what else the SDK waited for."""

    kind: WaitKind
    name: str | None


class Turn(Struct, frozen=True, kw_only=True, gc=False):
    """One turn of a run: `inputs` are those first given at it, up to the event `observed_seq`.

    `now_ms`: recorded_at of the newest event given. `commands`: what it did, as recorded, in its order; `end` None: not
    recorded yet, live.
    """

    observed_seq: int
    now_ms: int
    inputs: tuple[Input, ...]
    end: Wait | None
    commands: tuple[TurnCommand, ...] = ()


class RunInfo(Struct, frozen=True, kw_only=True, gc=False):
    """What `aion_flow:info/0` tells a run about itself."""

    namespace: str
    workflow_id: str
    run_id: str
    workflow_type: str
    version: str


class Load(Struct, frozen=True, kw_only=True, gc=False):
    """Load modules `(name, part of the beam)`, answered by `Answer`. `more`: a further one of this request follows."""

    request: int
    modules: tuple[tuple[str, bytes], ...]
    more: bool


class Check(Struct, frozen=True, kw_only=True, gc=False):
    """Inspect modules for a deploy; otherwise as `Load`. The answer's value: [OTP release, wakes itself, warnings]."""

    request: int
    modules: tuple[tuple[str, bytes], ...]
    more: bool


class Start(Struct, frozen=True, kw_only=True, gc=False):
    """Start a run and replay its recorded turns. `more`: a `History` with further ones follows, replay begins after it."""

    activation: int
    module: str
    function: str
    argument: bytes
    info: RunInfo
    turns: tuple["Turn | PartOfTurn", ...]
    more: bool


class History(Struct, frozen=True, kw_only=True, gc=False):
    """Further turns of a `Start`."""

    activation: int
    turns: tuple["Turn | PartOfTurn", ...]
    more: bool


class PartOfTurn(Struct, frozen=True, kw_only=True, gc=False):
    """The first inputs of a turn too large for one record; the next turn in order brings the rest."""

    observed_seq: int
    now_ms: int
    inputs: tuple[Input, ...]


class Deliver(Struct, frozen=True, kw_only=True, gc=False):
    """The inputs of the next turn. `more`: a further record brings the rest of them."""

    activation: int
    observed_seq: int
    now_ms: int
    inputs: tuple[Input, ...]
    more: bool


class Kill(Struct, frozen=True, kw_only=True, gc=False):
    """End the run's process; nothing more is sent for the activation."""

    activation: int


class Ping(Struct, frozen=True, kw_only=True, gc=False):
    """Answered by `Pong`, also while every run is busy."""

    request: int


class Query(Struct, frozen=True, kw_only=True, gc=False):
    """Call the workflow's `handle_query` beside the run, once its replay has caught up; answered by `Queried` if the
    activation lives so long. `arguments`: JSON text."""

    activation: int
    query: int
    name: str
    arguments: bytes


class Ready(Struct, frozen=True, kw_only=True, gc=False):
    """The VM has booted."""

    protocol: int
    otp_release: str


class Answer(Struct, frozen=True, kw_only=True, gc=False):
    """The answer to a request; `value` is a sentence when not `ok`."""

    request: int
    ok: bool
    value: object


class Waiting(Struct, frozen=True, kw_only=True, gc=False):
    """A turn ended: the run waits, having been given the events up to `observed_seq`. `requests`: of this turn, in order."""

    activation: int
    observed_seq: int
    kind: WaitKind
    name: str | None
    requests: tuple[Request, ...] = ()


class Completed(Struct, frozen=True, kw_only=True, gc=False):
    """The run ended with a result, JSON text. Nothing more is sent for the activation."""

    activation: int
    observed_seq: int
    json: bytes


class Failed(Struct, frozen=True, kw_only=True, gc=False):
    """The run failed; `kind` as in `aion_common.records.events.Failure`, `details` JSON text. Nothing more is sent."""

    activation: int
    observed_seq: int
    kind: str
    message: str
    details: bytes | None


class Cancelled(Struct, frozen=True, kw_only=True, gc=False):
    """The run did not catch what a request to cancel raised. Nothing more is sent."""

    activation: int
    observed_seq: int
    reason: str | None


class Diverged(Struct, frozen=True, kw_only=True, gc=False):
    """The code did not do what the history says, both as sentences. The process is gone, nothing more is sent."""

    activation: int
    expected: str
    found: str


class CaughtUp(Struct, frozen=True, kw_only=True, gc=False):
    """Every recorded turn was replayed; the run is back in its recorded wait."""

    activation: int


class Pong(Struct, frozen=True, kw_only=True, gc=False):
    """The answer to `Ping`."""

    request: int


class QueryFailed(Struct, frozen=True, kw_only=True, gc=False):
    """Why a query has no answer, as a sentence."""

    message: str


QueryAnswer = bytes | QueryFailed
"""JSON text, or why there is none."""


class Queried(Struct, frozen=True, kw_only=True, gc=False):
    """The answer to `Query`."""

    activation: int
    query: int
    answer: QueryAnswer


ToVm = Load | Check | Start | History | Deliver | Kill | Ping | Query
Outcome = Waiting | Completed | Failed | Cancelled | Diverged | CaughtUp
FromVm = Ready | Answer | Outcome | Pong | Queried
