"""The catalog's records: its commands, its event history, and the compacted topics it publishes."""

from msgspec import Struct

from aion_common.ids import CommandId, Namespace, Version, WorkflowType
from aion_common.records.common import PackageRef, RunTimeout
from aion_common.records.replies import Answer


class LoadPackage(Struct, frozen=True, kw_only=True, gc=False):
    """Check the uploaded archive, load its version and route its types to it. `package.wakes_itself` is not yet known."""

    package: PackageRef


class RouteType(Struct, frozen=True, kw_only=True, gc=False):
    """Route new starts of the type to a loaded version."""

    workflow_type: WorkflowType
    version: Version


class UnloadVersion(Struct, frozen=True, kw_only=True, gc=False):
    """Remove a version with all its types, if provably nothing needs it."""

    version: Version


CatalogCommandBody = LoadPackage | RouteType | UnloadVersion


class CatalogCommand(Struct, frozen=True, kw_only=True, gc=False):
    """A wish on `aion.catalog.commands`."""

    command_id: CommandId
    namespace: Namespace
    reply_partition: int | None
    body: CatalogCommandBody


class TopicCreated(Struct, frozen=True, kw_only=True, gc=False):
    """A topic of the cluster and its number of partitions, fixed for life."""

    name: str
    partitions: int


class ClusterCreated(Struct, frozen=True, kw_only=True, gc=False):
    """First record of `aion.catalog`: every service compares itself with it at start."""

    partitions: int
    partitioner: str
    topics: tuple[TopicCreated, ...]


class VersionLoaded(Struct, frozen=True, kw_only=True, gc=False):
    """A version new to its namespace was loaded; `types` are all it provides. A `TypesRouted` follows if routes changed."""

    namespace: Namespace
    version: Version
    manifest_digest: str
    types: tuple[WorkflowType, ...]
    package: PackageRef
    deployed_at: int
    warnings: tuple[str, ...]
    timeouts: tuple[RunTimeout, ...] = ()


class TypesRouted(Struct, frozen=True, kw_only=True, gc=False):
    """New starts of the types run on the version."""

    namespace: Namespace
    types: tuple[WorkflowType, ...]
    version: Version
    route_epoch: int


class CommandAnswered(Struct, frozen=True, kw_only=True, gc=False):
    """A command was decided: with this answer, after the events before it in the same transaction, if there are any."""

    command_id: CommandId
    offset: int
    reply_partition: int | None
    answer: Answer


class UnloadBegan(Struct, frozen=True, kw_only=True, gc=False):
    """`VersionClosing` went to every partition. Ends with `VersionRemoved` or `UnloadAbandoned`, or with the next attempt, when
    the catalog that waited for the owners died."""

    namespace: Namespace
    version: Version
    attempt: int


class UnloadAbandoned(Struct, frozen=True, kw_only=True, gc=False):
    """The attempt ended without unloading: the version stays, `VersionKept` went to every partition."""

    namespace: Namespace
    version: Version
    attempt: int


class VersionRemoved(Struct, frozen=True, kw_only=True, gc=False):
    """The version is not loaded any more: `VersionUnloaded` went to every partition."""

    namespace: Namespace
    version: Version
    attempt: int


class CommandSkipped(Struct, frozen=True, kw_only=True, gc=False):
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


class CatalogRecord(Struct, frozen=True, kw_only=True, gc=False):
    """One record of `aion.catalog`, kept for ever: who deployed what when is read from here."""

    recorded_at: int
    event: CatalogEvent


class PackageChunk(Struct, frozen=True, kw_only=True, gc=False):
    """A piece of an archive in `aion.packages`, key `chunk/<upload_id>/<index>`, at most 512 KiB."""

    upload_id: str
    index: int
    content: bytes


class PackageManifest(Struct, frozen=True, kw_only=True, gc=False):
    """A loaded version in `aion.packages`, key `manifest/<namespace>/<version>`; `manifest_json` is canonical JSON."""

    namespace: Namespace
    version: Version
    manifest_digest: str
    manifest_json: bytes
    package: PackageRef
    deployed_at: int


class Route(Struct, frozen=True, kw_only=True, gc=False):
    """The route of one type in `aion.routes`, key `<namespace>/<workflow_type>`."""

    namespace: Namespace
    workflow_type: WorkflowType
    version: Version
    route_epoch: int
