"""What a partition's history says of versions: which are loaded and routed, which one is closing, which starts wait. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import assert_never

from aion_common.checking.waits import Promise
from aion_common.ids import Namespace, Version, WorkflowType
from aion_common.records.commands import (
    Command,
    MarkerBody,
    StartRun,
    VersionClosing,
    VersionKept,
    VersionRouted,
    VersionUnloaded,
)

Place = tuple[Namespace, Version]


def names(command: Command, place: Place) -> bool:
    """Whether the command is a start that names this version."""
    return isinstance(command.body, StartRun) and (command.namespace, command.body.version) == place


@dataclass(slots=True)
class CatalogHistory:
    """`versions`: loaded here, each with its types and how long their runs may take. `parked`: by the offset of the start."""

    routes: dict[tuple[Namespace, WorkflowType], Version] = field(default_factory=dict)
    versions: dict[Place, dict[WorkflowType, int | None]] = field(default_factory=dict)
    route_epoch: int = 0
    unload_attempt: int = 0
    closing: VersionClosing | None = None
    parked: dict[int, Command] = field(default_factory=dict)

    @property
    def closing_place(self) -> Place | None:
        """The version that somebody wants to unload."""
        return None if self.closing is None else (self.closing.namespace, self.closing.version)

    def is_news(self, marker: MarkerBody) -> bool:
        """Whether a marker must take effect where it stands."""
        match marker:
            case VersionRouted(route_epoch=route_epoch):
                return route_epoch > self.route_epoch
            case VersionClosing(attempt=attempt):
                return attempt > self.unload_attempt
            case VersionKept() | VersionUnloaded():
                return self.closing is not None and self.closing.attempt == marker.attempt
            case _:
                assert_never(marker)

    def take_marker(self, marker: MarkerBody, open_runs: int) -> list[str]:
        """A marker that took effect; `open_runs`: on its version, here and now. Returns each promise that it breaks."""
        promises = tuple(self._of_marker(marker, open_runs))
        self._advance(marker)
        return [sentence for is_kept, sentence in promises if not is_kept]

    def _of_marker(self, marker: MarkerBody, open_runs: int) -> Iterator[Promise]:
        place = (marker.namespace, marker.version)
        match marker:
            case VersionRouted():
                yield self.is_news(marker), "route epochs grow"
            case VersionClosing():
                is_routed = any(of == marker.namespace and to == marker.version for (of, _), to in self.routes.items())
                yield self.is_news(marker), "attempts to unload grow"
                yield place in self.versions, "a version that somebody wants to unload is loaded"
                yield not is_routed, "a version that is routed is not unloaded"
            case VersionKept() | VersionUnloaded():
                is_waited_for = self.is_news(marker) and place == self.closing_place
                yield is_waited_for, "a verdict is on the version and the attempt that were waited for"
                if isinstance(marker, VersionUnloaded):
                    yield not open_runs, f"nothing needs a version that is unloaded, but {open_runs} open runs do"
            case _:
                assert_never(marker)

    def _advance(self, marker: MarkerBody) -> None:
        place = (marker.namespace, marker.version)
        match marker:
            case VersionRouted():
                timeouts = {timeout.workflow_type: timeout.timeout_ms for timeout in marker.timeouts}
                self.versions[place] = {provided: timeouts.get(provided) for provided in marker.types}
                self.routes.update({(marker.namespace, routed): marker.version for routed in marker.routed_types})
                self.route_epoch = marker.route_epoch
            case VersionClosing():
                self.closing, self.unload_attempt = marker, marker.attempt
            case VersionKept():
                self.closing = None
            case VersionUnloaded():
                self.closing = None
                self.versions.pop(place, None)
            case _:
                assert_never(marker)

    def park(self, offset: int, command: Command) -> list[str]:
        """A start that waits. Returns each promise that this breaks."""
        is_named = self.closing_place is not None and names(command, self.closing_place)
        broken = [] if is_named else ["a start is parked for the version that is closing, which it names"]
        if offset in self.parked:
            broken.append("a start is parked once")
        self.parked[offset] = command
        return broken

    def release(self, offset: int) -> list[str]:
        """A start that waits no more. Returns each promise that this breaks."""
        broken = [] if self.closing is None else ["a start is released after the verdict, not before"]
        if self.parked.pop(offset, None) is None:
            broken.append("a start that is released was parked, and is released once")
        return broken
