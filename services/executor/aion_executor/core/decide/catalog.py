"""Markers of the catalog: each takes effect at its position, once."""

from aion_common.records.commands import MarkerBody, VersionClosing, VersionRouted
from aion_common.records.events import CatalogApplied
from aion_executor.core.decision import NOTHING, Decision
from aion_executor.core.partition import Partition


def apply_marker(partition: Partition, marker: MarkerBody) -> Decision:
    """Epochs of routes and attempts to unload only grow: a marker at or below the newest one applied is a repeat, and a
    verdict on another attempt than the one waited for says nothing."""
    match marker:
        case VersionRouted(route_epoch=route_epoch):
            is_news = route_epoch > partition.route_epoch
        case VersionClosing(attempt=attempt):
            is_news = attempt > partition.unload_attempt
        case _:
            is_news = partition.closing is not None and partition.closing.attempt == marker.attempt
    return Decision(events=(CatalogApplied(marker=marker),)) if is_news else NOTHING
