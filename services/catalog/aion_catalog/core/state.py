"""What the catalog knows: a fold of the records of `aion.catalog`, and the questions that decisions ask of it.

Only `aion_catalog.core.apply` makes new states. Loaded versions are the `VersionLoaded` events themselves: what was
recorded first is what every later answer repeats.
"""

from collections.abc import Mapping

from msgspec import Struct, field

from aion_common.ids import CommandId, Namespace, Version, WorkflowType
from aion_common.records.catalog import ClusterCreated, CommandAnswered, UnloadBegan, VersionLoaded
from aion_common.records.common import PackageRef
from aion_common.records.replies import Answer


class CurrentRoute(Struct, frozen=True, kw_only=True):
    """Where new starts of a type run, since the flip with this epoch."""

    version: Version
    route_epoch: int


class KeptAnswer(Struct, frozen=True, kw_only=True):
    """The first answer of a command, and when it was given."""

    answered_at: int
    answer: Answer


class CatalogState(Struct, frozen=True, kw_only=True):
    """The whole catalog. `route_epoch` is that of the newest flip in any namespace, `unload_attempt` the newest attempt to
    unload anything; 0 before the first.

    `versions` keeps the order of loading. `closing`: the attempt that has no verdict yet. `answers`: of the commands of the
    last `limits.ANSWERS_KEPT_MS`, the oldest first, without those that are not to be repeated. `commands_next`: the offset in
    `aion.catalog.commands` from which nothing has been decided. `recorded_at`: the newest time in the history.
    """

    cluster: ClusterCreated | None = None
    versions: Mapping[tuple[Namespace, Version], VersionLoaded] = field(default_factory=dict)
    routes: Mapping[tuple[Namespace, WorkflowType], CurrentRoute] = field(default_factory=dict)
    route_epoch: int = 0
    unload_attempt: int = 0
    closing: UnloadBegan | None = None
    answers: Mapping[CommandId, KeptAnswer] = field(default_factory=dict)
    last_answered: CommandAnswered | None = None
    commands_next: int = 0
    recorded_at: int = 0


def loaded_versions(state: CatalogState, namespace: Namespace) -> tuple[Version, ...]:
    """The versions of a namespace, in the order of loading."""
    return tuple(version for owner, version in state.versions if owner == namespace)


def own_upload(state: CatalogState, namespace: Namespace, version: Version) -> PackageRef | None:
    """The upload of a loaded version; None if another version was loaded from it too, so that it must stay."""
    package = state.versions[namespace, version].package
    named = sum(loaded.package.upload_id == package.upload_id for loaded in state.versions.values())
    return package if named == 1 else None
