"""The checker sees what it is there to see: each broken promise, made by hand, is named."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from aion_common.clock import SystemClock
from aion_common.ids import CommandId, RunId
from aion_common.kafka.topics import Topics
from aion_common.records.events import HistoryRecord, Progress, RunCompleted, RunStarted, SignalReceived, TurnEnded
from aion_common.settings import Settings
from aion_common.testing.memory_cluster import MemoryCluster
from aion_common.testing.memory_log import MemoryLog
from aion_common.wire import decode, encode
from aion_server.check import Report, check_cluster
from aion_server.init import create
from executor.given import V1, V2, W1, routed, signal, start
from executor.world import World

TOPICS = Topics("aion.")


async def checked(history: list[bytes], world: World) -> Report:
    """What the checker says of a history and the commands behind it."""
    log = MemoryLog(MemoryCluster(SystemClock()))
    await create(log, Settings(partitions=1), SystemClock())
    sender = await log.sender()
    wishes = [getattr(given, "command", None) or getattr(given, "marker", None) for given in world.commands]
    await sender.send(TOPICS.commands, 0, [(b"", encode(wish)) for wish in wishes])
    await sender.send(TOPICS.history, 0, [(b"", value) for value in history])
    await sender.close()
    try:
        return await check_cluster(log, TOPICS)
    finally:
        await log.close()


@pytest.fixture
def world() -> World:
    """Two runs of a workflow id, a signal, two owners, two versions."""
    made = World().after(routed(V1, 1), start("c1", "at_once"), start("c2", "nobody"))
    made.after(start("c3", "park"))
    made.crash(keep_store=True)
    return made.after(routed(V2, 2), signal("c4", "go"))


async def test_sound_history_keeps_its_promises(world: World) -> None:
    report = await checked(world.history, world)
    assert report.broken == []
    assert (report.runs, report.closed, report.void) == (2, 2, 0)
    assert set(report.starts) == {"c1", "c3"}
    assert set(report.signals) == {"c4"}
    assert report.missing([CommandId(name) for name in ("c1", "c3", "c4", "c9")]) == ["c9"]


Change = Callable[[HistoryRecord], HistoryRecord]


@pytest.mark.parametrize(
    ("kind", "change", "sentence"),
    [
        (RunCompleted, lambda record: replace(record, seq=9), "of the run comes next"),
        (TurnEnded, lambda record: replace(record, chain=bytes(16)), "the chain covers"),
        (SignalReceived, lambda record: replace(record, recorded_at=1), "time does not go back"),
        (RunStarted, lambda record: replace(record, cause=None), "names its command"),
        (RunStarted, lambda record: replace(record, event=replace(record.event, version=V2)), "the version is loaded"),
        (TurnEnded, lambda record: replace(record, event=replace(record.event, observed_seq=7)), "observes what was there"),
        (Progress, lambda record: replace(record, event=replace(record.event, sent_through=99)), "the watermark"),
        (Progress, lambda record: replace(record, event=replace(record.event, commands_next=99)), "stay decided"),
    ],
)
async def test_broken_promise_is_named(world: World, kind: type, change: Change, sentence: str) -> None:
    history = list(world.history)
    at = next(offset for offset, value in enumerate(history) if isinstance(decode(value).event, kind))
    history[at] = encode(change(decode(history[at])))
    report = await checked(history, world)
    assert any(sentence in broken for broken in report.broken), report.broken


async def test_run_that_goes_on_after_its_end_is_named(world: World) -> None:
    end = next(value for value in world.history if isinstance(decode(value).event, RunCompleted))
    late = replace(decode(end), seq=3, owner_epoch=decode(world.history[-1]).owner_epoch)
    report = await checked([*world.history, encode(late)], world)
    assert any("nothing follows" in broken for broken in report.broken)


async def test_start_on_another_version_than_the_routed_one_is_named(world: World) -> None:
    world.after(start("c9", "park"))
    history = list(world.history)
    at = max(offset for offset, value in enumerate(history) if isinstance(decode(value).event, RunStarted))
    record = decode(history[at])
    history[at] = encode(replace(record, event=replace(record.event, version=V1)))
    report = await checked(history, world)
    assert any("routed at its position" in broken for broken in report.broken)


async def test_second_open_run_of_a_workflow_id_is_named(world: World) -> None:
    run = world.after(start("c9", "park")).newest(W1)
    record = next(record for record in world.records() if record.run_id == run.run_id)
    assert record.cause is not None
    twin = replace(record, run_id=RunId("f" * 32), cause=replace(record.cause, command_id=CommandId("c10")))
    report = await checked([*world.history, encode(twin)], world)
    assert any("one open run" in broken for broken in report.broken)


async def test_command_that_is_decided_twice_is_named(world: World) -> None:
    record = next(record for record in world.records() if isinstance(record.event, SignalReceived))
    report = await checked([*world.history, encode(record)], world)
    assert any("is decided once" in broken for broken in report.broken)


async def test_void_records_are_counted_and_garbage_is_named(world: World) -> None:
    zombie = next(record for record in world.records() if isinstance(record.event, RunStarted))
    report = await checked([*world.history, encode(zombie), b"garbage"], world)
    assert report.void == 1
    assert any("not a record" in broken for broken in report.broken)
