"""What still needs a version in a partition: exact at the position of the marker that asks.

From there on no start that names the version is decided before the verdict, and none that does not can get it: a version
that is routed is not closed. So what is counted here is all there will ever be.
"""

from collections import Counter
from collections.abc import Callable
from itertools import islice

from aion_common.ids import CommandId, RunId
from aion_common.limits import PINS_NAMED_MAX
from aion_common.records.commands import VersionClosing
from aion_common.records.replies import Pin, PinCount, PinKind, PinsReported
from aion_executor.changes import Lookup
from aion_executor.core.facts import Facts
from aion_executor.core.indexes import open_prefix, run_id_in


def pins_command_id(attempt: int, partition: int) -> CommandId:
    """What a report answers: one partition's part of one attempt."""
    return CommandId(f"unload/{attempt}/{partition}")


def kind_of(run_id: RunId, is_resident: Callable[[RunId], bool]) -> PinKind:
    """How an open run pins its version."""
    return PinKind.LIVE_RUN if is_resident(run_id) else PinKind.RECOVERABLE_RUN


def report_pins(state: Lookup, facts: Facts, closing: VersionClosing, is_resident: Callable[[RunId], bool]) -> PinsReported:
    """The partition's answer to the question what pins a version."""
    open_runs = [run_id_in(entry) for entry in state.entries(open_prefix(closing.namespace, closing.version))]
    counts = Counter(kind_of(run_id, is_resident) for run_id in open_runs)
    pins: list[Pin] = []
    for run_id in islice(open_runs, PINS_NAMED_MAX):
        run = state.run(run_id)
        assert run is not None, "an index names runs that exist"
        pins.append(Pin(kind=kind_of(run_id, is_resident), workflow_id=run.workflow_id, run_id=run_id))
    return PinsReported(
        partition=facts.number,
        attempt=closing.attempt,
        counts=tuple(PinCount(kind=kind, number=number) for kind, number in sorted(counts.items())),
        pins=tuple(pins),
    )
