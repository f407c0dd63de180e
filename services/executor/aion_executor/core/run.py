"""A run: one frozen value of bounded size, the fold of its history. Payloads stay in the history.

Rule of turns: a run is *given* its inputs (docs/glossary.md) only between turns. `observed` is
the newest event it had been given when its last recorded turn ended; `unobserved` are the inputs recorded since.
"""

from enum import StrEnum

from msgspec import Struct

from aion_common.ids import Namespace, RunId, Version, WorkflowId, WorkflowType
from aion_common.records.events import WaitKind
from aion_executor.core.activities import Activity, next_time


class RunStatus(StrEnum):
    """Where a run stands; all but the first two are terminal."""

    RUNNING = "running"
    BLOCKED = "blocked"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TERMINATED = "terminated"
    TIMED_OUT = "timed_out"


_RUNNING, _RECEIVE = RunStatus.RUNNING, WaitKind.RECEIVE
"""Looked up once: finding a member of an enum takes longer than all else that is asked of a run after each event."""


class Blocked(Struct, frozen=True, kw_only=True, array_like=True, gc=False):
    """Why the engine cannot go on with a run: two sentences."""

    expected: str
    found: str


class CancelRequest(Struct, frozen=True, kw_only=True, array_like=True, gc=False):
    """The run was asked to end, by event `seq`; at `deadline_ms` it is ended."""

    seq: int
    reason: str | None
    deadline_ms: int


class Run(Struct, frozen=True, kw_only=True, array_like=True, gc=False):
    """`seq`, `chain`, `history_bytes`: of the newest event, its chain, all records together. `wait`: how the last recorded
    turn ended, None before the first. `timeout_at`: when it is ended at the latest. `closed_at`: when the terminal event, which
    is event `seq`, was recorded. `timers`: those that did not fire yet, by number, and when they do. `activities`:
    those that did not end yet. `signals`: those among `unobserved`."""

    namespace: Namespace
    workflow_id: WorkflowId
    run_id: RunId
    workflow_type: WorkflowType
    version: Version
    status: RunStatus
    seq: int
    chain: bytes
    history_bytes: int
    started_at: int
    unobserved: tuple[int, ...]
    observed: int = 0
    wait: WaitKind | None = None
    wait_name: str | None = None
    blocked: Blocked | None = None
    timeout_at: int | None = None
    cancel: CancelRequest | None = None
    closed_at: int | None = None
    timers: dict[int, int] = {}
    activities: dict[int, Activity] = {}
    signals: tuple[int, ...] = ()


def is_open(run: Run) -> bool:
    """Whether a terminal event may still come."""
    return run.closed_at is None


def is_running(run: Run) -> bool:
    """Whether it goes on by turns: it is neither blocked nor closed."""
    return run.status is _RUNNING


def owes_turn(run: Run) -> bool:
    """Whether the run must be woken: it runs, and has inputs it was not given in any recorded turn."""
    return run.status is _RUNNING and bool(run.unobserved)


def waits_softly(run: Run) -> bool:
    """Whether the run waits in a plain `receive`, out of which it may go on by itself."""
    return run.status is _RUNNING and run.wait is _RECEIVE


def due_at(run: Run) -> int | None:
    """When time itself does something to the run next, if it is still open then: in milliseconds since the epoch."""
    if not is_open(run):
        return None
    due = run.timeout_at
    if run.cancel is not None and (due is None or run.cancel.deadline_ms < due):
        due = run.cancel.deadline_ms
    for fire_at in run.timers.values():
        if due is None or fire_at < due:
            due = fire_at
    for activity in run.activities.values():
        next_ms = next_time(activity)[0]
        if due is None or next_ms < due:
            due = next_ms
    return due
