"""What a partition knows of the catalog, and the starts that wait for its verdict."""

from typing import assert_never

from msgspec.structs import replace

from aion_common.records.commands import MarkerBody, VersionClosing, VersionKept, VersionRouted, VersionUnloaded
from aion_common.records.events import StartParked, StartReleased
from aion_executor.core.partition import Closing, LoadedVersion, Partition, route_key, version_key


def applied(partition: Partition, marker: MarkerBody) -> Partition:
    """The partition after a marker that was news."""
    match marker:
        case VersionRouted():
            return _routed(partition, marker)
        case VersionClosing(namespace=namespace, version=version, attempt=attempt):
            closing = Closing(namespace=namespace, version=version, attempt=attempt)
            return replace(partition, closing=closing, unload_attempt=attempt)
        case VersionKept():
            return replace(partition, closing=None)
        case VersionUnloaded(namespace=namespace, version=version):
            gone = version_key(namespace, version)
            rest = {key: loaded for key, loaded in partition.versions.items() if key != gone}
            return replace(partition, closing=None, versions=rest)
        case _:
            assert_never(marker)


def _routed(partition: Partition, marker: VersionRouted) -> Partition:
    """The version is loaded, and its routed types are routed to it."""
    loaded = LoadedVersion(version=marker.version, types=marker.types, package=marker.package, timeouts=marker.timeouts)
    routes = {route_key(marker.namespace, workflow_type): marker.version for workflow_type in marker.routed_types}
    return replace(
        partition,
        versions={**partition.versions, version_key(marker.namespace, marker.version): loaded},
        routes={**partition.routes, **routes},
        route_epoch=marker.route_epoch,
    )


def parked(partition: Partition, event: StartParked) -> Partition:
    """One more start waits."""
    return replace(partition, parked=(*partition.parked, event.offset))


def released(partition: Partition, event: StartReleased) -> Partition:
    """The start waits no more."""
    return replace(partition, parked=tuple(offset for offset in partition.parked if offset != event.offset))
