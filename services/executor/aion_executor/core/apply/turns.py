"""Ends of turns."""

from msgspec.structs import replace

from aion_common.records.events import TurnEnded
from aion_executor.core.run import Run


def observed(run: Run, observed_seq: int) -> Run:
    """The run after a turn in which it had been given everything up to `observed_seq`."""
    assert observed_seq >= run.observed, "what a run observed stays observed"
    unobserved = tuple(seq for seq in run.unobserved if seq > observed_seq)
    signals = tuple(seq for seq in run.signals if seq > observed_seq)
    return replace(run, observed=observed_seq, unobserved=unobserved, signals=signals)


def given_input(run: Run, seq: int) -> Run:
    """One more input that the run was not given yet."""
    return replace(run, unobserved=(*run.unobserved, seq))


def command_recorded(run: Run, turn: TurnEnded | None) -> Run:
    """After a command of a turn; the last one ends it."""
    return run if turn is None else ended(run, turn)


def ended(run: Run, event: TurnEnded) -> Run:
    """The run waits."""
    return replace(observed(run, event.observed_seq), wait=event.wait, wait_name=event.name)
