"""What is written to `aion.history`: the facts of runs and of partitions."""

from enum import StrEnum

from msgspec import Struct

from aion_common.ids import CommandId, Namespace, RunId, Version, WorkflowId, WorkflowType
from aion_common.records.commands import Command, MarkerBody
from aion_common.records.common import ActivityTimeouts, Payload, RetryPolicy
from aion_common.records.replies import Answer


class Failure(Struct, frozen=True, kw_only=True, gc=False):
    """Why a run failed. `kind` is a stable word (`error`, `crash`, `bad_result`, `bad_entry`, `limit`)."""

    kind: str
    message: str
    details: Payload | None


class WaitKind(StrEnum):
    """How a run waits: `signal` and `result` were reported by the SDK; `receive` was found by polling and is soft."""

    SIGNAL = "signal"
    RECEIVE = "receive"
    RESULT = "result"


class RunStarted(Struct, frozen=True, kw_only=True, gc=False):
    """The first event of every run, and its first input: it stays on `version` whatever the route says later.

    `run_timeout_ms`: the run is ended when it is open so long after this event's `recorded_at`; None: never."""

    workflow_type: WorkflowType
    version: Version
    input: Payload | None
    run_timeout_ms: int | None = None


class SignalReceived(Struct, frozen=True, kw_only=True, gc=False):
    """An input: a turn that observes this seq has the signal in its mailbox."""

    name: str
    payload: Payload | None


class TurnEnded(Struct, frozen=True, kw_only=True, gc=False):
    """The run had been given every input up to `observed_seq` and waits. `name`: of what it waits for in the SDK.
    Stands by itself for a turn without commands, else in the last of the turn's commands (`turn`)."""

    observed_seq: int
    wait: WaitKind
    name: str | None


class TimerStarted(Struct, frozen=True, kw_only=True, gc=False):
    """The run wants to know when `fire_at` has come (ms since the epoch)."""

    timer: int
    fire_at: int
    turn: TurnEnded | None


class TimerCancelled(Struct, frozen=True, kw_only=True, gc=False):
    """The run does not want to know any more."""

    timer: int
    turn: TurnEnded | None


class TimerFired(Struct, frozen=True, kw_only=True, gc=False):
    """An input: the timer's time has come."""

    timer: int


class TimeoutKind(StrEnum):
    """Which of an activity's times ran out."""

    SCHEDULE_TO_START = "schedule_to_start"
    START_TO_CLOSE = "start_to_close"
    SCHEDULE_TO_CLOSE = "schedule_to_close"
    HEARTBEAT = "heartbeat"


class ActivityScheduled(Struct, frozen=True, kw_only=True, gc=False):
    """The run calls an activity: a task of attempt 1 goes to `queue`. `has_queue` False: there is no such queue, so no task
    leaves, and the attempt fails."""

    activity: int
    activity_type: str
    queue: str
    input: Payload | None
    retry: RetryPolicy
    timeouts: ActivityTimeouts
    turn: TurnEnded | None
    has_queue: bool = True


class ActivityStarted(Struct, frozen=True, kw_only=True, gc=False):
    """A worker began this attempt; told only where a time-out counts from here."""

    activity: int
    attempt: int
    worker: str


class ActivityCompleted(Struct, frozen=True, kw_only=True, gc=False):
    """An input: the activity's result."""

    activity: int
    attempt: int
    result: Payload | None


class ActivityFailed(Struct, frozen=True, kw_only=True, gc=False):
    """An attempt failed. `retry_at`: when the next one begins (ms since the epoch); None: there is none, and the failure is an
    input."""

    activity: int
    attempt: int
    failure: Failure
    retry_at: int | None


class ActivityTimedOut(Struct, frozen=True, kw_only=True, gc=False):
    """An attempt, or the whole activity, took too long. `retry_at` as in `ActivityFailed`."""

    activity: int
    attempt: int
    timeout: TimeoutKind
    retry_at: int | None


class ActivityRetried(Struct, frozen=True, kw_only=True, gc=False):
    """A task of the next attempt goes out. `heartbeat`: what the attempts before told last."""

    activity: int
    attempt: int
    heartbeat: Payload | None


class ActivityCancelled(Struct, frozen=True, kw_only=True, gc=False):
    """The run does not want the result any more; the worker is told."""

    activity: int
    turn: TurnEnded | None


class RunCompleted(Struct, frozen=True, kw_only=True, gc=False):
    """Terminal; ends the turn that observed `observed_seq`."""

    observed_seq: int
    result: Payload


class RunFailed(Struct, frozen=True, kw_only=True, gc=False):
    """Terminal; ends the turn that observed `observed_seq`."""

    observed_seq: int
    failure: Failure


class RunBlocked(Struct, frozen=True, kw_only=True, gc=False):
    """Not terminal: the engine cannot go on with this run and says why; an operator can (its history is intact).

    `expected` and `found` are sentences: of a replay that diverged, what the history says and what the code did.
    """

    expected: str
    found: str


