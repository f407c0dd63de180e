"""An event is complete when it has a schema, an applier and a specimen that is kept for ever."""

import ast
import re
from typing import get_args

import pytest

from aion_common.records.events import PartitionEvent, RunEvent
from architecture.sources import ROOT, of_tests, production

APPLIERS = "services/executor/aion_executor/core/apply/__init__.py"
EVENTS = [(event, "apply_to_run") for event in get_args(RunEvent)]
EVENTS += [(event, "apply_to_partition") for event in get_args(PartitionEvent)]


def snake(name: str) -> str:
    """`RunStarted` -> `run_started`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


@pytest.mark.parametrize("event", [event for event, _ in EVENTS], ids=lambda event: event.__name__)
def test_event_has_a_schema(event: type) -> None:
    assert (ROOT / "schemas" / "events" / f"{snake(event.__name__)}.avsc").is_file()


@pytest.mark.parametrize("event", [event for event, _ in EVENTS], ids=lambda event: event.__name__)
def test_event_has_a_specimen(event: type) -> None:
    kept = [path.name for path in (ROOT / "schemas" / "golden").rglob("*") if snake(event.__name__) in path.name]
    assert kept, f"schemas/golden has no file named after {snake(event.__name__)}"


@pytest.mark.parametrize(("event", "function"), EVENTS, ids=lambda value: getattr(value, "__name__", value))
def test_event_has_an_applier(event: type, function: str) -> None:
    assert event.__name__ in applied_by(function), f"{function} in {APPLIERS} has no case for {event.__name__}"


@pytest.mark.parametrize("event", [event for event, _ in EVENTS], ids=lambda event: event.__name__)
def test_event_is_spoken_of_in_tests(event: type) -> None:
    elsewhere = [source for source in of_tests() if not source.path.startswith("tests/architecture/")]
    assert any(re.search(rf"\b{event.__name__}\b", source.text) for source in elsewhere)


def applied_by(function: str) -> set[str]:
    """Class names with a case of their own that does not just raise."""
    (source,) = [source for source in production() if source.path == APPLIERS]
    (definition,) = [node for node in source.tree.body if isinstance(node, ast.FunctionDef) and node.name == function]
    return {
        pattern.cls.id
        for case in ast.walk(definition)
        if isinstance(case, ast.match_case) and not isinstance(case.body[0], ast.Raise)
        for pattern in ast.walk(case.pattern)
        if isinstance(pattern, ast.MatchClass) and isinstance(pattern.cls, ast.Name)
    }
