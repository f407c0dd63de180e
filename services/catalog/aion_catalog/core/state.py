"""What the catalog knows: a fold of the events of `aion.catalog`, and the questions that decisions ask of it.

Only `aion_catalog.core.apply` makes new states. Loaded versions are the `VersionLoaded` events themselves: what was
recorded first is what every later answer repeats.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from aion_common.ids import CommandId, Namespace, Version, WorkflowType
from aion_common.records.catalog import ClusterCreated, CommandAnswered, VersionLoaded
from aion_common.records.replies import Answer


@dataclass(frozen=True, slots=True, kw_only=True)
class CurrentRoute:
    """Where new starts of a type run, since the flip with this epoch."""

    version: Version
    route_epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogState:
    """The whole catalog. `route_epoch` is that of the newest flip in any namespace; 0 before the first.

    `versions` keeps the order of loading. `answers` holds the answer of every command ever decided: a deploy is rare and
    its answer small, so none is forgotten yet; commands need the answers of the last 15 days only.
    """

    cluster: ClusterCreated | None = None
    versions: Mapping[tuple[Namespace, Version], VersionLoaded] = field(default_factory=dict)
    routes: Mapping[tuple[Namespace, WorkflowType], CurrentRoute] = field(default_factory=dict)
    route_epoch: int = 0
    answers: Mapping[CommandId, Answer] = field(default_factory=dict)
    last_answered: CommandAnswered | None = None


def commands_next(state: CatalogState) -> int:
    """The offset in `aion.catalog.commands` from which nothing has been decided yet."""
    return 0 if state.last_answered is None else state.last_answered.offset + 1


def loaded_versions(state: CatalogState, namespace: Namespace) -> tuple[Version, ...]:
    """The versions of a namespace, in the order of loading."""
    return tuple(version for owner, version in state.versions if owner == namespace)
