"""The whole system on three brokers, of which one after the other dies or stands still under load."""

import sys
from pathlib import Path

import pytest

from chaos.faults import COORDINATOR, LEADER, Fault, FaultKind
from chaos.rounds import survive
from chaos.system import Size, running

pytestmark = pytest.mark.timeout(900)

FAULTS = (
    Fault(victim=LEADER, kind=FaultKind.KILL, for_ms=5_000),
    Fault(victim=COORDINATOR, kind=FaultKind.KILL, for_ms=0),
    Fault(victim=LEADER, kind=FaultKind.STOP, for_ms=7_000),
)


def tell(line: str) -> None:
    """Shown when the test fails."""
    sys.stderr.write(line + "\n")


async def test_the_death_of_a_leader_loses_doubles_and_refuses_nothing(tmp_path: Path) -> None:
    async with running(tmp_path, Size(brokers=3)) as system:
        outcome = await survive(system, [(fault,) for fault in FAULTS], seed=1, tell=tell)
    told = outcome.document()
    assert outcome.is_clean, told["sentences"]
    assert told["rounds"] == len(FAULTS)
    assert told["runs"] == told["starts"]
