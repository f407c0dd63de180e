"""What VMs report, in the words of the core."""

from aion_beam.frames import Cancelled
from aion_executor.core.inputs import Cancels
from aion_executor.shell.residents import TurnEnd
from aion_executor.shell.vms import turn_end_of


def test_run_that_gave_up_on_a_request_to_cancel_is_cancelled() -> None:
    cancelled = Cancelled(activation=7, observed_seq=5, reason="why")
    assert turn_end_of(cancelled) == TurnEnd(observed_seq=5, outcome=Cancels(reason="why"))
