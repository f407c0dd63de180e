"""The rules of unloading: given a state and what the owners report, then these events and this answer."""

import pytest
from msgspec.structs import replace

from aion_catalog.core.apply import fold
from aion_catalog.core.decide import decide, needs_pins
from aion_catalog.core.decision import Decision, Gathered
from aion_catalog.core.state import CatalogState, loaded_versions
from aion_catalog.core.unload import begin_unload, skip
from aion_catalog.shell.transaction import writes_of
from aion_common import limits
from aion_common.ids import CommandId, Namespace
from aion_common.kafka.topics import Topics
from aion_common.records.catalog import (
    CatalogCommand,
    CatalogRecord,
    CommandAnswered,
    CommandSkipped,
    UnloadAbandoned,
    UnloadBegan,
    VersionRemoved,
)
from aion_common.records.commands import CatalogMarker, VersionClosing, VersionKept, VersionUnloaded
from aion_common.records.replies import PackageAccepted, PinKind, PinsReported, Rejection, RejectionCode, UnloadAccepted
from catalog.given import (
    DEFAULT,
    NOW_MS,
    ORDER,
    REFUND,
    UPLOADED,
    V1,
    V2,
    after,
    after_loads,
    checked,
    decided,
    facts,
    load,
    route,
    unload,
)
from catalog.owners import pins_of, reported

TOPICS = Topics("test.")
OLD_AND_NEW = (checked(V1), checked(V2))


def report_of(partition: int, attempt: int, pins: int = 0, kind: PinKind = PinKind.LIVE_RUN) -> PinsReported:
    answer = reported(partition, attempt, pins_of(pins, kind)).answer
    assert isinstance(answer, PinsReported)
    return answer


def gathered(*reports: PinsReported, silent: tuple[int, ...] = ()) -> Gathered:
    return Gathered(reports={report.partition: report for report in reports}, silent=silent)


def ended(state: CatalogState, wish: CatalogCommand, pins: Gathered) -> tuple[Decision, CatalogState]:
    """The attempt begun, and its verdict."""
    state = after(state, *begin_unload(state, wish, V1, 7).events)
    decision = decide(state, wish, replace(facts(state), pins=pins))
    return decision, after(state, *decision.events)


def rejection(decision: Decision) -> Rejection:
    assert isinstance(decision.answer, Rejection), decision
    return decision.answer


def test_an_unload_begins_by_closing_the_version_everywhere() -> None:
    state = after_loads(*OLD_AND_NEW)
    assert needs_pins(state, unload("u", V1))
    began = begin_unload(state, unload("u", V1), V1, 7)

    assert began.events == (UnloadBegan(namespace=DEFAULT, version=V1, attempt=1),)
    closing = VersionClosing(namespace=DEFAULT, version=V1, attempt=1, reply_partition=7)
    assert began.markers == (CatalogMarker(body=closing),)
    assert began.answer is None
    closed = after(state, *began.events)
    assert (closed.commands_next, closed.closing, closed.versions) == (state.commands_next, *began.events, state.versions)


def test_a_version_that_nothing_needs_is_removed() -> None:
    state = after_loads(*OLD_AND_NEW)
    decision, later = ended(state, unload("u", V1), gathered(report_of(0, 1), report_of(1, 1)))

    assert decision.events == (
        VersionRemoved(namespace=DEFAULT, version=V1, attempt=1),
        CommandAnswered(command_id=CommandId("u"), offset=2, reply_partition=5, answer=UnloadAccepted(version=V1)),
    )
    unloaded = VersionUnloaded(namespace=DEFAULT, version=V1, attempt=1)
    assert decision.markers == (CatalogMarker(body=unloaded),)
    assert (loaded_versions(later, DEFAULT), later.closing, later.routes) == ((V2,), None, state.routes)


