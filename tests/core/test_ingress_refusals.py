"""Refused commands of `aion.ingress`: nobody waits for their answers, so each is told once in the dead letters."""

import pytest
from msgspec.structs import replace

from aion_common import limits
from aion_common.ids import CommandId, ingress_command_id, ingress_place_of
from aion_common.records.commands import Command
from aion_common.records.events import DeadLettered, SignalReceived
from aion_common.records.replies import RejectionCode
from aion_executor.store.rows import OwedSend
from executor.given import V1, routed, signal, start
from executor.world import World

FIRST, SECOND = ingress_command_id(3, 41), ingress_command_id(3, 42)


def unanswered(command: Command) -> Command:
    """The same, as the bridge forwards it."""
    return replace(command, reply_partition=None)


@pytest.fixture
def world() -> World:
    return World().after(routed(V1, 1))


def told(world: World) -> list[tuple[str, str, str, bytes | None]]:
    """Of the dead letters that left: where from, why, and the key."""
    return [_told(letter) for letter in world.letters]


def _told(letter: OwedSend) -> tuple[str, str, str, bytes | None]:
    headers = {name: value.decode() for name, value in letter.headers}
    assert letter.value is None
    return f"{headers['aion-topic']}/{headers['aion-partition']}", headers["aion-offset"], headers["aion-reason"], letter.key


def test_the_id_of_a_command_is_the_place_of_its_record_and_back() -> None:
    assert (FIRST, ingress_place_of(FIRST)) == ("ingress/3/41", (3, 41))
    for other in ("http/default/ingress/3/41", "ingress/3/41/x", "ingress/3", "ingress/-1/0", "ingress/3/٤"):
        assert ingress_place_of(CommandId(other)) is None


def test_a_refused_start_is_a_dead_letter_with_its_code_and_workflow(world: World) -> None:
    world.after(unanswered(start(FIRST, "park")), unanswered(start(SECOND, "park")))
    world.flush()
    reason = "already_started: workflow id 'w1' has an open run"
    assert told(world) == [("ingress/3", "42", reason, b"default/w1")]
    assert world.replies == []


def test_what_is_accepted_and_what_came_over_http_is_no_dead_letter(world: World) -> None:
    world.after(unanswered(start(FIRST, "park")), start("c2", "park"), signal("s1", "x"))
    world.flush()
    assert told(world) == []


@pytest.mark.parametrize("keep_store", [True, False])
def test_a_repeat_is_not_told_again_and_what_is_owed_leaves_with_the_next_owner(world: World, *, keep_store: bool) -> None:
    refused = unanswered(start(FIRST, "nobody"))
    world.send(refused, refused)
    world.loop.gather(world.now_ms)
    world.append()
    world.crash(keep_store=keep_store)
    world.after(refused)
    world.flush()
    assert [offset for _, offset, _, _ in told(world)] == ["41"]
    assert [type(record.event) for record in world.records()].count(DeadLettered) == 1


def test_overloaded_is_the_answer_for_good_where_nobody_hears_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PENDING_SIGNALS_MAX", 2)
    world.send(start("c1", "two_signals"))
    world.loop.gather(world.now_ms)
    world.send(*(signal(f"x{number}", "x") for number in range(2)))
    world.loop.gather(world.now_ms)
    for _ in range(2):
        world.after(unanswered(signal(FIRST, "a")))
        world.flush()
    assert [reason.partition(":")[0] for _, _, reason, _ in told(world)] == [RejectionCode.OVERLOADED]
    received = [record for record in world.records() if isinstance(record.event, SignalReceived)]
    assert FIRST not in [record.cause.command_id for record in received if record.cause is not None]
