"""The one transaction of a command: everything a decision changes anywhere, all or nothing.

Its events in `aion.catalog`, the manifest in `aion.packages`, the routes in `aion.routes`, and the markers in every
partition of `aion.commands`. So a start that is sent after a deploy was answered finds the marker before it in its
partition. The loop commits what stands here and replies afterwards.
"""

from collections.abc import Sequence

from aion_catalog.core.decide import Decision, markers_of, routes_of
from aion_catalog.core.state import CatalogState
from aion_catalog.shell import PARTITION
from aion_common.kafka.api import Write
from aion_common.kafka.topics import Topics
from aion_common.records.catalog import CatalogRecord, PackageManifest, Route
from aion_common.wire import encode


def transactional_id(topics: Topics) -> str:
    """The id that all instances of the catalog share: making a producer with it fences the one before."""
    return f"{topics.prefix}catalog"


def writes_of(topics: Topics, command_partitions: int, state: CatalogState, decision: Decision, now_ms: int) -> Sequence[Write]:
    """The writes of a decision made on `state`, events first. Each marker is encoded once, however many partitions."""
    events = [
        Write(
            topic=topics.catalog,
            partition=PARTITION,
            key=None,
            value=encode(CatalogRecord(recorded_at=now_ms, event=event)),
        )
        for event in decision.events
    ]
    manifests = [] if decision.manifest is None else [_manifest(topics, decision.manifest)]
    routes = [_route(topics, route) for route in routes_of(decision)]
    markers = [
        Write(topic=topics.commands, partition=partition, key=None, value=value)
        for value in map(encode, markers_of(state, decision))
        for partition in range(command_partitions)
    ]
    return [*events, *manifests, *routes, *markers]


def _manifest(topics: Topics, manifest: PackageManifest) -> Write:
    key = f"manifest/{manifest.namespace}/{manifest.version}".encode()
    return Write(topic=topics.packages, partition=PARTITION, key=key, value=encode(manifest))


def _route(topics: Topics, route: Route) -> Write:
    key = f"{route.namespace}/{route.workflow_type}".encode()
    return Write(topic=topics.routes, partition=PARTITION, key=key, value=encode(route))
