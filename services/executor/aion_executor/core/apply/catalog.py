"""What a partition knows of the catalog."""

from dataclasses import replace

from aion_common.records.commands import MarkerBody
from aion_executor.core.partition import LoadedVersion, Partition, route_key, version_key


def applied(partition: Partition, marker: MarkerBody) -> Partition:
    """The version is loaded, and its routed types are routed to it."""
    loaded = LoadedVersion(version=marker.version, types=marker.types, package=marker.package)
    routes = {route_key(marker.namespace, workflow_type): marker.version for workflow_type in marker.routed_types}
    return replace(
        partition,
        versions={**partition.versions, version_key(marker.namespace, marker.version): loaded},
        routes={**partition.routes, **routes},
        route_epoch=marker.route_epoch,
    )
