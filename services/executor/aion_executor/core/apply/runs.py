"""A run's beginning and end."""

from msgspec.structs import replace

from aion_common.records.events import HistoryRecord, RunBlocked, RunCompleted, RunFailed, RunStarted
from aion_executor.core.apply.turns import observed
from aion_executor.core.run import Blocked, Run, RunStatus


def started(record: HistoryRecord, event: RunStarted, value_bytes: int) -> Run:
    """The run of a RunStarted."""
    assert record.seq == 1, "RunStarted is the first event of its run"
    return Run(
        namespace=record.namespace,
        workflow_id=record.workflow_id,
        run_id=record.run_id,
        workflow_type=event.workflow_type,
        version=event.version,
        status=RunStatus.RUNNING,
        seq=1,
        chain=record.chain,
        history_bytes=value_bytes,
        started_at=record.recorded_at,
        timeout_at=None if event.run_timeout_ms is None else record.recorded_at + event.run_timeout_ms,
        unobserved=(1,),
    )


def extended(run: Run, record: HistoryRecord, value_bytes: int) -> Run:
    """The run with one more record, whatever it says."""
    return replace(run, seq=record.seq, chain=record.chain, history_bytes=run.history_bytes + value_bytes)


def ended(run: Run, event: RunCompleted | RunFailed, recorded_at: int) -> Run:
    """Terminal."""
    status = RunStatus.COMPLETED if isinstance(event, RunCompleted) else RunStatus.FAILED
    return closed(observed(run, event.observed_seq), status, recorded_at)


def closed(run: Run, status: RunStatus, recorded_at: int) -> Run:
    """The run after its terminal event."""
    return replace(run, status=status, closed_at=recorded_at, wait=None, wait_name=None, timers={}, activities={})


def blocked(run: Run, event: RunBlocked) -> Run:
    """Open, but not woken any more."""
    return replace(run, status=RunStatus.BLOCKED, blocked=Blocked(expected=event.expected, found=event.found))
