"""Lists and counts of a partition's runs, from its indexes."""

from collections.abc import Mapping

import pytest

from aion_common.errors import Fenced
from aion_common.ids import WorkflowId
from aion_executor.core.run import Run
from aion_executor.shell import lists
from aion_executor.shell.lists import Page, count_pins, list_runs, wanted_of
from aion_executor.store.rows import Store
from executor.given import V1, V2, routed, signal, start
from executor.world import World

ALL = {"namespace": "default"}


@pytest.fixture
def world() -> World:
    """Six runs, one a second: even ones wait, odd ones are complete; the last two on V2."""
    world = World().after(routed(V1, 1))
    for number in range(6):
        if number == 4:
            world.after(routed(V2, 2))
        kind = "at_once" if number % 2 else "two_signals"
        world.after(start(f"c{number}", kind, workflow_id=WorkflowId(f"w{number}")))
        world.now_ms += 1_000
    return world


def listed(world: World, wanted: Mapping[str, str] = ALL, limit: int = 100) -> Page:
    return list_runs(world.loop.store, wanted_of({**ALL, **wanted}), limit)


def ids(runs: tuple[Run, ...]) -> list[str]:
    return [run.workflow_id for run in runs]


def test_newest_runs_come_first(world: World) -> None:
    assert ids(listed(world).runs) == ["w5", "w4", "w3", "w2", "w1", "w0"]
    assert listed(world).position is None


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({"status": "completed"}, ["w5", "w3", "w1"]),
        ({"status": "running", "version": V1}, ["w2", "w0"]),
        ({"workflow_type": "two_signals"}, ["w4", "w2", "w0"]),
        ({"started_after": "3000"}, ["w5", "w4", "w3"]),
        ({"namespace": "other"}, []),
        ({"namespace": "defaul"}, []),
    ],
)
def test_filters_choose(world: World, wanted: dict[str, str], found: list[str]) -> None:
    assert ids(listed(world, wanted).runs) == found


@pytest.mark.parametrize("looked_at", [1, 2, 100])
def test_pages_follow_one_another_without_gap_or_repeat(world: World, looked_at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lists, "LIST_SCAN_RUNS_MAX", looked_at)
    found: list[str] = []
    wanted = {"status": "completed"}
    for _ in range(20):
        page = listed(world, wanted, 1)
        found += ids(page.runs)
        if page.position is None:
            break
        wanted["after"] = f"{page.position.started_at}/{page.position.run_id}"
    assert found == ["w5", "w3", "w1"]
    assert page.position is None


def test_list_shows_runs_as_they_are_now(world: World) -> None:
    world.after(signal("s1", "a", workflow_id=WorkflowId("w0")), signal("s2", "b", workflow_id=WorkflowId("w0")))
    assert "w0" in ids(listed(world, {"status": "completed"}).runs)


async def test_pins_are_counted_by_version_and_kind(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lists, "LIST_SCAN_RUNS_MAX", 1)
    run_id = world.newest(WorkflowId("w0")).run_id
    world.loop.residents.evict(run_id)
    is_resident = world.loop.residents.is_resident
    counted = await count_pins(lambda: world.loop.store, world.newest(WorkflowId("w0")).namespace, is_resident)
    assert counted == {
        V1: {"live_run": 1, "recoverable_run": 1, "recorded_child": 0},
        V2: {"live_run": 1, "recoverable_run": 0, "recorded_child": 0},
    }


async def test_count_ends_with_the_ownership(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lists, "LIST_SCAN_RUNS_MAX", 1)
    looks = iter([world.loop.store])

    def open_store() -> Store:
        for store in looks:
            return store
        raise Fenced("the ownership has ended")

    with pytest.raises(Fenced):
        await count_pins(open_store, world.newest(WorkflowId("w0")).namespace, world.loop.residents.is_resident)
