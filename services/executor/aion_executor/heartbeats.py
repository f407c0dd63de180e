"""Heartbeats that a batch has taken: the newest of each attempt. They are recorded before it is decided what time
has done, and at the end of the batch, for those attempts that have not ended by then."""

from dataclasses import dataclass, field

from aion_common.limits import HEARTBEAT_BYTES_MAX
from aion_common.records.events import Heartbeat, HeartbeatsReceived
from aion_common.records.tasks import TaskHeartbeat, TaskReport
from aion_executor.changes import Lookup
from aion_executor.core.decide.activities import concerned
from aion_executor.core.run import Run

EMPTY_BYTES = 64
"""What one takes beside its details."""


@dataclass(slots=True)
class Heartbeats:
    """By attempt."""

    _newest: dict[tuple[str, ...], tuple[TaskReport, Heartbeat]] = field(default_factory=dict)

    def take(self, report: TaskReport, body: TaskHeartbeat) -> int:
        """Keep one; returns the bytes that it may take. Details over the limit are left out."""
        details = body.details
        if details is not None and len(details.data) > HEARTBEAT_BYTES_MAX:
            details = None
        attempt = (report.namespace, report.workflow_id, report.run_id, str(report.activity), str(report.attempt))
        beat = Heartbeat(run_id=report.run_id, activity=report.activity, attempt=report.attempt, details=details)
        self._newest[attempt] = report, beat
        return EMPTY_BYTES + (0 if details is None else len(details.content_type) + len(details.data))

    def event(self, state: Lookup) -> HeartbeatsReceived | None:
        """What the batch records of those taken since the last event, if anything: of attempts that their runs wait for."""
        newest = self._newest.values()
        present = tuple(beat for report, beat in newest if concerned(state.run(beat.run_id), report) is not None)
        self._newest.clear()
        return HeartbeatsReceived(heartbeats=present) if present else None


def is_present(run: Run | None, beat: Heartbeat) -> bool:
    """Whether the attempt is the one that the run waits for."""
    known = None if run is None else run.activities.get(beat.activity)
    return known is not None and known.task_at is not None and known.attempt == beat.attempt
