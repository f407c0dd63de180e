"""What a catalog command means: state, command and facts in, events and an answer out.

Every decision ends in exactly one `CommandAnswered`, refusals and repeats included: it carries the input position and
is what a repeat is answered from. The loop in `aion_catalog.shell` is the only caller.
"""

from typing import assert_never

from msgspec.structs import replace

from aion_catalog.core.decision import Checked, Decision, Facts, Refused, answered
from aion_catalog.core.state import CatalogState, loaded_versions
from aion_catalog.core.unload import end_unload, routed_types
from aion_common.ids import Namespace, Version, WorkflowType
from aion_common.limits import LOADED_VERSIONS_NAMED_MAX
from aion_common.records.catalog import (
    CatalogCommand,
    LoadPackage,
    PackageManifest,
    Route,
    RouteType,
    TypesRouted,
    UnloadVersion,
    VersionLoaded,
)
from aion_common.records.commands import CatalogMarker, VersionRouted
from aion_common.records.common import PackageRef
from aion_common.records.replies import LoadedType, PackageAccepted, Rejection, RejectionCode, RouteAccepted


def needs_check(state: CatalogState, command: CatalogCommand) -> bool:
    """Whether deciding the command needs `Facts.package`: a load that was not answered before."""
    return isinstance(command.body, LoadPackage) and command.command_id not in state.answers


def needs_pins(state: CatalogState, command: CatalogCommand) -> bool:
    """Whether deciding the command needs `Facts.pins`, and `begin_unload` before: an unload that was not answered before, of a
    version that is loaded and that no route leads to."""
    if not isinstance(command.body, UnloadVersion) or command.command_id in state.answers:
        return False
    target = state.versions.get((command.namespace, command.body.version))
    return target is not None and not routed_types(state, target)


def decide(state: CatalogState, command: CatalogCommand, facts: Facts) -> Decision:
    """Decide one command; one that was decided before gets its first answer, whatever its body says now."""
    kept = state.answers.get(command.command_id)
    if kept is not None:
        return answered(command, facts, kept.answer)
    match command.body:
        case LoadPackage(package=ref):
            return _load(state, command, facts, ref)
        case RouteType(workflow_type=workflow_type, version=version):
            return _route(state, command, facts, workflow_type, version)
        case UnloadVersion(version=version):
            return _unload(state, command, facts, version)
        case _:
            assert_never(command.body)


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
        return answered(command, facts, refusal)
    known = state.versions.get((command.namespace, checked.version))
    if known is None:
        return _load_fresh(state, command, facts, _loaded(command.namespace, checked, ref, facts.now_ms))
    if known.manifest_digest != checked.manifest_digest:
        return answered(command, facts, _manifest_mismatch(known))
    routed = _routed(state, known, known.types)
    answer = _package_accepted(known, freshly_loaded=False, route_changed=bool(routed))
    return answered(command, facts, answer, *routed, markers=_markers(known, routed))


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
    routed = _routed(state, loaded, loaded.types)
    return answered(command, facts, answer, loaded, *routed, markers=_markers(loaded, routed), manifest=manifest)


def _route(
    state: CatalogState,
    command: CatalogCommand,
    facts: Facts,
    workflow_type: WorkflowType,
    version: Version,
) -> Decision:
    target = state.versions.get((command.namespace, version))
    if target is None:
        return answered(command, facts, _unknown_version(state, command.namespace, version))
    if workflow_type not in target.types:
        reason = f"version {version} does not provide {workflow_type!r}; it provides {_named(target.types)}"
        refusal = Rejection(code=RejectionCode.UNKNOWN_WORKFLOW_TYPE, reason=reason)
        return answered(command, facts, refusal)
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
    return answered(command, facts, answer, *routed, markers=_markers(target, routed))


def _unload(state: CatalogState, command: CatalogCommand, facts: Facts, version: Version) -> Decision:
    target = state.versions.get((command.namespace, version))
    if target is None:
        return answered(command, facts, _unknown_version(state, command.namespace, version))
    routed = routed_types(state, target)
    if routed:
        return answered(command, facts, _route_active(target, routed))
    return end_unload(state, command, facts, target)


def _routed(state: CatalogState, target: VersionLoaded, types: tuple[WorkflowType, ...]) -> tuple[TypesRouted, ...]:
    """One event for those of the types that do not run on the version yet; none if all do."""
    there = frozenset(routed_types(state, target))
    moving = tuple(workflow_type for workflow_type in types if workflow_type not in there)
    if not moving:
        return ()
    routed = TypesRouted(
        namespace=target.namespace,
        types=moving,
        version=target.version,
        route_epoch=state.route_epoch + 1,
    )
    return (routed,)


def _loaded(namespace: Namespace, checked: Checked, ref: PackageRef, now_ms: int) -> VersionLoaded:
    return VersionLoaded(
        namespace=namespace,
        version=checked.version,
        manifest_digest=checked.manifest_digest,
        types=checked.types,
        package=replace(ref, wakes_itself=checked.wakes_itself),
        deployed_at=now_ms,
        warnings=checked.warnings,
        timeouts=checked.timeouts,
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


def _markers(target: VersionLoaded, routed: tuple[TypesRouted, ...]) -> tuple[CatalogMarker, ...]:
    """One if a route changed (a load of a new version always changes routes), else none."""
    return tuple(
        CatalogMarker(
            body=VersionRouted(
                namespace=target.namespace,
                version=target.version,
                types=target.types,
                routed_types=event.types,
                route_epoch=event.route_epoch,
                package=target.package,
                timeouts=target.timeouts,
            )
        )
        for event in routed
    )


def _route_active(target: VersionLoaded, routed: tuple[WorkflowType, ...]) -> Rejection:
    return Rejection(
        code=RejectionCode.ROUTE_ACTIVE,
        reason=f"new starts of {_named(routed)} run on version {target.version}; route them elsewhere first",
        workflow_type=routed[0],
        version=target.version,
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
