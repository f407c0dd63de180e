"""Inputs -> decisions. Looks at state, proposes events, changes nothing."""

from typing import assert_never

from aion_common.records.commands import CancelRun, SignalRun, StartRun, TerminateRun
from aion_executor.core.decide import activities, catalog, due, endings, runs, signals, turns
from aion_executor.core.decision import Answered, Decision, Park, Rejection
from aion_executor.core.facts import Facts
from aion_executor.core.inputs import CommandInput, DueInput, MarkerInput, ResultInput, TurnInput
from aion_executor.core.partition import Partition
from aion_executor.core.run import Run


def decide(
    partition: Partition, run: Run | None, given: CommandInput | MarkerInput | TurnInput | ResultInput | DueInput, facts: Facts
) -> Decision | Answered | Park | Rejection:
    """What happens to `run`: the one the input addresses, of a start the newest of its workflow id; None if there is none."""
    match given:
        case TurnInput():
            return turns.end_turn(run, given, facts)
        case ResultInput(report=report):
            return activities.take_report(run, report, facts)
        case CommandInput(command=command):
            match command.body:
                case StartRun() as start:
                    return runs.start_run(partition, run, command.namespace, start, facts)
                case SignalRun() as signal:
                    return signals.signal_run(run, signal, facts)
                case CancelRun() as cancel:
                    return endings.cancel_run(run, cancel, facts)
                case TerminateRun() as terminate:
                    return endings.terminate_run(run, terminate)
                case _:
                    assert_never(command.body)
        case MarkerInput(marker=marker):
            return catalog.apply_marker(partition, marker.body)
        case DueInput():
            return due.come_due(run, facts)
        case _:
            assert_never(given)
