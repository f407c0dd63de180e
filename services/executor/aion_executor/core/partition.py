"""A partition's own small state: what it knows of the catalog, and how far it has come. The fold of its own events."""

from collections.abc import Mapping

from msgspec import Struct, field

from aion_common.ids import Namespace, Version, WorkflowType
from aion_common.limits import LOADED_VERSIONS_NAMED_MAX
from aion_common.records.common import PackageRef, RunTimeout


class LoadedVersion(Struct, frozen=True, kw_only=True):
    """A version that runs may start on, with all workflow types it provides."""

    version: Version
    types: tuple[WorkflowType, ...]
    package: PackageRef
    timeouts: tuple[RunTimeout, ...] = ()


class Closing(Struct, frozen=True, kw_only=True):
    """A version that somebody wants to unload: until the verdict on this attempt, starts that name it are parked."""

    namespace: Namespace
    version: Version
    attempt: int


class Partition(Struct, frozen=True, kw_only=True):
    """`routes` and `versions` are keyed by `route_key` and `version_key`. `owner_epoch`: offset of the newest OwnerEpoch,
    written by `producer_id`; both -1 before the first. `sent_through`: history offset up to which every send is known to
    have been acknowledged. `recorded_at`: time of the newest batch. `unload_attempt`: the newest one heard of. `parked`:
    offsets of starts that wait for a verdict, in order; with no version `closing` they are to be decided before anything
    else."""

    routes: Mapping[str, Version] = field(default_factory=dict)
    versions: Mapping[str, LoadedVersion] = field(default_factory=dict)
    route_epoch: int = 0
    unload_attempt: int = 0
    closing: Closing | None = None
    parked: tuple[int, ...] = ()
    owner_epoch: int = -1
    producer_id: int = -1
    commands_next: int = 0
    results_next: int = 0
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


def is_closing(partition: Partition, namespace: Namespace, version: Version) -> bool:
    """Whether somebody waits for the verdict on the version."""
    closing = partition.closing
    return closing is not None and (closing.namespace, closing.version) == (namespace, version)


def run_timeout_of(loaded: LoadedVersion, workflow_type: WorkflowType) -> int | None:
    """How long a run of the type may take, as its package says, in milliseconds."""
    return next((one.timeout_ms for one in loaded.timeouts if one.workflow_type == workflow_type), None)