def test_one_pin_in_one_partition_keeps_the_version() -> None:
    state = after_loads(*OLD_AND_NEW)
    pins = gathered(report_of(0, 1), report_of(1, 1, 2), report_of(2, 1, 1, PinKind.RECORDED_CHILD))
    decision, later = ended(state, unload("u", V1), pins)

    refusal = rejection(decision)
    assert refusal.code is RejectionCode.VERSION_PINNED
    assert (refusal.workflow_type, refusal.version, refusal.pins_total) == (ORDER, V1, 3)
    assert refusal.pins == (*pins_of(2), *pins_of(1, PinKind.RECORDED_CHILD))
    assert decision.events[0] == UnloadAbandoned(namespace=DEFAULT, version=V1, attempt=1)
    kept = VersionKept(namespace=DEFAULT, version=V1, attempt=1)
    assert decision.markers == (CatalogMarker(body=kept),)
    assert (later.versions, later.closing) == (state.versions, None)


def test_all_pins_are_counted_and_the_first_hundred_named() -> None:
    pins = gathered(report_of(0, 1, 70), report_of(1, 1, 70))
    decision, _ = ended(after_loads(*OLD_AND_NEW), unload("u", V1), pins)

    refusal = rejection(decision)
    assert refusal.pins_total == 140
    assert refusal.pins == (*pins_of(70), *pins_of(70))[: limits.PINS_NAMED_MAX]


def test_a_silent_owner_keeps_the_version_even_if_all_others_need_nothing() -> None:
    state = after_loads(*OLD_AND_NEW)
    decision, later = ended(state, unload("u", V1), gathered(report_of(0, 1), silent=(1, 3)))

    assert rejection(decision).code is RejectionCode.UNAVAILABLE
    assert ": 1, 3;" in rejection(decision).reason
    assert isinstance(decision.markers[0].body, VersionKept)
    assert (later.versions, later.closing) == (state.versions, None)


def test_a_refusal_names_no_more_than_twenty_silent_partitions() -> None:
    decision, _ = ended(after_loads(*OLD_AND_NEW), unload("u", V1), gathered(silent=tuple(range(64))))
    assert "18, 19 and 44 more" in rejection(decision).reason


def test_unavailable_is_decided_anew_when_repeated_and_everything_else_is_not() -> None:
    state = after_loads(*OLD_AND_NEW)
    _, state = ended(state, unload("u", V1), gathered(silent=(0,)))
    assert needs_pins(state, unload("u", V1))
    _, state = ended(state, unload("u", V1), gathered(report_of(0, 2, 1)))
    assert not needs_pins(state, unload("u", V1))
    decision, later = decided(state, unload("u", V1))

    assert rejection(decision).code is RejectionCode.VERSION_PINNED
    assert [type(event) for event in decision.events] == [CommandAnswered]
    assert later.unload_attempt == 2


def test_a_routed_version_is_not_unloaded() -> None:
    state = after_loads(checked(V1, types=(ORDER, REFUND)), checked(V2))
    assert not needs_pins(state, unload("u", V1))
    decision, later = decided(state, unload("u", V1))

    refusal = rejection(decision)
    assert (refusal.code, refusal.workflow_type, refusal.version) == (RejectionCode.ROUTE_ACTIVE, REFUND, V1)
    assert decision.markers == ()
    assert later.versions == state.versions


def test_a_version_that_is_not_loaded_here_cannot_be_unloaded() -> None:
    state = after_loads(*OLD_AND_NEW)
    elsewhere = unload("u", V1, Namespace("other"))
    assert not needs_pins(state, elsewhere)
    decision, _ = decided(state, elsewhere)

    assert (rejection(decision).code, rejection(decision).loaded) == (RejectionCode.UNKNOWN_VERSION, ())


def test_attempts_are_counted_over_all_versions() -> None:
    state = after_loads(*OLD_AND_NEW)
    _, state = ended(state, unload("u1", V1), gathered(report_of(0, 1, 1)))
    began = begin_unload(state, unload("u2", V1), V1, 7)
    assert began.events == (UnloadBegan(namespace=DEFAULT, version=V1, attempt=2),)


def test_an_attempt_that_was_cut_short_is_followed_by_the_next_one() -> None:
    state = after_loads(*OLD_AND_NEW)
    state = after(state, *begin_unload(state, unload("u", V1), V1, 3).events)
    decision, later = ended(state, unload("u", V1), gathered(report_of(0, 2)))

    assert decision.events[0] == VersionRemoved(namespace=DEFAULT, version=V1, attempt=2)
    assert later.closing is None


