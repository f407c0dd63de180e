"""What a partition decides about: one closed union. Everything that ever happens to a run comes through here."""

from dataclasses import dataclass

from aion_common.ids import RunId
from aion_common.records.commands import CatalogMarker, Command
from aion_common.records.common import Payload
from aion_common.records.events import Failure, WaitKind


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandInput:
    """A client's command at its offset of `aion.commands`."""

    offset: int
    command: Command


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkerInput:
    """A marker of the catalog at its offset of `aion.commands`."""

    offset: int
    marker: CatalogMarker


@dataclass(frozen=True, slots=True, kw_only=True)
class UnreadableInput:
    """A record of `aion.commands` that is none of ours: its offset counts as decided. Key and value as far as a dead letter
    holds them; `value_bytes`: what the value had."""

    offset: int
    reason: str
    key: bytes | None
    value: bytes | None
    value_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleasedInput:
    """The verdict is there: the start that was parked at this offset of `aion.commands` is decided."""

    offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Waits:
    """The turn ended in a wait. `name`: of the signal, when the SDK waits for one."""

    wait: WaitKind
    name: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Completes:
    """The turn ended the run with a result."""

    result: Payload


@dataclass(frozen=True, slots=True, kw_only=True)
class Fails:
    """The turn ended the run with a failure."""

    failure: Failure


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancels:
    """The turn ended the run: it did not catch the request to cancel."""

    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocks:
    """The engine cannot go on with the run: its replay differed, or its turns keep killing VMs."""

    expected: str
    found: str


Outcome = Waits | Completes | Fails | Cancels | Blocks


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnInput:
    """A turn that a VM proposes: the run had been given every event up to `observed_seq`."""

    run_id: RunId
    observed_seq: int
    outcome: Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class DueInput:
    """A time that the run's state names has come."""

    run_id: RunId


Input = CommandInput | MarkerInput | UnreadableInput | ReleasedInput | TurnInput | DueInput
