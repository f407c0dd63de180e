"""The plan of faults, and what is read from the histories afterwards."""

import pytest

from aion_common.ids import NO_NAMESPACE, NO_RUN, NO_WORKFLOW
from aion_common.kafka.api import LogRecord
from aion_common.records.events import HistoryRecord, OwnerEpoch, PartitionEvent, Progress
from aion_server.broker import ENDED_AS_ASKED
from chaos.faults import FAMILIES, WORKER, FaultKind, plan
from chaos.rounds import _wrong
from chaos.takeovers import Ownership, TakeOver, ownerships_of, summary_ms, take_overs

PARTS = (
    "broker",
    "catalog-1",
    "catalog-2",
    "executor-1",
    "executor-2",
    "gateway-1",
    "gateway-2",
    "vms",
    "worker-1",
    "worker-2",
)


def test_one_seed_is_one_plan() -> None:
    assert plan(7, 20, PARTS) == plan(7, 20, PARTS)
    assert plan(7, 20, PARTS) != plan(8, 20, PARTS)


def test_six_rounds_meet_every_family_of_victims() -> None:
    for seed in range(50):
        first_victims = [faults[0].victim for faults in plan(seed, 6, PARTS)]
        assert sorted(family for family in FAMILIES for victim in first_victims if victim.startswith(family)) == sorted(
            FAMILIES
        )


def test_a_family_that_is_not_there_is_no_victim() -> None:
    planned = plan(1, 20, [part for part in PARTS if not part.startswith(WORKER)])
    assert not [fault for faults in planned for fault in faults if fault.victim.startswith(WORKER)]


def test_every_victim_is_killed_and_stopped_and_asked_in_some_plan() -> None:
    met = {(fault.victim, fault.kind) for seed in range(50) for faults in plan(seed, 20, PARTS) for fault in faults}
    assert met == {(victim, kind) for victim in PARTS for kind in FaultKind} - {("vms", FaultKind.ASK)}


def read(offset: int, timestamp_ms: int, owner_epoch: int, event: PartitionEvent) -> tuple[LogRecord, HistoryRecord]:
    """A record of a partition's history."""
    record = HistoryRecord(
        namespace=NO_NAMESPACE,
        workflow_id=NO_WORKFLOW,
        run_id=NO_RUN,
        seq=0,
        recorded_at=timestamp_ms,
        owner_epoch=owner_epoch,
        chain=b"",
        cause=None,
        event=event,
    )
    return LogRecord(offset=offset, timestamp_ms=timestamp_ms, key=b"", value=b""), record


def began(member: str) -> OwnerEpoch:
    """An ownership begins."""
    return OwnerEpoch(producer_id=1, producer_epoch=1, member=member, clock_ms=0)


PROGRESS = Progress(commands_next=0, sent_through=-1, answers=())


def test_an_ownership_commits_with_its_first_record_that_is_not_void() -> None:
    history = [
        read(0, 100, -1, began("a")),
        read(1, 110, 0, PROGRESS),
        read(2, 200, -1, began("b")),
        read(3, 210, 0, PROGRESS),
        read(4, 220, 2, PROGRESS),
        read(5, 230, 2, PROGRESS),
        read(6, 300, -1, began("a")),
    ]
    assert ownerships_of(3, history) == [
        Ownership(partition=3, member="a", began_ms=100, first_commit_ms=110),
        Ownership(partition=3, member="b", began_ms=200, first_commit_ms=220),
        Ownership(partition=3, member="a", began_ms=300, first_commit_ms=None),
    ]


def test_take_over_is_from_the_death_to_the_first_commit_of_a_later_owner() -> None:
    owned = [
        Ownership(partition=0, member="a", began_ms=100, first_commit_ms=110),
        Ownership(partition=0, member="b", began_ms=1_700, first_commit_ms=None),
        Ownership(partition=0, member="a", began_ms=1_800, first_commit_ms=1_900),
        Ownership(partition=1, member="b", began_ms=100, first_commit_ms=110),
        Ownership(partition=1, member="a", began_ms=1_500, first_commit_ms=1_510),
    ]
    assert take_overs(owned, "a", 1_000, 9_000) == [TakeOver(partition=0, by="a", stood_still_ms=900)]
    assert take_overs(owned, "a", 1_000, 1_850) == []


def test_times_are_summed_up_in_order() -> None:
    assert summary_ms([3, 1, 2]) == {"p50": 2, "p99": 3, "all": [1, 2, 3]}
    assert summary_ms([]) == {"p50": None, "p99": None, "all": []}


@pytest.mark.parametrize("victim", ["broker", "broker-3"])
def test_a_broker_that_is_asked_to_end_ends_as_a_java_program_does(victim: str) -> None:
    assert _wrong(victim, ENDED_AS_ASKED, 100) is None
    assert _wrong(victim, 0, 100) is not None
    assert _wrong("executor-1", 0, 100) is None
    assert _wrong("executor-1", ENDED_AS_ASKED, 100) is not None
