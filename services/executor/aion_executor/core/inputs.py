"""What a partition decides about: one closed union. Everything that ever happens to a run comes through here."""

from msgspec import Struct

from aion_common.ids import RunId
from aion_common.records.commands import CatalogMarker, Command
from aion_common.records.common import Payload
from aion_common.records.events import Failure, WaitKind
from aion_common.records.tasks import TaskReport
from aion_common.turns import Request


class CommandInput(Struct, frozen=True, kw_only=True, gc=False):
    """A client's command at its offset of `aion.commands`."""

    offset: int
    command: Command


class MarkerInput(Struct, frozen=True, kw_only=True, gc=False):
    """A marker of the catalog at its offset of `aion.commands`."""

    offset: int
    marker: CatalogMarker


class ResultInput(Struct, frozen=True, kw_only=True, gc=False):
    """A worker's report at its offset of `aion.results`."""

    offset: int
    report: TaskReport


class UnreadableInput(Struct, frozen=True, kw_only=True, gc=False):
    """A record of `topic`, commands or results, that is none of ours: its offset counts as decided. Key and value as far as a
    dead letter holds them; `value_bytes`: what the value had."""

    topic: str
    offset: int
    reason: str
    key: bytes | None
    value: bytes | None
    value_bytes: int


class ReleasedInput(Struct, frozen=True, kw_only=True, gc=False):
    """The verdict is there: the start that was parked at this offset of `aion.commands` is decided."""

    offset: int


class Waits(Struct, frozen=True, kw_only=True, gc=False):
    """The turn ended in a wait. `name`: of the signal, when the SDK waits for one."""

    wait: WaitKind
    name: str | None


class Completes(Struct, frozen=True, kw_only=True, gc=False):
    """The turn ended the run with a result."""

    result: Payload


class Fails(Struct, frozen=True, kw_only=True, gc=False):
    """The turn ended the run with a failure."""

    failure: Failure


class Cancels(Struct, frozen=True, kw_only=True, gc=False):
    """The turn ended the run: it did not catch the request to cancel."""

    reason: str | None


class Blocks(Struct, frozen=True, kw_only=True, gc=False):
    """The engine cannot go on with the run: its replay differed, or its turns keep killing VMs."""

    expected: str
    found: str


End = Completes | Fails | Cancels | Blocks

Outcome = Waits | End


class TurnInput(Struct, frozen=True, kw_only=True, gc=False):
    """A turn that a VM proposes: the run had been given every event up to `observed_seq`, and asked for these things."""

    run_id: RunId
    observed_seq: int
    outcome: Outcome
    requests: tuple[Request, ...] = ()


class DueInput(Struct, frozen=True, kw_only=True, gc=False):
    """A time that the run's state names has come."""

    run_id: RunId


Input = CommandInput | MarkerInput | ResultInput | UnreadableInput | ReleasedInput | TurnInput | DueInput
