"""A run: one frozen value of bounded size, the fold of its history. Payloads stay in the history.

Rule of turns: a run is *given* its inputs (RunStarted, SignalReceived) only between turns. `observed` is the newest event
it had been given when its last recorded turn ended; `unobserved` are the inputs recorded since.
"""

from dataclasses import dataclass
from enum import StrEnum

from aion_common.ids import Namespace, RunId, Version, WorkflowId, WorkflowType
from aion_common.records.events import WaitKind


class RunStatus(StrEnum):
    """Where a run stands; the last two are terminal."""

    RUNNING = "running"
    BLOCKED = "blocked"
    COMPLETED = "completed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocked:
    """Why the engine cannot go on with a run: two sentences."""

    expected: str
    found: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """`seq`, `chain`, `history_bytes`: of the newest event, its chain, all records together. `wait`: how the last recorded
    turn ended, None before the first. `closed_at`: when the terminal event, which is event `seq`, was recorded."""

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
    closed_at: int | None = None


def is_open(run: Run) -> bool:
    """Whether a terminal event may still come."""
    return run.closed_at is None


def owes_turn(run: Run) -> bool:
    """Whether the run must be woken: it runs, and has inputs it was not given in any recorded turn."""
    return run.status is RunStatus.RUNNING and bool(run.unobserved)


def waits_softly(run: Run) -> bool:
    """Whether the run waits in a plain `receive`, out of which it may go on by itself."""
    return run.status is RunStatus.RUNNING and run.wait is WaitKind.RECEIVE
