"""What goes into a decision beside the state, and what comes out: values that `decide` and the shell share."""

from collections.abc import Mapping

from msgspec import Struct

from aion_common.ids import Version, WorkflowType
from aion_common.records.catalog import CatalogCommand, CatalogEvent, CommandAnswered, PackageManifest
from aion_common.records.commands import CatalogMarker
from aion_common.records.common import RunTimeout
from aion_common.records.replies import Answer, PinsReported


class Checked(Struct, frozen=True, kw_only=True):
    """A package that passed every check. `types`: all it provides, the entry module's first; `manifest_json` canonical."""

    version: Version
    manifest_digest: str
    manifest_json: bytes
    types: tuple[WorkflowType, ...]
    wakes_itself: bool
    warnings: tuple[str, ...]
    timeouts: tuple[RunTimeout, ...] = ()


class Refused(Struct, frozen=True, kw_only=True):
    """A package that must not be loaded, and why in words for its author."""

    reason: str


class Gathered(Struct, frozen=True, kw_only=True):
    """What owners reported of the attempt to unload that is under way, by partition; `silent`: those that did not in time."""

    reports: Mapping[int, PinsReported]
    silent: tuple[int, ...]


class Facts(Struct, frozen=True, kw_only=True):
    """What the core may not look up. `offset`: the command's in its topic. `package`: set when `needs_check` says so; `pins`:
    when `needs_pins` does."""

    now_ms: int
    offset: int
    package: Checked | Refused | None = None
    pins: Gathered | None = None


class Decision(Struct, frozen=True, kw_only=True):
    """Events in order; `markers` for every command partition; `manifest` goes with a `VersionLoaded`."""

    events: tuple[CatalogEvent, ...]
    markers: tuple[CatalogMarker, ...] = ()
    manifest: PackageManifest | None = None

    @property
    def answer(self) -> Answer | None:
        """What the command is answered with; None if this does not decide a command yet, or none that could be read."""
        last = self.events[-1]
        return last.answer if isinstance(last, CommandAnswered) else None


def answered(
    command: CatalogCommand,
    facts: Facts,
    answer: Answer,
    *events: CatalogEvent,
    markers: tuple[CatalogMarker, ...] = (),
    manifest: PackageManifest | None = None,
) -> Decision:
    """The command's decision: the events, and behind them the answer."""
    last = CommandAnswered(
        command_id=command.command_id, offset=facts.offset, reply_partition=command.reply_partition, answer=answer
    )
    return Decision(events=(*events, last), markers=markers, manifest=manifest)
