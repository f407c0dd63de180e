"""Whatever clients send in whatever order: sentences that hold for every history of the catalog."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from aion_catalog.core.decide import decide, needs_check, needs_pins
from aion_catalog.core.decision import Checked, Decision, Gathered, Refused
from aion_catalog.core.state import CatalogState
from aion_catalog.core.unload import begin_unload
from aion_common.ids import Namespace, Version, WorkflowType
from aion_common.records.catalog import CatalogCommand, CatalogEvent, UnloadVersion
from aion_common.records.commands import VersionKept, VersionRouted, VersionUnloaded
from aion_common.records.replies import Answer, PinsReported, Rejection, RejectionCode, UnloadAccepted
from catalog.given import after, checked, facts, load, route, unload
from catalog.owners import pins_of, reported

VERSIONS = st.sampled_from([Version(digit * 64) for digit in "123"])
TYPES = st.sampled_from([WorkflowType("order"), WorkflowType("refund"), WorkflowType("audit")])
NAMESPACES = st.sampled_from([Namespace("default"), Namespace("other")])
COMMAND_IDS = st.integers(0, 30).map(str)


PARTITIONS = 2


@dataclass(frozen=True, slots=True)
class Step:
    """A command, the verdict that its check would give, and what owners would report: pins by partition, None for silence.
    `deaths`: attempts to unload that are cut short before."""

    command: CatalogCommand
    verdict: Checked | Refused
    pins: tuple[int | None, ...]
    deaths: int

    def gathered(self, attempt: int) -> Gathered:
        """The reports."""
        found = {number: pins for number, pins in enumerate(self.pins) if pins is not None}
        reports = {number: pins_reported(number, attempt, pins) for number, pins in found.items()}
        return Gathered(reports=reports, silent=tuple(number for number, pins in enumerate(self.pins) if pins is None))


def pins_reported(partition: int, attempt: int, pins: int) -> PinsReported:
    answer = reported(partition, attempt, pins_of(pins)).answer
    assert isinstance(answer, PinsReported)
    return answer


PROVIDED = {"1": ("order",), "2": ("order", "refund"), "3": ("order", "refund", "audit")}


def package(version: Version, digest: str) -> Checked:
    return checked(version, digest=digest, types=[WorkflowType(name) for name in PROVIDED[version[0]]])


STEPS = st.builds(
    Step,
    st.one_of(
        st.builds(load, COMMAND_IDS, NAMESPACES),
        st.builds(route, COMMAND_IDS, TYPES, VERSIONS, NAMESPACES),
        st.builds(unload, COMMAND_IDS, VERSIONS, NAMESPACES),
    ),
    st.one_of(st.builds(package, VERSIONS, st.sampled_from(["d1", "d1", "d1", "d2"])), st.just(Refused(reason="not a ZIP"))),
    st.tuples(*[st.sampled_from([0, 0, 0, 1, None])] * PARTITIONS),
    st.sampled_from([0, 0, 1]),
)


@given(st.lists(STEPS, max_size=25))
def test_routes_lead_to_loaded_versions_and_every_command_has_one_answer(steps: list[Step]) -> None:
    state = CatalogState()
    events: list[CatalogEvent] = []
    first_answers: dict[str, Answer] = {}
    prefixes = [(state, 0)]
    for step in steps:
        before = state
        if needs_pins(state, step.command):
            state = begun(state, step, events)
        verdict = step.verdict if needs_check(state, step.command) else None
        pins = step.gathered(state.unload_attempt) if needs_pins(state, step.command) else None
        decision = decide(state, step.command, replace(facts(state, verdict), pins=pins))
        state = after(state, *decision.events)
        events += decision.events
        prefixes.append((state, len(events)))

        answer = decision.answer
        assert answer is not None
        if not is_unavailable(answer):
            assert answer == first_answers.setdefault(step.command.command_id, answer)
        assert state.commands_next == before.commands_next + 1
        assert state.closing is None
        assert_told(before, state, decision)
        for (namespace, workflow_type), current in state.routes.items():
            assert workflow_type in state.versions[namespace, current.version].types

    assert after(CatalogState(), *events) == state
    for prefix, length in prefixes:
        assert after(prefix, *events[length:]) == state


def begun(state: CatalogState, step: Step, events: list[CatalogEvent]) -> CatalogState:
    """The attempts, of which all but the last were cut short."""
    assert isinstance(step.command.body, UnloadVersion)
    for _ in range(1 + step.deaths):
        began = begin_unload(state, step.command, step.command.body.version, 0).events
        events += began
        state = after(state, *began)
    return state


def assert_told(before: CatalogState, state: CatalogState, decision: Decision) -> None:
    """Every partition hears of what changed, and of the end of every attempt."""
    kinds = [type(marker.body) for marker in decision.markers]
    attempted = state.unload_attempt > before.unload_attempt
    removed = before.versions.keys() - state.versions.keys()
    assert kinds.count(VersionRouted) == state.route_epoch - before.route_epoch == (before.routes != state.routes)
    assert kinds.count(VersionUnloaded) == len(removed) == isinstance(decision.answer, UnloadAccepted) * attempted
    assert kinds.count(VersionKept) == (attempted and not removed)


def is_unavailable(answer: Answer) -> bool:
    return isinstance(answer, Rejection) and answer.code is RejectionCode.UNAVAILABLE
