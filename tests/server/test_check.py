"""The checker sees what it is there to see: each broken promise, made by hand, is named."""

import pytest
from msgspec.structs import replace

from aion_common.checking import RunHistory
from aion_common.ids import CommandId, RunId, WorkflowId, ingress_command_id
from aion_common.limits import ANSWERS_KEPT_MS
from aion_common.records.commands import IdConflict
from aion_common.records.events import (
    CatalogApplied,
    DeadLettered,
    HistoryRecord,
    OwnerEpoch,
    Progress,
    RunCompleted,
    RunStarted,
    SignalReceived,
    TurnEnded,
)
from aion_common.records.replies import Rejection, RejectionCode
from aion_common.wire import chain_of, decode, encode, event_bytes_of, learn, next_chain
from executor.given import V1, V2, W1, routed, signal, start
from executor.world import World
from server.checked import Change, assert_named, chained, changed, checked, place_of, with_event
from wire.specimens import NAMESPACE, goldens, schemas_kept


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


@pytest.mark.parametrize(
    ("kind", "change", "sentence"),
    [
        (RunCompleted, lambda record: replace(record, seq=9), "of the run comes next"),
        (TurnEnded, lambda record: replace(record, chain=bytes(16)), "the chain covers"),
        (SignalReceived, lambda record: replace(record, recorded_at=1), "time does not go back"),
        (RunStarted, lambda record: replace(record, cause=None), "names its command"),
        (RunStarted, with_event(version=V2), "the version is loaded"),
        (TurnEnded, with_event(observed_seq=7), "observes what was there"),
        (Progress, with_event(sent_through=99), "the watermark"),
        (Progress, with_event(commands_next=99), "stay decided"),
    ],
)
async def test_broken_promise_is_named(world: World, kind: type, change: Change, sentence: str) -> None:
    history = list(world.history)
    at = place_of(history, kind)
    history[at] = encode(change(decode(history[at])))
    assert_named(await checked(history, world), sentence)


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


async def test_owner_that_names_an_epoch_before_its_own_is_named(world: World) -> None:
    with_epoch = changed(world, OwnerEpoch, lambda record: replace(record, owner_epoch=3), 1)
    assert_named(await checked(with_epoch, world), "an OwnerEpoch has the owner epoch -1")


async def test_record_of_an_earlier_owner_is_void(world: World) -> None:
    last = place_of(world.history, SignalReceived)
    first_epoch = decode(world.history[place_of(world.history, RunStarted)]).owner_epoch
    record = decode(world.history[last])
    assert record.owner_epoch > first_epoch
    report = await checked([*world.history[:last], encode(replace(record, owner_epoch=first_epoch))], world)
    assert report.void == 1


async def test_events_without_a_beginning_are_named(world: World) -> None:
    history = list(world.history)
    del history[place_of(history, RunStarted)]
    assert_named(await checked(history, world), "RunStarted is the first event")


async def test_decision_out_of_the_order_of_commands_is_named(world: World) -> None:
    world.after(start("c8", "park"), start("c9", "park", workflow_id=WorkflowId("w9")))
    history = list(world.history)
    earlier, later = place_of(history, RunStarted, -2), place_of(history, RunStarted, -1)
    history[earlier], history[later] = history[later], history[earlier]
    assert_named(await checked(chained(history), world), "decided in their order")


async def test_marker_that_took_no_effect_is_named(world: World) -> None:
    history = list(world.history)
    del history[place_of(history, CatalogApplied, 1)]
    assert_named(await checked(history, world), "takes effect: VersionRouted")


async def test_marker_that_takes_effect_twice_is_named(world: World) -> None:
    twin = world.history[place_of(world.history, CatalogApplied)]
    late = encode(replace(decode(twin), owner_epoch=decode(world.history[-1]).owner_epoch, recorded_at=9_999))
    assert_named(await checked([*world.history, late], world), "route epochs grow")


