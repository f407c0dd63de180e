"""History records of a partition itself: of no run, without a chain."""

from aion_common.ids import NO_NAMESPACE, NO_RUN, NO_WORKFLOW
from aion_common.records.events import HistoryRecord, OwnerEpoch, PartitionEvent, Progress
from aion_common.wire import seal

PARTITION_KEY = b""
"""Key of a partition's own records."""


def partition_record(event: PartitionEvent, now_ms: int, owner_epoch: int) -> HistoryRecord:
    """The record of an event, at this time."""
    return HistoryRecord(
        namespace=NO_NAMESPACE,
        workflow_id=NO_WORKFLOW,
        run_id=NO_RUN,
        seq=0,
        recorded_at=now_ms,
        owner_epoch=owner_epoch,
        chain=b"",
        cause=None,
        event=event,
    )


def partition_value(event: OwnerEpoch | Progress, now_ms: int, owner_epoch: int) -> bytes:
    """The record value of an event that an owner writes about itself."""
    return seal(partition_record(event, now_ms, owner_epoch), None).value
