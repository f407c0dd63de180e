"""Signals."""

from aion_executor.core.apply.turns import given_input
from aion_executor.core.run import Run


def received(run: Run, seq: int) -> Run:
    """One more input that the run was not given yet."""
    return given_input(run, seq, signals=(*run.signals, seq))
