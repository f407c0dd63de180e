"""Markers of the catalog: each takes effect at its position, once."""

from aion_common.records.commands import MarkerBody
from aion_common.records.events import CatalogApplied
from aion_executor.core.decision import NOTHING, Decision
from aion_executor.core.partition import Partition


def apply_marker(partition: Partition, marker: MarkerBody) -> Decision:
    """Epochs of routes only grow: a marker at or below the newest one applied is a repeat."""
    if marker.route_epoch <= partition.route_epoch:
        return NOTHING
    return Decision(events=(CatalogApplied(marker=marker),))
