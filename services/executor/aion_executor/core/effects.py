"""What the shell must do to a VM because of a run's new state.

A VM is a cache, so every effect may run any number of times, and is lost without harm when its executor dies: whoever owns
the partition next derives it again from the run.
"""

from msgspec import Struct

from aion_common.ids import Namespace, Version
from aion_executor.core.run import Run, is_running, owes_turn


class Wake(Struct, frozen=True, kw_only=True, gc=False):
    """Give the run the inputs it has not been given, now or at the end of its present turn."""

    run: Run


class Evict(Struct, frozen=True, kw_only=True, gc=False):
    """The run is closed or blocked: nothing of it may go on in a VM."""

    run: Run


class Warm(Struct, frozen=True, kw_only=True, gc=False):
    """New starts run on the version from here on: its VM should be up when they come."""

    namespace: Namespace
    version: Version


class Unload(Struct, frozen=True, kw_only=True, gc=False):
    """Nothing needs the version any more: its VM goes."""

    namespace: Namespace
    version: Version


Effect = Wake | Evict | Warm | Unload


def effect_of(run: Run) -> Effect | None:
    """The effect of a run's newest state."""
    if not is_running(run):
        return Evict(run=run)
    return Wake(run=run) if owes_turn(run) else None
