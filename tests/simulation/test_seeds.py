"""The simulation as a test: some hundred seeds keep every sentence, and one seed is always the same."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import pytest

from aion_executor import processor
from aion_executor.core.decide import runs
from aion_executor.shell import ownership
from aion_executor.shell.partition_loop import PartitionLoop
from simulation.seeds import FEW_HUNDRED, live, never_seen, told
from simulation.world import run_seed


def test_seeds_keep_every_sentence() -> None:
    endings = list(live(range(FEW_HUNDRED)))
    broken = [ending for ending in endings if ending.broken is not None]
    assert not broken, "\n\n".join(told(ending) for ending in broken[:3])
    assert not never_seen(endings)


def test_seed_is_the_same_every_time_and_everywhere() -> None:
    """Another process has other addresses and hashes its strings otherwise."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        elsewhere = list(pool.map(run_seed, range(4)))
    here = [run_seed(seed) for seed in range(4)]
    assert [ending.digest for ending in here] == [ending.digest for ending in elsewhere]
    assert len({ending.digest for ending in here}) == 4


@pytest.mark.parametrize(
    ("room", "mechanism", "instead", "sentence"),
    [
        (runs, "is_closing", lambda *_: False, "nothing starts on a version that is closing"),
        (processor, "_first_answer", lambda *_: None, "is decided once"),
        (PartitionLoop, "wake_owed", lambda _: None, "runs do not go on"),
        (ownership, "VOID_EPOCH", 0, "decided commands stay decided"),
    ],
)
def test_seeds_see_what_is_switched_off(
    monkeypatch: pytest.MonkeyPatch, room: object, mechanism: str, instead: object, sentence: str
) -> None:
    monkeypatch.setattr(room, mechanism, instead)
    assert any(sentence in (run_seed(seed).broken or "") for seed in range(40))
