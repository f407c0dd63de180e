"""The catalog's records: its commands, its event history, and the compacted topics it publishes."""

from dataclasses import dataclass

from aion_common.ids import CommandId, Namespace, Version, WorkflowType
from aion_common.records.common import PackageRef, RunTimeout
from aion_common.records.replies import Answer


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadPackage:
    """Check the uploaded archive, load its version and route its types to it. `package.wakes_itself` is not yet known."""

    package: PackageRef


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteType:
    """Route new starts of the type to a loaded version."""

    workflow_type: WorkflowType
    version: Version


@dataclass(frozen=True, slots=True, kw_only=True)
class UnloadVersion:
    """Remove a version with all its types, if provably nothing needs it."""

    version: Version


CatalogCommandBody = LoadPackage | RouteType | UnloadVersion


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogCommand:
    """A wish on `aion.catalog.commands`."""

    command_id: CommandId
    namespace: Namespace
    reply_partition: int | None
    body: CatalogCommandBody


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicCreated:
    """A topic of the cluster and its number of partitions, fixed for life."""

    name: str
    partitions: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterCreated:
    """First record of `aion.catalog`: every service compares itself with it at start."""

    partitions: int
    partitioner: str
    topics: tuple[TopicCreated, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionLoaded:
    """A version new to its namespace was loaded; `types` are all it provides. A `TypesRouted` follows if routes changed."""

    namespace: Namespace
    version: Version
    manifest_digest: str
    types: tuple[WorkflowType, ...]
    package: PackageRef
    deployed_at: int
    warnings: tuple[str, ...]
    timeouts: tuple[RunTimeout, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TypesRouted:
    """New starts of the types run on the version."""

    namespace: Namespace
    types: tuple[WorkflowType, ...]
    version: Version
    route_epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandAnswered:
    """A command was decided: with this answer, after the events before it in the same transaction, if there are any."""

    command_id: CommandId
    offset: int
    reply_partition: int | None
    answer: Answer


@dataclass(frozen=True, slots=True, kw_only=True)
class UnloadBegan:
    """`VersionClosing` went to every partition. Ends with `VersionRemoved` or `UnloadAbandoned`, or with the next attempt, when
    the catalog that waited for the owners died."""

    namespace: Namespace
    version: Version
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UnloadAbandoned:
    """The attempt ended without unloading: the version stays, `VersionKept` went to every partition."""

    namespace: Namespace
    version: Version
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionRemoved:
    """The version is not loaded any more: `VersionUnloaded` went to every partition."""

    namespace: Namespace
    version: Version
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandSkipped:
    """The record at this offset of `aion.catalog.commands` was none of ours; a copy of it is in the dead letters."""

    offset: int
    reason: str


CatalogEvent = (
    ClusterCreated
    | VersionLoaded
    | TypesRouted
    | UnloadBegan
    | UnloadAbandoned
    | VersionRemoved
    | CommandAnswered
    | CommandSkipped
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogRecord:
    """One record of `aion.catalog`, kept for ever: who deployed what when is read from here."""

    recorded_at: int
    event: CatalogEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageChunk:
    """A piece of an archive in `aion.packages`, key `chunk/<upload_id>/<index>`, at most 512 KiB."""

    upload_id: str
    index: int
    content: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageManifest:
    """A loaded version in `aion.packages`, key `manifest/<namespace>/<version>`; `manifest_json` is canonical JSON."""

    namespace: Namespace
    version: Version
    manifest_digest: str
    manifest_json: bytes
    package: PackageRef
    deployed_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """The route of one type in `aion.routes`, key `<namespace>/<workflow_type>`."""

    namespace: Namespace
    workflow_type: WorkflowType
    version: Version
    route_epoch: int
