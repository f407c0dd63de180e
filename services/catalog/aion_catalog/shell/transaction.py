"""The one transaction of a decision: everything it changes anywhere, all or nothing.

Its events in `aion.catalog`, manifests and what is deleted in `aion.packages`, the routes in `aion.routes`, and the markers
in every partition of `aion.commands`. So a start that is sent after a deploy was answered finds the marker before it in its
partition. The loop commits what stands here and replies afterwards.
"""

from collections.abc import Sequence

from aion_catalog.core.decide import routes_of
from aion_catalog.core.decision import Decision
from aion_catalog.core.state import CatalogState, own_upload
from aion_catalog.shell import PARTITION
from aion_common.ids import Namespace, Version
from aion_common.kafka.api import Write
from aion_common.kafka.topics import Topics
from aion_common.package.chunks import chunk_key
from aion_common.records.catalog import CatalogRecord, PackageManifest, Route, VersionRemoved
from aion_common.wire import encode


def transactional_id(topics: Topics) -> str:
    """The id that all instances of the catalog share: making a producer with it fences the one before."""
    return f"{topics.prefix}catalog"


def recorded(decision: Decision, now_ms: int) -> tuple[CatalogRecord, ...]:
    """The decision's events as they are written and folded."""
    return tuple(CatalogRecord(recorded_at=now_ms, event=event) for event in decision.events)


def writes_of(topics: Topics, command_partitions: int, state: CatalogState, decision: Decision, now_ms: int) -> Sequence[Write]:
    """The writes of a decision made on `state`, events first. Each marker is encoded once, however many partitions."""
    events = [
        Write(topic=topics.catalog, partition=PARTITION, key=None, value=encode(record))
        for record in recorded(decision, now_ms)
    ]
    manifests = [] if decision.manifest is None else [_manifest(topics, decision.manifest)]
    deleted = [
        Write(topic=topics.packages, partition=PARTITION, key=key, value=None)
        for event in decision.events
        if isinstance(event, VersionRemoved)
        for key in _keys_of(state, event)
    ]
    routes = [_route(topics, route) for route in routes_of(decision)]
    markers = [
        Write(topic=topics.commands, partition=partition, key=None, value=value)
        for value in map(encode, decision.markers)
        for partition in range(command_partitions)
    ]
    return [*events, *manifests, *deleted, *routes, *markers]


def _keys_of(state: CatalogState, removed: VersionRemoved) -> Sequence[bytes]:
    """Of what lies in `aion.packages` for this version alone."""
    package = own_upload(state, removed.namespace, removed.version)
    chunks = [] if package is None else [chunk_key(package.upload_id, index) for index in range(package.chunks)]
    return [_manifest_key(removed.namespace, removed.version), *chunks]


def _manifest_key(namespace: Namespace, version: Version) -> bytes:
    return f"manifest/{namespace}/{version}".encode()


def _manifest(topics: Topics, manifest: PackageManifest) -> Write:
    key = _manifest_key(manifest.namespace, manifest.version)
    return Write(topic=topics.packages, partition=PARTITION, key=key, value=encode(manifest))


def _route(topics: Topics, route: Route) -> Write:
    key = f"{route.namespace}/{route.workflow_type}".encode()
    return Write(topic=topics.routes, partition=PARTITION, key=key, value=encode(route))
