"""What VMs report, in the words of the core."""

import pytest

from aion_beam.frames import Cancelled
from aion_beam.pool import PackageKey, VmPool
from aion_executor.core.inputs import Cancels
from aion_executor.shell.residents import TurnEnd
from aion_executor.shell.vms import PartitionVms, Switchboard, turn_end_of
from executor.given import DEFAULT, V1


def test_run_that_gave_up_on_a_request_to_cancel_is_cancelled() -> None:
    cancelled = Cancelled(activation=7, observed_seq=5, reason="why")
    assert turn_end_of(cancelled) == TurnEnd(observed_seq=5, outcome=Cancels(reason="why"))


class Stops(VmPool):
    """A pool that remembers which versions it was told to stop."""

    def __init__(self) -> None:
        self.stopped: list[PackageKey] = []

    def stop_version(self, key: PackageKey) -> None:
        """See `VmPool`."""
        self.stopped.append(key)


class Nobody:
    """See `TurnTaker`."""

    def outcome(self, activation: int, ended: TurnEnd | None) -> None:
        """Nothing comes."""

    def gone(self, activations: object) -> None:
        """Nothing goes."""


@pytest.mark.parametrize("is_loaded", [True, False], ids=["loaded by another partition", "loaded nowhere"])
def test_vm_of_an_unloaded_version_goes_with_the_last_partition_that_has_it(is_loaded: bool) -> None:
    pool = Stops()
    PartitionVms(pool, Switchboard(), lambda _: is_loaded, Nobody()).unload(DEFAULT, V1)
    assert pool.stopped == ([] if is_loaded else [PackageKey(namespace=DEFAULT, version=V1)])
