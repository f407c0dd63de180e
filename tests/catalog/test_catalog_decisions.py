"""The rules of loading and routing: given a state, when a command, then these events and this answer."""

from msgspec.structs import replace

from aion_catalog.core.decide import decide, needs_check, routes_of
from aion_catalog.core.decision import Refused
from aion_catalog.core.state import CatalogState, CurrentRoute, loaded_versions
from aion_common import limits
from aion_common.ids import CommandId, Namespace, Version, WorkflowType
from aion_common.records.catalog import CatalogEvent, ClusterCreated, CommandAnswered, Route, TypesRouted, VersionLoaded
from aion_common.records.commands import CatalogMarker, VersionRouted
from aion_common.records.common import RunTimeout
from aion_common.records.replies import (
    LoadedType,
    PackageAccepted,
    Rejection,
    RejectionCode,
    RouteAccepted,
)
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
    anywhere,
    checked,
    decided,
    facts,
    load,
    route,
    routed_by,
)

FIRST = LoadedType(workflow_type=ORDER, version=V1, manifest_digest="d1", deployed_at=NOW_MS)


def test_a_new_version_is_loaded_and_all_its_types_are_routed_to_it() -> None:
    package = checked(types=(ORDER, REFUND), warnings=("order:run/1 reads the clock",))
    decision, state = decided(CatalogState(), load("c"), package)

    known = replace(UPLOADED, wakes_itself=True)
    accepted = PackageAccepted(
        records=(FIRST, replace(FIRST, workflow_type=REFUND)),
        freshly_loaded=True,
        route_changed=True,
        warnings=("order:run/1 reads the clock",),
    )
    assert decision.answer == accepted
    assert decision.events == (
        VersionLoaded(
            namespace=DEFAULT,
            version=V1,
            manifest_digest="d1",
            types=(ORDER, REFUND),
            package=known,
            deployed_at=NOW_MS,
            warnings=("order:run/1 reads the clock",),
        ),
        TypesRouted(namespace=DEFAULT, types=(ORDER, REFUND), version=V1, route_epoch=1),
        CommandAnswered(command_id=CommandId("c"), offset=0, reply_partition=5, answer=accepted),
    )
    assert state.routes[DEFAULT, REFUND] == CurrentRoute(version=V1, route_epoch=1)


def test_a_new_version_brings_its_manifest_its_routes_and_one_marker() -> None:
    state = CatalogState()
    decision = decide(state, load("c"), facts(state, checked(types=(ORDER, REFUND))))

    assert decision.manifest is not None
    assert (decision.manifest.version, decision.manifest.manifest_json) == (V1, b"{}")
    assert decision.manifest.package == replace(UPLOADED, wakes_itself=True)
    assert routes_of(decision) == tuple(
        Route(namespace=DEFAULT, workflow_type=workflow_type, version=V1, route_epoch=1) for workflow_type in (ORDER, REFUND)
    )
    marker = VersionRouted(
        namespace=DEFAULT,
        version=V1,
        types=(ORDER, REFUND),
        routed_types=(ORDER, REFUND),
        route_epoch=1,
        package=replace(UPLOADED, wakes_itself=True),
    )
    assert decision.markers == (CatalogMarker(body=marker),)


def test_loading_the_routed_version_again_changes_nothing_and_returns_the_first_record() -> None:
    state = after_loads(checked())
    decision, later = decided(state, load("again"), checked(), now_ms=NOW_MS + 500)

    assert decision.answer == PackageAccepted(records=(FIRST,), freshly_loaded=False, route_changed=False, warnings=())
    assert [type(event) for event in decision.events] == [CommandAnswered]
    assert decision.manifest is None
    assert (routes_of(decision), decision.markers) == ((), ())
    assert (later.versions, later.routes, later.route_epoch) == (
        state.versions,
        state.routes,
        state.route_epoch,
    )


