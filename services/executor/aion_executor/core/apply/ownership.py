"""How far a partition has come, and who owns it."""

from msgspec.structs import replace

from aion_common.records.events import OwnerEpoch, Progress
from aion_executor.core.partition import Partition


def epoch_began(partition: Partition, event: OwnerEpoch, offset: int) -> Partition:
    """The record's own offset is the owner epoch. It does not move time: it is written before its owner has read what the
    one before wrote last, and by clocks that turn out too wrong to own."""
    return replace(partition, owner_epoch=offset, producer_id=event.producer_id)


def progressed(partition: Partition, event: Progress, recorded_at: int) -> Partition:
    """Offsets and watermark only grow."""
    assert event.commands_next >= partition.commands_next, "decided commands stay decided"
    return replace(
        partition,
        commands_next=event.commands_next,
        results_next=max(partition.results_next, event.results_next),
        sent_through=max(partition.sent_through, event.sent_through),
        recorded_at=recorded_at,
    )
