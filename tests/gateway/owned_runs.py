"""Owners' lists, as executors answer them, over runs that a test names: sorted, filtered, a bounded number looked at."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import httpx

from aion_gateway.listing import ListedRun, OwnersPage, Position, position_of

VERSION = "a" * 64


def run(
    started_at: int, number: int, *, workflow_type: str = "order", status: str = "running", namespace: str = "default"
) -> ListedRun:
    """A run whose id ends in a number."""
    return ListedRun(
        namespace=namespace,
        workflow_id=f"workflow-{number}",
        run_id=f"{number:032x}",
        workflow_type=workflow_type,
        version=VERSION,
        status=status,
        started_at=started_at,
        closed_at=None if status == "running" else started_at + 1,
    )


def rank(one: ListedRun) -> tuple[int, str]:
    """The order of lists."""
    return -one.started_at, one.run_id


@dataclass(slots=True, kw_only=True)
class OwnedRuns:
    """Partition -> its runs. `scan`: runs that one call looks at. `queries`: what was asked."""

    runs: Mapping[int, Sequence[ListedRun]]
    scan: int = 1000
    queries: list[tuple[int, dict[str, str]]] = field(default_factory=list)

    def page(self, partition: int, query: Mapping[str, str]) -> OwnersPage:
        """One answer."""
        after = position_of(query["after"]) if "after" in query else None
        following = sorted(self.runs.get(partition, ()), key=rank)
        following = [one for one in following if one.namespace == query["namespace"]]
        following = [one for one in following if after is None or rank(one) > after.rank]
        found: list[ListedRun] = []
        looked_at: ListedRun | None = None
        for one in following[: self.scan]:
            if one.started_at <= int(query.get("started_after", -1)):
                return OwnersPage(workflows=found, position=None)
            looked_at = one
            if matches(one, query):
                found.append(one)
                if len(found) == int(query["limit"]):
                    break
        if looked_at is None or looked_at == following[-1]:
            return OwnersPage(workflows=found, position=None)
        position = Position(started_at=looked_at.started_at, run_id=looked_at.run_id)  # type: ignore[arg-type]
        return OwnersPage(workflows=found, position=position.text)

    async def __call__(self, partition: int, query: dict[str, str]) -> httpx.Response:
        """See `ScriptedOwner.lists`."""
        self.queries.append((partition, query))
        return httpx.Response(200, content=self.page(partition, query).model_dump_json())


def matches(one: ListedRun, query: Mapping[str, str]) -> bool:
    """Whether a run agrees with every filter."""
    return all(getattr(one, name) == query[name] for name in ("workflow_type", "status", "version") if name in query)