def test_loading_a_known_unrouted_version_routes_it_again_and_returns_the_first_record() -> None:
    state = after_loads(checked(V1), checked(V2))
    reupload = replace(UPLOADED, upload_id="upload-9", first_offset=50, last_offset=51)
    decision, later = decided(state, load("again", package=reupload), checked(V1), now_ms=NOW_MS + 500)

    assert decision.answer == PackageAccepted(records=(FIRST,), freshly_loaded=False, route_changed=True, warnings=())
    assert decision.events[:-1] == (TypesRouted(namespace=DEFAULT, types=(ORDER,), version=V1, route_epoch=3),)
    assert decision.manifest is None
    (marker,) = decision.markers
    assert routed_by(marker).package.upload_id == UPLOADED.upload_id
    assert loaded_versions(later, DEFAULT) == (V1, V2)
    assert later.routes[DEFAULT, ORDER].version == V1


def test_a_load_moves_only_the_types_that_run_elsewhere() -> None:
    both = checked(V1, types=(ORDER, REFUND))
    state = after_loads(both, checked(V2, types=(REFUND,)))
    decision, _ = decided(state, load("again"), both)

    assert decision.events[:-1] == (TypesRouted(namespace=DEFAULT, types=(REFUND,), version=V1, route_epoch=3),)
    (marker,) = decision.markers
    assert (routed_by(marker).types, routed_by(marker).routed_types) == ((ORDER, REFUND), (REFUND,))


def test_the_same_version_with_another_manifest_is_refused_and_changes_nothing() -> None:
    state = after_loads(checked(V1), checked(V2))
    decision, later = decided(state, load("other"), checked(V1, digest="d2"))

    assert isinstance(decision.answer, Rejection)
    assert decision.answer.code is RejectionCode.MANIFEST_MISMATCH
    assert (decision.answer.workflow_type, decision.answer.version) == (ORDER, V1)
    assert (later.versions, later.routes) == (state.versions, state.routes)
    assert decision.markers == ()

    original, _ = decided(later, load("original"), checked(V1))
    assert isinstance(original.answer, PackageAccepted)
    assert not original.answer.freshly_loaded


def test_time_outs_of_a_package_reach_every_partition_with_every_route_to_it() -> None:
    timeouts = (RunTimeout(workflow_type=REFUND, timeout_ms=2_001),)
    first, state = decided(CatalogState(), load("c"), checked(V1, types=(ORDER, REFUND), timeouts=timeouts))
    assert isinstance(first.events[0], VersionLoaded)
    assert first.events[0].timeouts == timeouts
    assert routed_by(first.markers[0]).timeouts == timeouts

    _, state = decided(state, load("other"), checked(V2))
    back, _ = decided(state, route("back", ORDER, V1))
    assert routed_by(back.markers[0]).timeouts == timeouts


def test_a_refused_package_is_answered_with_the_reason_and_stores_nothing() -> None:
    decision, later = decided(CatalogState(), load("bad"), Refused(reason="not a ZIP archive"))

    assert decision.answer == Rejection(code=RejectionCode.INVALID_PACKAGE, reason="not a ZIP archive")
    assert (later.versions, decision.manifest) == ({}, None)
    assert later.commands_next == 1


def test_a_type_is_routed_back_to_an_older_version() -> None:
    state = after_loads(checked(V1), checked(V2))
    decision, later = decided(state, route("back", ORDER, V1))

    assert decision.answer == RouteAccepted(
        workflow_type=ORDER, version=V1, previous_version=V2, route_epoch=3, route_changed=True
    )
    assert decision.events[:-1] == (TypesRouted(namespace=DEFAULT, types=(ORDER,), version=V1, route_epoch=3),)
    (marker,) = decision.markers
    assert (routed_by(marker).version, routed_by(marker).route_epoch) == (V1, 3)
    assert later.routes[DEFAULT, ORDER] == CurrentRoute(version=V1, route_epoch=3)


def test_a_route_that_stands_already_is_accepted_without_effect() -> None:
    state = after_loads(checked(V1), checked(V2))
    decision, _ = decided(state, route("same", ORDER, V2))

    assert decision.answer == RouteAccepted(
        workflow_type=ORDER, version=V2, previous_version=V2, route_epoch=2, route_changed=False
    )
    assert [type(event) for event in decision.events] == [CommandAnswered]
    assert decision.markers == ()


