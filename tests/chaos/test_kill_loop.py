"""Anything may be killed or stopped under load: nothing is lost, doubled or refused. `make chaos` runs it for longer."""

import sys
from pathlib import Path

import pytest

from chaos.faults import FaultKind
from chaos.rounds import kill_loop
from chaos.system import Size

pytestmark = pytest.mark.timeout(900)


def tell(line: str) -> None:
    """Shown when the test fails."""
    sys.stderr.write(line + "\n")


async def test_five_rounds_of_faults_lose_double_and_refuse_nothing(tmp_path: Path) -> None:
    """The seed is one whose faults meet everything: a killed executor stays dead for longer than its session, and a worker is
    asked to end, then stopped, then killed."""
    outcome = await kill_loop(tmp_path, seed=147309, rounds=5, tell=tell, size=Size(workers=2))
    told = outcome.document()
    assert outcome.is_clean, told["sentences"]
    assert (told["rounds"], told["loads"]) == (5, 11)
    assert told["runs"] == told["starts"]
    assert outcome.stood_still_ms[FaultKind.KILL], "partitions were taken over"
    assert told["errands"], "runs had their activities"
