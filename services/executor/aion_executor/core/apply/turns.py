"""Ends of turns. `also`: fields of the run that change with the same event."""

from typing import Any

from msgspec.structs import replace

from aion_common.records.events import TurnEnded
from aion_executor.core.run import Run


def observed(run: Run, observed_seq: int, **also: Any) -> Run:
    """The run after a turn in which it had been given everything up to `observed_seq`."""
    assert observed_seq >= run.observed, "what a run observed stays observed"
    unobserved, signals = _after(run.unobserved, observed_seq), _after(run.signals, observed_seq)
    return replace(run, observed=observed_seq, unobserved=unobserved, signals=signals, **also)


def _after(seqs: tuple[int, ...], observed_seq: int) -> tuple[int, ...]:
    if not seqs or seqs[-1] <= observed_seq:
        return ()
    return tuple(seq for seq in seqs if seq > observed_seq)


def given_input(run: Run, seq: int, **also: Any) -> Run:
    """One more input that the run was not given yet."""
    return replace(run, unobserved=(*run.unobserved, seq), **also)


def command_recorded(run: Run, turn: TurnEnded | None, **also: Any) -> Run:
    """After a command of a turn; the last one ends it."""
    return replace(run, **also) if turn is None else ended(run, turn, **also)


def ended(run: Run, event: TurnEnded, **also: Any) -> Run:
    """The run waits."""
    return observed(run, event.observed_seq, wait=event.wait, wait_name=event.name, **also)