def test_a_route_to_a_version_that_is_not_loaded_names_the_loaded_ones() -> None:
    state = after_loads(checked(V1), checked(V2))
    _, state = decided(state, load("elsewhere", Namespace("other")), checked(Version("3" * 64)))
    decision, _ = decided(state, route("lost", ORDER, Version("f" * 64)))

    assert isinstance(decision.answer, Rejection)
    assert decision.answer.code is RejectionCode.UNKNOWN_VERSION
    assert decision.answer.loaded == (V1, V2)


def test_a_refusal_names_no_more_than_the_newest_thousand_versions() -> None:
    count = limits.LOADED_VERSIONS_NAMED_MAX + 1
    state = CatalogState()
    for number in range(count):
        _, state = decided(state, load(f"load-{number}"), checked(Version(f"{number:064}")))
    decision, _ = decided(state, route("lost", ORDER, Version("f" * 64)))

    assert isinstance(decision.answer, Rejection)
    assert decision.answer.loaded is not None
    assert len(decision.answer.loaded) == limits.LOADED_VERSIONS_NAMED_MAX
    assert decision.answer.loaded[-1] == f"{count - 1:064}"


def test_a_route_of_a_type_that_the_version_does_not_provide_is_refused() -> None:
    decision, _ = decided(after_loads(checked(V1)), route("wrong", REFUND, V1))

    assert isinstance(decision.answer, Rejection)
    assert decision.answer.code is RejectionCode.UNKNOWN_WORKFLOW_TYPE
    assert "'order'" in decision.answer.reason


def test_namespaces_do_not_see_each_other() -> None:
    state = after_loads(checked(V1))
    other = Namespace("other")
    decision, later = decided(state, load("there", other), checked(V1, digest="another"))

    assert isinstance(decision.answer, PackageAccepted)
    assert decision.answer.freshly_loaded
    assert (loaded_versions(later, DEFAULT), loaded_versions(later, other)) == ((V1,), (V1,))
    assert later.routes[DEFAULT, ORDER].route_epoch == 1
    assert later.routes[other, ORDER].route_epoch == 2


def test_a_repeated_command_gets_its_first_answer_whatever_it_says_now() -> None:
    first, state = decided(CatalogState(), load("key"), checked(V1))
    _, state = decided(state, load("other"), checked(V2))
    repeat = anywhere(route("key", WorkflowType("anything"), V2), 9)

    assert not needs_check(state, load("key"))
    decision, later = decided(state, repeat)
    assert first.answer is not None
    assert decision.answer == first.answer
    assert decision.events == (CommandAnswered(command_id=CommandId("key"), offset=2, reply_partition=9, answer=first.answer),)
    assert later.routes == state.routes


def test_a_repeated_command_gets_a_refusal_again_even_if_it_would_succeed_now() -> None:
    refused, state = decided(CatalogState(), route("key", ORDER, V1))
    _, state = decided(state, load("load"), checked(V1))
    decision, _ = decided(state, route("key", ORDER, V1))

    assert isinstance(refused.answer, Rejection)
    assert decision.answer == refused.answer


def test_only_a_load_that_was_not_answered_needs_the_checks() -> None:
    assert needs_check(CatalogState(), load("new"))
    assert not needs_check(CatalogState(), route("new", ORDER, V1))


def test_every_decision_advances_the_input_position() -> None:
    state = after_loads(checked(V1))
    assert state.commands_next == 1
    decision = decide(state, route("later", ORDER, V1), replace(facts(state), offset=41))
    assert after(state, *decision.events).commands_next == 42


def test_folding_one_by_one_equals_folding_at_once_from_every_prefix() -> None:
    created = ClusterCreated(partitions=4, partitioner="murmur2", topics=())
    state = after(CatalogState(), created)
    events: list[CatalogEvent] = [created]
    for number, package in enumerate((checked(V1), checked(V2), checked(V1), checked(V1, digest="d9"))):
        decision, state = decided(state, load(f"load-{number}"), package)
        events += decision.events
    decision, state = decided(state, route("route", ORDER, V2))
    events += decision.events

    for cut in range(len(events) + 1):
        assert after(after(CatalogState(), *events[:cut]), *events[cut:]) == state
    assert state.cluster == created