async def test_marker_that_takes_effect_behind_a_later_command_is_named(world: World) -> None:
    world.send(routed(V1, 3), start("c9", "at_once", workflow_id=WorkflowId("w9")))
    world.run()
    history = list(world.history)
    marker, started = place_of(history, CatalogApplied, -1), place_of(history, RunStarted, -1)
    history.insert(started, history.pop(marker))
    assert_named(await checked(history, world), "takes effect at its position")


async def test_second_answer_that_differs_is_named(world: World) -> None:
    world.after(start("c2", "nobody"))
    said = Rejection(code=RejectionCode.NOT_FOUND, reason="who asks?")

    def contradict(record: HistoryRecord) -> HistoryRecord:
        assert isinstance(record.event, Progress)
        answers = tuple(replace(answered, answer=said) for answered in record.event.answers)
        return replace(record, event=replace(record.event, answers=answers))

    report = await checked(changed(world, Progress, contradict, -1), world)
    assert_named(report, "a repeat of c2 gets the first answer")


async def test_answer_that_is_not_in_the_history_is_named(world: World) -> None:
    world.after(start("c8", "park"), start("c9", "park", id_conflict=IdConflict.USE_EXISTING))
    assert "c9" in (await checked(world.history, world)).answered

    def invent(record: HistoryRecord) -> HistoryRecord:
        assert isinstance(record.event, Progress)
        answers = tuple(
            replace(answered, answer=replace(answered.answer, run_id=RunId("f" * 32))) for answered in record.event.answers
        )
        return replace(record, event=replace(record.event, answers=answers))

    with_answers = [
        number
        for number, record in enumerate(record for record in world.records() if isinstance(record.event, Progress))
        if any(answered.command_id == "c9" for answered in record.event.answers)  # type: ignore[union-attr]
    ]
    assert_named(
        await checked(changed(world, Progress, invent, with_answers[0]), world), "an answer says what is in the history"
    )


async def test_command_that_comes_again_after_its_answer_was_forgotten_is_a_new_one(world: World) -> None:
    world.after(start("c8", "two_signals"), signal("s1", "a"))
    world.now_ms += ANSWERS_KEPT_MS + 1
    record = next(record for record in reversed(world.records()) if isinstance(record.event, SignalReceived))
    again = replace(record, seq=world.newest(W1).seq + 1, recorded_at=world.now_ms)
    assert not [
        broken for broken in (await checked(chained([*world.history, encode(again)]), world)).broken if "once" in broken
    ]
    soon = replace(again, recorded_at=record.recorded_at + ANSWERS_KEPT_MS)
    assert_named(await checked(chained([*world.history, encode(soon)]), world), "s1 is decided once")


async def test_record_that_cannot_be_used_is_counted_and_told_once(world: World) -> None:
    world.after(None)
    report = await checked(world.history, world)
    assert (report.broken, report.letters) == ([], 1)
    letter = world.history[place_of(world.history, DeadLettered)]
    assert_named(await checked([*world.history, letter], world), "is told once")


async def test_refusal_that_nobody_waits_for_is_in_the_dead_letters(world: World) -> None:
    refused = start(ingress_command_id(3, 41), "nobody")
    world.after(replace(refused, reply_partition=None))
    world.after(replace(refused, reply_partition=None))
    report = await checked(world.history, world)
    assert (report.broken, report.letters) == ([], 1)
    silent = [value for value in world.history if not isinstance(decode(value).event, DeadLettered)]
    assert_named(await checked(chained(silent), world), "the refusal of ingress/3/41 is in the dead letters")


async def test_history_of_an_older_release_keeps_its_chain() -> None:
    """The chain is over bytes: read with our schema, an old RunStarted has a field more than its writer knew."""
    learn(schemas_kept())
    older, *_ = goldens("history_record.run_started")
    started = RunHistory(RunId("0123456789abcdef" * 2), (NAMESPACE, WorkflowId("order/1")))
    record = decode(older)
    of_bytes = next_chain(bytes(16), record.seq, record.recorded_at, event_bytes_of(older))
    assert of_bytes != chain_of(record, bytes(16))
    assert not any("chain" in sentence for sentence in started.take(replace(record, chain=of_bytes), older))