def test_an_attempt_whose_command_cannot_be_read_any_more_is_abandoned() -> None:
    state = after_loads(*OLD_AND_NEW)
    state = after(state, *begin_unload(state, unload("u", V1), V1, 3).events)
    decision = skip(state, 2, "the schema is not known")

    assert decision.events == (
        UnloadAbandoned(namespace=DEFAULT, version=V1, attempt=1),
        CommandSkipped(offset=2, reason="the schema is not known"),
    )
    assert isinstance(decision.markers[0].body, VersionKept)
    later = after(state, *decision.events)
    assert (later.closing, later.commands_next) == (None, 3)


def test_a_removed_version_is_unknown_until_it_is_loaded_again_from_scratch() -> None:
    state = after_loads(*OLD_AND_NEW)
    _, state = ended(state, unload("u", V1), gathered(report_of(0, 1)))
    lost, state = decided(state, route("r", ORDER, V1))
    assert rejection(lost).loaded == (V2,)

    again, state = decided(state, load("l"), checked(V1), now_ms=NOW_MS + 9)
    assert isinstance(again.answer, PackageAccepted)
    assert again.answer.freshly_loaded
    assert again.answer.records[0].deployed_at == NOW_MS + 9
    assert again.manifest is not None
    assert loaded_versions(state, DEFAULT) == (V2, V1)


def deleted(state: CatalogState) -> list[bytes | None]:
    """The keys that unloading V1 deletes."""
    state = after(state, *begin_unload(state, unload("u", V1), V1, 7).events)
    decision = decide(state, unload("u", V1), replace(facts(state), pins=gathered()))
    writes = writes_of(TOPICS, 2, state, decision, NOW_MS)
    return [write.key for write in writes if write.topic == TOPICS.packages and write.value is None]


def test_a_removed_version_takes_its_manifest_and_its_archive_with_it() -> None:
    _, state = decided(CatalogState(), load("given-0"), checked(V1))
    _, state = decided(state, load("given-1", package=replace(UPLOADED, upload_id="other")), checked(V2))

    assert deleted(state) == [f"manifest/default/{V1}".encode(), b"chunk/upload-1/0", b"chunk/upload-1/1"]


def test_an_archive_that_another_version_was_loaded_from_stays() -> None:
    state = after_loads(checked(V1), checked(V2))
    assert deleted(state) == [f"manifest/default/{V1}".encode()]


@pytest.mark.parametrize(
    ("passed_ms", "is_kept"), [(0, True), (limits.ANSWERS_KEPT_MS, True), (limits.ANSWERS_KEPT_MS + 1, False)]
)
def test_an_answer_is_forgotten_when_it_is_older_than_repeats_may_be(passed_ms: int, *, is_kept: bool) -> None:
    _, state = decided(CatalogState(), load("first"), checked(V1))
    _, state = decided(state, load("second"), checked(V2), now_ms=NOW_MS + passed_ms)
    assert ("first" in state.answers) is is_kept
    assert "second" in state.answers


def test_what_is_forgotten_does_not_depend_on_where_a_fold_ended() -> None:
    state = CatalogState()
    records: list[CatalogRecord] = []
    for number in range(6):
        now_ms = NOW_MS + number * limits.ANSWERS_KEPT_MS // 2
        decision = decide(state, load(f"{number % 3}"), facts(state, checked(V1), now_ms=now_ms))
        state = after(state, *decision.events, now_ms=now_ms)
        records += [CatalogRecord(recorded_at=now_ms, event=event) for event in decision.events]
    for cut in range(len(records) + 1):
        assert fold(fold(CatalogState(), records[:cut]), records[cut:]) == state
    assert list(state.answers) == ["0", "1", "2"]


def test_time_that_goes_back_forgets_nothing_twice() -> None:
    _, state = decided(CatalogState(), load("first"), checked(V1), now_ms=NOW_MS + limits.ANSWERS_KEPT_MS)
    _, state = decided(state, load("second"), checked(V2), now_ms=NOW_MS)
    assert (list(state.answers), state.recorded_at) == (["first", "second"], NOW_MS + limits.ANSWERS_KEPT_MS)
