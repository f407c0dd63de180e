"""The clock runs forward only, and comes back to the machine's."""

import time

import pytest

from aion_common.clock import SystemClock

SECOND_NS = 1_000_000_000


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """The machine's two clocks, set by hand."""
    state = {"wall": 1_000 * SECOND_NS, "running": 5 * SECOND_NS}
    monkeypatch.setattr(time, "time_ns", lambda: state["wall"])
    monkeypatch.setattr(time, "monotonic_ns", lambda: state["running"])
    return state


def test_clock_follows_the_machine(machine: dict[str, int]) -> None:
    clock = SystemClock()
    assert clock.now_ms() == 1_000_000
    machine["wall"] += 3 * SECOND_NS
    machine["running"] += 3 * SECOND_NS
    assert clock.now_ms() == 1_003_000
    machine["wall"] += 50 * SECOND_NS
    assert clock.now_ms() == 1_053_000


def test_clock_never_goes_back_and_agrees_again_in_time(machine: dict[str, int]) -> None:
    clock = SystemClock()
    machine["wall"] -= 2 * SECOND_NS
    before = clock.now_ms()
    for _ in range(30):
        machine["wall"] += SECOND_NS
        machine["running"] += SECOND_NS
        now = clock.now_ms()
        assert now > before
        before = now
    assert before == machine["wall"] // 1_000_000
