"""Unloading a version, in two transactions: one that closes it everywhere, and one with the verdict.

Between the two each owner parks the starts that name the version, and reports what needs it. An attempt that was cut short
by the catalog's death is followed by another one for the same command: what owners report of an older one is worth nothing.
"""

from aion_catalog.core.decision import Decision, Facts, Gathered, answered
from aion_catalog.core.state import CatalogState
from aion_common.ids import Version, WorkflowType
from aion_common.limits import PARTITIONS_NAMED_MAX, PINS_NAMED_MAX
from aion_common.records.catalog import (
    CatalogCommand,
    CommandSkipped,
    UnloadAbandoned,
    UnloadBegan,
    VersionLoaded,
    VersionRemoved,
)
from aion_common.records.commands import CatalogMarker, VersionClosing, VersionKept, VersionUnloaded
from aion_common.records.replies import Rejection, RejectionCode, UnloadAccepted


def routed_types(state: CatalogState, target: VersionLoaded) -> tuple[WorkflowType, ...]:
    """The types of a loaded version whose new starts run on it."""
    return tuple(
        workflow_type
        for workflow_type in target.types
        if (route := state.routes.get((target.namespace, workflow_type))) is not None and route.version == target.version
    )


def begin_unload(state: CatalogState, command: CatalogCommand, version: Version, reply_partition: int) -> Decision:
    """The next attempt to unload a loaded version that no route leads to; owners report to this partition of the replies."""
    attempt = state.unload_attempt + 1
    began = UnloadBegan(namespace=command.namespace, version=version, attempt=attempt)
    closing = VersionClosing(namespace=command.namespace, version=version, attempt=attempt, reply_partition=reply_partition)
    return Decision(events=(began,), markers=(CatalogMarker(body=closing),))


def end_unload(state: CatalogState, command: CatalogCommand, facts: Facts, target: VersionLoaded) -> Decision:
    """The verdict on the attempt under way, by what the owners reported."""
    began, pins = state.closing, facts.pins
    assert began is not None, "an unload is decided after it began"
    assert pins is not None, "an unload is decided with what the owners reported"
    if pins.silent:
        return _keep(began, command, facts, _silent(pins))
    if any(report.counts or report.pins for report in pins.reports.values()):
        return _keep(began, command, facts, _pinned(target, pins))
    removed = VersionRemoved(namespace=began.namespace, version=began.version, attempt=began.attempt)
    unloaded = VersionUnloaded(namespace=began.namespace, version=began.version, attempt=began.attempt)
    answer = UnloadAccepted(version=began.version)
    return answered(command, facts, answer, removed, markers=(CatalogMarker(body=unloaded),))


def skip(state: CatalogState, offset: int, reason: str) -> Decision:
    """Pass over a record that is no command. Was it one to a catalog that died, a newer one, while it unloaded a version,
    nobody will ever come to the verdict: the version stays."""
    skipped = CommandSkipped(offset=offset, reason=reason)
    if state.closing is None:
        return Decision(events=(skipped,))
    abandoned, kept = _kept(state.closing)
    return Decision(events=(abandoned, skipped), markers=(kept,))


def _keep(began: UnloadBegan, command: CatalogCommand, facts: Facts, refusal: Rejection) -> Decision:
    abandoned, kept = _kept(began)
    return answered(command, facts, refusal, abandoned, markers=(kept,))


def _kept(began: UnloadBegan) -> tuple[UnloadAbandoned, CatalogMarker]:
    kept = VersionKept(namespace=began.namespace, version=began.version, attempt=began.attempt)
    abandoned = UnloadAbandoned(namespace=began.namespace, version=began.version, attempt=began.attempt)
    return abandoned, CatalogMarker(body=kept)


def _pinned(target: VersionLoaded, pins: Gathered) -> Rejection:
    reports = [report for _, report in sorted(pins.reports.items())]
    total = sum(count.number for report in reports for count in report.counts)
    named = tuple(pin for report in reports for pin in report.pins)
    return Rejection(
        code=RejectionCode.VERSION_PINNED,
        reason=f"version {target.version} is still needed by {total} open runs or children",
        workflow_type=target.types[0],
        version=target.version,
        pins_total=total,
        pins=named[:PINS_NAMED_MAX],
    )


def _silent(pins: Gathered) -> Rejection:
    named = ", ".join(map(str, pins.silent[:PARTITIONS_NAMED_MAX]))
    more = len(pins.silent) - PARTITIONS_NAMED_MAX
    shown = f"{named} and {more} more" if more > 0 else named
    return Rejection(
        code=RejectionCode.UNAVAILABLE,
        reason=f"the owners of these partitions did not report in time what needs the version: {shown}; it stays loaded",
    )
