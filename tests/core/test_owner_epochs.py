"""What the event of a take-over says of its partition, and what not."""

import pytest

from aion_common.ids import NO_NAMESPACE, NO_RUN, NO_WORKFLOW
from aion_common.records.events import HistoryRecord, OwnerEpoch
from aion_executor.core.apply import apply_to_partition
from aion_executor.core.partition import Partition


@pytest.mark.parametrize("recorded_at", [1_000, 99_000])
def test_owner_epoch_does_not_move_the_time_of_its_partition(recorded_at: int) -> None:
    """Behind: the owner before went on meanwhile. Ahead: a clock that is too wrong to own."""
    event = OwnerEpoch(producer_id=7, producer_epoch=1, member="m", clock_ms=recorded_at)
    record = HistoryRecord(
        namespace=NO_NAMESPACE,
        workflow_id=NO_WORKFLOW,
        run_id=NO_RUN,
        seq=0,
        recorded_at=recorded_at,
        owner_epoch=-1,
        chain=b"",
        cause=None,
        event=event,
    )
    after = apply_to_partition(Partition(recorded_at=5_000), record, 3)
    assert (after.owner_epoch, after.producer_id, after.recorded_at) == (3, 7, 5_000)
