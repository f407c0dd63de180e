"""A partition's own small state: what it knows of the catalog, and how far it has come. The fold of its own events."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from aion_common.ids import Namespace, Version, WorkflowType
from aion_common.limits import LOADED_VERSIONS_NAMED_MAX
from aion_common.records.common import PackageRef


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedVersion:
    """A version that runs may start on, with all workflow types it provides."""

    version: Version
    types: tuple[WorkflowType, ...]
    package: PackageRef


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """`routes` and `versions` are keyed by `route_key` and `version_key`. `owner_epoch`: offset of the newest OwnerEpoch,
    written by `producer_id`; both -1 before the first. `sent_through`: history offset up to which every send is known to
    have been acknowledged. `recorded_at`: time of the newest batch."""

    routes: Mapping[str, Version] = field(default_factory=dict)
    versions: Mapping[str, LoadedVersion] = field(default_factory=dict)
    route_epoch: int = 0
    owner_epoch: int = -1
    producer_id: int = -1
    commands_next: int = 0
    sent_through: int = -1
    recorded_at: int = 0


def route_key(namespace: Namespace, workflow_type: WorkflowType) -> str:
    """Key of `Partition.routes`. A namespace has no slash, so keys never collide."""
    return f"{namespace}/{workflow_type}"


def version_key(namespace: Namespace, version: Version) -> str:
    """Key of `Partition.versions`."""
    return f"{namespace}/{version}"


def loaded_versions(partition: Partition, namespace: Namespace) -> tuple[Version, ...]:
    """The versions loaded in a namespace, in the order of their loading: the newest, if they are very many."""
    prefix = f"{namespace}/"
    loaded = [loaded.version for key, loaded in partition.versions.items() if key.startswith(prefix)]
    return tuple(loaded[-LOADED_VERSIONS_NAMED_MAX:])