class RunCancelRequested(Struct, frozen=True, kw_only=True, gc=False):
    """An input: a turn that observes this seq raises `{aion_cancelled, Reason}` in the run's next wait. Still open at
    `deadline_ms` (ms since the epoch), the run is ended."""

    reason: str | None
    deadline_ms: int


class RunCancelled(Struct, frozen=True, kw_only=True, gc=False):
    """Terminal: the run gave up on the request to cancel; ends the turn that observed `observed_seq`. None: its time to do
    so was over."""

    observed_seq: int | None
    reason: str | None


class RunTerminated(Struct, frozen=True, kw_only=True, gc=False):
    """Terminal: ended from outside."""

    reason: str | None


class RunTimedOut(Struct, frozen=True, kw_only=True, gc=False):
    """Terminal: the run was open for longer than its `run_timeout_ms`."""

    timeout_ms: int


RunEvent = (
    RunStarted
    | SignalReceived
    | TurnEnded
    | RunCompleted
    | RunFailed
    | RunBlocked
    | RunCancelRequested
    | RunCancelled
    | RunTerminated
    | RunTimedOut
    | TimerStarted
    | TimerCancelled
    | TimerFired
    | ActivityScheduled
    | ActivityStarted
    | ActivityCompleted
    | ActivityFailed
    | ActivityTimedOut
    | ActivityRetried
    | ActivityCancelled
)

TurnCommand = TimerStarted | TimerCancelled | ActivityScheduled | ActivityCancelled
"""What a turn did, in its order; the events of a turn stand together."""


class OwnerEpoch(Struct, frozen=True, kw_only=True, gc=False):
    """A new owner took the partition; this record's own offset is the owner epoch. `clock_ms`: the owner's clock."""

    producer_id: int
    producer_epoch: int
    member: str
    clock_ms: int


class RecordedAnswer(Struct, frozen=True, kw_only=True, gc=False):
    """The answer of a command that made no event of a run, as durable as an event; its reply is owed like any send."""

    command_id: CommandId
    reply_partition: int | None
    answer: Answer


class Heartbeat(Struct, frozen=True, kw_only=True, gc=False):
    """A worker is still at this attempt; `details`: for the attempts behind it."""

    run_id: RunId
    activity: int
    attempt: int
    details: Payload | None


class HeartbeatsReceived(Struct, frozen=True, kw_only=True, gc=False):
    """Workers were still at these attempts when it was written. No event of a run, so none of its chain."""

    heartbeats: tuple[Heartbeat, ...]


class Progress(Struct, frozen=True, kw_only=True, gc=False):
    """First record of every batch. `commands_next`, `results_next`: the offset after the last command and result it decided.

    `sent_through`: history offset up to which (inclusive) every send was acknowledged; -1: none.
    """

    commands_next: int
    sent_through: int
    answers: tuple[RecordedAnswer, ...]
    results_next: int = 0


class CatalogApplied(Struct, frozen=True, kw_only=True, gc=False):
    """A marker of the catalog took effect at this position."""

    marker: MarkerBody


class StartParked(Struct, frozen=True, kw_only=True, gc=False):
    """A start that names a version which somebody wants to unload: decided after the verdict. `offset`: the command's."""

    offset: int
    command: Command


class StartReleased(Struct, frozen=True, kw_only=True, gc=False):
    """The parked start of this offset is decided, by what follows in the same batch."""

    offset: int


class DeadLettered(Struct, frozen=True, kw_only=True, gc=False):
    """The record at `offset` of `topic` (its name without the cluster's prefix) could not be used, for this reason; a copy is
    owed to `aion.deadletter`. Key and value are cut to `limits.DEAD_LETTER_BYTES_MAX`; `value_bytes`: what it had. Of a record
    of `aion.ingress` whose command was refused: the key is the workflow's, and there is no value."""

    topic: str
    partition: int
    offset: int
    reason: str
    key: bytes | None
    value: bytes | None
    value_bytes: int


PartitionEvent = OwnerEpoch | Progress | CatalogApplied | StartParked | StartReleased | DeadLettered | HeartbeatsReceived

Event = RunEvent | PartitionEvent


class Cause(Struct, frozen=True, kw_only=True, gc=False):
    """The command behind an event: where it stood, its id, and where its answer goes."""

    topic: str
    offset: int
    command_id: CommandId
    reply_partition: int | None


class HistoryRecord(Struct, frozen=True, kw_only=True, gc=False):
    """One record of `aion.history`. Events of a partition have empty ids, seq 0 and an empty chain.

    `recorded_at`: ms since the epoch by the owner's clock, never going back within a partition, but for `OwnerEpoch`.
    `owner_epoch`: -1 in `OwnerEpoch` itself. `chain`: first 16 bytes of BLAKE3(previous chain, seq as u64 big endian,
    recorded_at as u64 big endian, the event's Avro bytes); 16 zero bytes stand before seq 1. `cause`: None for turns and
    timers.
    """

    namespace: Namespace
    workflow_id: WorkflowId
    run_id: RunId
    seq: int
    recorded_at: int
    owner_epoch: int
    chain: bytes
    cause: Cause | None
    event: Event
