"""What a catalog command means: state, command and facts in, events and an answer out.

Every decision ends in exactly one `CommandAnswered`, refusals and repeats included: it carries the input position and
is what a repeat is answered from. The loop in `aion_catalog.shell` is the only caller.
"""

from dataclasses import dataclass
from typing import assert_never

from aion_catalog.core.apply import fold
from aion_catalog.core.state import CatalogState, loaded_versions
from aion_common.ids import Namespace, Version, WorkflowType
from aion_common.limits import LOADED_VERSIONS_NAMED_MAX
from aion_common.records.catalog import (
    CatalogCommand,
    CatalogEvent,
    CommandAnswered,
    LoadPackage,
    PackageManifest,
    Route,
    RouteType,
    TypesRouted,
    VersionLoaded,
)
from aion_common.records.commands import CatalogMarker, VersionRouted
from aion_common.records.common import PackageRef
from aion_common.records.replies import (
    Answer,
    LoadedType,
    PackageAccepted,
    Rejection,
    RejectionCode,
    RouteAccepted,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """A package that passed every check. `types`: all it provides, the entry module's first; `manifest_json` canonical."""

    version: Version
    manifest_digest: str
    manifest_json: bytes
    types: tuple[WorkflowType, ...]
    wakes_itself: bool
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A package that must not be loaded, and why in words for its author."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the core may not look up. `offset`: the command's in its topic. `package`: set when `needs_check` says so."""

    now_ms: int
    offset: int
    package: Checked | Refused | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Events in order, the last a `CommandAnswered` with this answer; `manifest` goes with a `VersionLoaded`."""

    events: tuple[CatalogEvent, ...]
    answer: Answer
    manifest: PackageManifest | None = None


def needs_check(state: CatalogState, command: CatalogCommand) -> bool:
    """Whether deciding the command needs `Facts.package`: a load that was not answered before."""
    return isinstance(command.body, LoadPackage) and command.command_id not in state.answers


def decide(state: CatalogState, command: CatalogCommand, facts: Facts) -> Decision:
    """Decide one command; one that was decided before gets its first answer, whatever its body says now."""
    answered = state.answers.get(command.command_id)
    if answered is not None:
        return _answer(command, facts, answered)
    match command.body:
        case LoadPackage(package=ref):
            return _load(state, command, facts, ref)
        case RouteType(workflow_type=workflow_type, version=version):
            return _route(state, command, facts, workflow_type, version)
        case _:
            assert_never(command.body)


def markers_of(state: CatalogState, decision: Decision) -> tuple[CatalogMarker, ...]:
    """What every command partition must hear of the decision; `state` is the one it was decided on.

    One marker if a version was loaded or a route changed (a load of a new version always changes routes), else none.
    """
    after = fold(state, decision.events)
    return tuple(
        CatalogMarker(body=_marker(after.versions[event.namespace, event.version], event))
        for event in decision.events
        if isinstance(event, TypesRouted)
    )


def routes_of(decision: Decision) -> tuple[Route, ...]:
    """The records of `aion.routes` that the decision replaces."""
    return tuple(
        Route(
            namespace=event.namespace,
            workflow_type=workflow_type,
            version=event.version,
            route_epoch=event.route_epoch,
        )
        for event in decision.events
        if isinstance(event, TypesRouted)
        for workflow_type in event.types
    )


def _load(state: CatalogState, command: CatalogCommand, facts: Facts, ref: PackageRef) -> Decision:
    checked = facts.package
    assert checked is not None, "a load is decided with the outcome of its package's checks"
    if isinstance(checked, Refused):
        refusal = Rejection(code=RejectionCode.INVALID_PACKAGE, reason=checked.reason)
        return _answer(command, facts, refusal)
    known = state.versions.get((command.namespace, checked.version))
    if known is None:
        return _load_fresh(state, command, facts, _loaded(command.namespace, checked, ref, facts.now_ms))
    if known.manifest_digest != checked.manifest_digest:
        return _answer(command, facts, _manifest_mismatch(known))
    routed = _routed(state, known, known.types)
    answer = _package_accepted(known, freshly_loaded=False, route_changed=bool(routed))
    return _answer(command, facts, answer, *routed)


def _load_fresh(state: CatalogState, command: CatalogCommand, facts: Facts, loaded: VersionLoaded) -> Decision:
    checked = facts.package
    assert isinstance(checked, Checked), "only a package that passed its checks is loaded"
    manifest = PackageManifest(
        namespace=loaded.namespace,
        version=loaded.version,
        manifest_digest=loaded.manifest_digest,
        manifest_json=checked.manifest_json,
        package=loaded.package,
        deployed_at=loaded.deployed_at,
    )
    answer = _package_accepted(loaded, freshly_loaded=True, route_changed=True)
    return _answer(command, facts, answer, loaded, *_routed(state, loaded, loaded.types), manifest=manifest)


def _route(
    state: CatalogState,
    command: CatalogCommand,
    facts: Facts,
    workflow_type: WorkflowType,
    version: Version,
) -> Decision:
    target = state.versions.get((command.namespace, version))
    if target is None:
        return _answer(command, facts, _unknown_version(state, command.namespace, version))
    if workflow_type not in target.types:
        reason = f"version {version} does not provide {workflow_type!r}; it provides {_named(target.types)}"
        refusal = Rejection(code=RejectionCode.UNKNOWN_WORKFLOW_TYPE, reason=reason)
        return _answer(command, facts, refusal)
    previous = state.routes.get((command.namespace, workflow_type))
    routed = _routed(state, target, (workflow_type,))
    if routed:
        route_epoch = routed[0].route_epoch
    else:
        assert previous is not None, "a route that does not change is there already"
        route_epoch = previous.route_epoch
    answer = RouteAccepted(
        workflow_type=workflow_type,
        version=version,
        previous_version=None if previous is None else previous.version,
        route_epoch=route_epoch,
        route_changed=bool(routed),
    )
    return _answer(command, facts, answer, *routed)


def _routed(state: CatalogState, target: VersionLoaded, types: tuple[WorkflowType, ...]) -> tuple[TypesRouted, ...]:
    """One event for those of the types that do not run on the version yet; none if all do."""
    moving = tuple(
        workflow_type
        for workflow_type in types
        if (route := state.routes.get((target.namespace, workflow_type))) is None or route.version != target.version
    )
    if not moving:
        return ()
    routed = TypesRouted(
        namespace=target.namespace,
        types=moving,
        version=target.version,
        route_epoch=state.route_epoch + 1,
    )
    return (routed,)


def _answer(
    command: CatalogCommand,
    facts: Facts,
    answer: Answer,
    *events: CatalogEvent,
    manifest: PackageManifest | None = None,
) -> Decision:
    answered = CommandAnswered(
        command_id=command.command_id,
        offset=facts.offset,
        reply_partition=command.reply_partition,
        answer=answer,
    )
    return Decision(events=(*events, answered), answer=answer, manifest=manifest)


def _loaded(namespace: Namespace, checked: Checked, ref: PackageRef, now_ms: int) -> VersionLoaded:
    package = PackageRef(
        upload_id=ref.upload_id,
        first_offset=ref.first_offset,
        last_offset=ref.last_offset,
        chunks=ref.chunks,
        archive_bytes=ref.archive_bytes,
        archive_digest=ref.archive_digest,
        wakes_itself=checked.wakes_itself,
    )
    return VersionLoaded(
        namespace=namespace,
        version=checked.version,
        manifest_digest=checked.manifest_digest,
        types=checked.types,
        package=package,
        deployed_at=now_ms,
        warnings=checked.warnings,
    )


def _package_accepted(loaded: VersionLoaded, *, freshly_loaded: bool, route_changed: bool) -> PackageAccepted:
    records = tuple(
        LoadedType(
            workflow_type=workflow_type,
            version=loaded.version,
            manifest_digest=loaded.manifest_digest,
            deployed_at=loaded.deployed_at,
        )
        for workflow_type in loaded.types
    )
    return PackageAccepted(
        records=records,
        freshly_loaded=freshly_loaded,
        route_changed=route_changed,
        warnings=loaded.warnings,
    )


def _marker(target: VersionLoaded, routed: TypesRouted) -> VersionRouted:
    return VersionRouted(
        namespace=target.namespace,
        version=target.version,
        types=target.types,
        routed_types=routed.types,
        route_epoch=routed.route_epoch,
        package=target.package,
    )


def _manifest_mismatch(known: VersionLoaded) -> Rejection:
    return Rejection(
        code=RejectionCode.MANIFEST_MISMATCH,
        reason=f"version {known.version} is loaded with another manifest: the same modules, another description of them",
        workflow_type=known.types[0],
        version=known.version,
    )


def _unknown_version(state: CatalogState, namespace: Namespace, version: Version) -> Rejection:
    newest = loaded_versions(state, namespace)[-LOADED_VERSIONS_NAMED_MAX:]
    return Rejection(
        code=RejectionCode.UNKNOWN_VERSION,
        reason=f"version {version} is not loaded in namespace {namespace!r}",
        loaded=newest,
    )


def _named(types: tuple[WorkflowType, ...]) -> str:
    """The first few types, for people."""
    shown = ", ".join(repr(workflow_type) for workflow_type in types[:10])
    return shown if len(types) <= 10 else f"{shown} and {len(types) - 10} more"
