"""How the events of `aion.catalog` change the state: the one door, used live and when reading back.

Deterministic and total over `CatalogEvent`. An event that contradicts the state is a bug of an earlier decision and
stops the catalog rather than being folded into nonsense.
"""

from collections.abc import Iterable
from typing import assert_never

from aion_catalog.core.state import CatalogState, CurrentRoute
from aion_common.records.catalog import CatalogEvent, ClusterCreated, CommandAnswered, TypesRouted, VersionLoaded


def apply(state: CatalogState, event: CatalogEvent) -> CatalogState:
    """The state after one event."""
    return fold(state, (event,))


def fold(state: CatalogState, events: Iterable[CatalogEvent]) -> CatalogState:
    """The state after the events, in order. Copies the maps once, so reading back a long history stays linear."""
    cluster = state.cluster
    versions = dict(state.versions)
    routes = dict(state.routes)
    route_epoch = state.route_epoch
    answers = dict(state.answers)
    last_answered = state.last_answered
    for event in events:
        match event:
            case ClusterCreated():
                cluster = cluster or event
            case VersionLoaded():
                key = (event.namespace, event.version)
                assert key not in versions, "a version is loaded once: a repeat makes no VersionLoaded"
                versions[key] = event
            case TypesRouted():
                assert (event.namespace, event.version) in versions, "a route leads to a loaded version"
                assert event.route_epoch == route_epoch + 1, "route epochs grow by one with each flip"
                route_epoch = event.route_epoch
                route = CurrentRoute(version=event.version, route_epoch=route_epoch)
                routes.update({(event.namespace, workflow_type): route for workflow_type in event.types})
            case CommandAnswered():
                answers.setdefault(event.command_id, event.answer)
                last_answered = event
            case _:
                assert_never(event)
    return CatalogState(
        cluster=cluster,
        versions=versions,
        routes=routes,
        route_epoch=route_epoch,
        answers=answers,
        last_answered=last_answered,
    )
