"""Whatever clients send in whatever order: sentences that hold for every history of the catalog."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from aion_catalog.core.apply import fold
from aion_catalog.core.decide import Checked, Refused, decide, markers_of, needs_check
from aion_catalog.core.state import CatalogState, commands_next
from aion_common.ids import Namespace, Version, WorkflowType
from aion_common.records.catalog import CatalogCommand, CatalogEvent, CommandAnswered
from aion_common.records.replies import Answer, PackageAccepted, RouteAccepted
from catalog.given import checked, facts, load, route

VERSIONS = st.sampled_from([Version(digit * 64) for digit in "123"])
TYPES = st.sampled_from([WorkflowType("order"), WorkflowType("refund"), WorkflowType("audit")])
NAMESPACES = st.sampled_from([Namespace("default"), Namespace("other")])
COMMAND_IDS = st.integers(0, 30).map(str)


@dataclass(frozen=True, slots=True)
class Step:
    """A command and the verdict that its check would give."""

    command: CatalogCommand
    verdict: Checked | Refused


PROVIDED = {"1": ("order",), "2": ("order", "refund"), "3": ("order", "refund", "audit")}


def package(version: Version, digest: str) -> Checked:
    return checked(version, digest=digest, types=[WorkflowType(name) for name in PROVIDED[version[0]]])


STEPS = st.builds(
    Step,
    st.one_of(st.builds(load, COMMAND_IDS, NAMESPACES), st.builds(route, COMMAND_IDS, TYPES, VERSIONS, NAMESPACES)),
    st.one_of(st.builds(package, VERSIONS, st.sampled_from(["d1", "d1", "d1", "d2"])), st.just(Refused(reason="not a ZIP"))),
)


@given(st.lists(STEPS, max_size=25))
def test_routes_lead_to_loaded_versions_and_every_command_has_one_answer(steps: list[Step]) -> None:
    state = CatalogState()
    events: list[CatalogEvent] = []
    first_answers: dict[str, Answer] = {}
    prefixes = [state]
    for step in steps:
        before = state
        verdict = step.verdict if needs_check(state, step.command) else None
        decision = decide(state, step.command, facts(state, verdict))
        state = fold(state, decision.events)
        events += decision.events
        prefixes += [state]

        answered = decision.events[-1]
        assert isinstance(answered, CommandAnswered)
        assert answered.answer == decision.answer
        assert decision.answer == first_answers.setdefault(step.command.command_id, decision.answer)
        assert commands_next(state) == commands_next(before) + 1

        markers = markers_of(before, decision)
        changed = before.routes != state.routes or before.versions != state.versions
        assert len(markers) == (1 if changed else 0)
        assert state.route_epoch == before.route_epoch + len(markers)
        if len(decision.events) == 1 and step.command.command_id not in before.answers:
            assert not (isinstance(decision.answer, PackageAccepted | RouteAccepted) and decision.answer.route_changed)
        for (namespace, workflow_type), current in state.routes.items():
            assert workflow_type in state.versions[namespace, current.version].types

    assert fold(CatalogState(), events) == state
    for number, prefix in enumerate(prefixes):
        assert fold(prefix, _after(events, number)) == state


def _after(events: list[CatalogEvent], decided: int) -> list[CatalogEvent]:
    """The events behind those of the first `decided` commands."""
    ends = [0] + [place + 1 for place, event in enumerate(events) if isinstance(event, CommandAnswered)]
    return events[ends[decided] :]
