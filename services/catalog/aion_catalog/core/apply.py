"""How the records of `aion.catalog` change the state: the one door, used live and when reading back.

Deterministic and total over `CatalogEvent`. An event that contradicts the state is a bug of an earlier decision and
stops the catalog rather than being folded into nonsense.
"""

from collections.abc import Iterable
from typing import assert_never

from msgspec.structs import replace

from aion_catalog.core.state import CatalogState, CurrentRoute, KeptAnswer
from aion_common.ids import CommandId
from aion_common.limits import ANSWERS_KEPT_MS
from aion_common.records.catalog import (
    CatalogRecord,
    ClusterCreated,
    CommandAnswered,
    CommandSkipped,
    TypesRouted,
    UnloadAbandoned,
    UnloadBegan,
    VersionLoaded,
    VersionRemoved,
)
from aion_common.records.replies import Answer, Rejection, RejectionCode


def fold(state: CatalogState, records: Iterable[CatalogRecord]) -> CatalogState:
    """The state after the records, in order. Copies the maps once, so reading back a long history stays linear."""
    folding = _Folding(state)
    for record in records:
        folding.take(record)
    return folding.state()


class _Folding:
    """A state that may be changed, between two that may not."""

    def __init__(self, state: CatalogState) -> None:
        self._before = state
        self._cluster = state.cluster
        self._versions = dict(state.versions)
        self._routes = dict(state.routes)
        self._route_epoch = state.route_epoch
        self._unload_attempt = state.unload_attempt
        self._closing = state.closing
        self._answers = dict(state.answers)
        self._last_answered = state.last_answered
        self._commands_next = state.commands_next
        self._recorded_at = state.recorded_at

    def state(self) -> CatalogState:
        """What has become of it."""
        return replace(
            self._before,
            cluster=self._cluster,
            versions=self._versions,
            routes=self._routes,
            route_epoch=self._route_epoch,
            unload_attempt=self._unload_attempt,
            closing=self._closing,
            answers=self._answers,
            last_answered=self._last_answered,
            commands_next=self._commands_next,
            recorded_at=self._recorded_at,
        )

    def take(self, record: CatalogRecord) -> None:
        """The next record."""
        self._recorded_at = max(self._recorded_at, record.recorded_at)
        self._forget()
        match record.event:
            case ClusterCreated() as created:
                self._cluster = self._cluster or created
            case VersionLoaded() as loaded:
                key = (loaded.namespace, loaded.version)
                assert key not in self._versions, "a version is loaded once: a repeat makes no VersionLoaded"
                self._versions[key] = loaded
            case TypesRouted() as routed:
                self._route(routed)
            case UnloadBegan() as began:
                self._began(began)
            case UnloadAbandoned() as abandoned:
                self._ended(abandoned)
            case VersionRemoved() as removed:
                self._ended(removed)
                del self._versions[removed.namespace, removed.version]
            case CommandAnswered() as answered:
                self._answered(answered)
            case CommandSkipped(offset=offset):
                self._commands_next = offset + 1
            case _:
                assert_never(record.event)

    def _route(self, routed: TypesRouted) -> None:
        assert (routed.namespace, routed.version) in self._versions, "a route leads to a loaded version"
        assert routed.route_epoch == self._route_epoch + 1, "route epochs grow by one with each flip"
        self._route_epoch = routed.route_epoch
        route = CurrentRoute(version=routed.version, route_epoch=routed.route_epoch)
        self._routes.update({(routed.namespace, workflow_type): route for workflow_type in routed.types})

    def _began(self, began: UnloadBegan) -> None:
        assert began.attempt == self._unload_attempt + 1, "attempts grow by one"
        before = self._closing
        assert before is None or (before.namespace, before.version) == (began.namespace, began.version), (
            "one version is closing at a time"
        )
        self._unload_attempt = began.attempt
        self._closing = began

    def _ended(self, verdict: UnloadAbandoned | VersionRemoved) -> None:
        expected = UnloadBegan(namespace=verdict.namespace, version=verdict.version, attempt=verdict.attempt)
        assert self._closing == expected, "a verdict is that of the attempt under way"
        self._closing = None

    def _answered(self, answered: CommandAnswered) -> None:
        if _is_remembered(answered.answer):
            kept = KeptAnswer(answered_at=self._recorded_at, answer=answered.answer)
            self._answers.setdefault(answered.command_id, kept)
        self._last_answered = answered
        self._commands_next = answered.offset + 1

    def _forget(self) -> None:
        """Before each event, not at the end: whether a repeat found the first answer must not depend on where a fold ended."""
        expired: list[CommandId] = []
        for command_id, kept in self._answers.items():
            if self._recorded_at - kept.answered_at <= ANSWERS_KEPT_MS:
                break
            expired.append(command_id)
        for command_id in expired:
            del self._answers[command_id]


def _is_remembered(answer: Answer) -> bool:
    """Not when it asks the client to come again (ADR 8)."""
    return not (isinstance(answer, Rejection) and answer.code is RejectionCode.UNAVAILABLE)
