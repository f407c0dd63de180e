"""Runs of a partition as lists and counts, from the store's indexes: what the log has acknowledged.

One call looks at a bounded number of runs, whether they match or not, and says how far it came: the loop of the partition
goes on between two calls.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import islice

from aion_common.ids import Namespace, RunId
from aion_common.limits import LIST_PAGE_MAX, LIST_SCAN_RUNS_MAX
from aion_common.records.replies import PinKind
from aion_executor.core.indexes import list_key, list_prefix, open_prefix, run_id_in, started_at_in, version_in
from aion_executor.core.run import Run
from aion_executor.pins import kind_of
from aion_executor.store.rows import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """A place in the order of lists: started last first, then by run id."""

    started_at: int
    run_id: RunId


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which runs: those that agree with all that is not None. `after`: only those behind this place."""

    namespace: Namespace
    workflow_type: str | None
    status: str | None
    version: str | None
    started_after: int | None
    after: Position | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Runs that match, in order. `position`: of the last run that was looked at; None: there are no more."""

    runs: tuple[Run, ...]
    position: Position | None


def wanted_of(query: Mapping[str, str]) -> Wanted:
    """What a gateway asks for. Raises ValueError and KeyError for what no gateway asks."""
    after = None
    if (text := query.get("after")) is not None:
        started_at, _, run_id = text.partition("/")
        after = Position(started_at=int(started_at), run_id=RunId(run_id))
    started_after = query.get("started_after")
    return Wanted(
        namespace=Namespace(query["namespace"]),
        workflow_type=query.get("workflow_type"),
        status=query.get("status"),
        version=query.get("version"),
        started_after=None if started_after is None else int(started_after),
        after=after,
    )


def limit_of(query: Mapping[str, str]) -> int:
    """How many runs a gateway asks for."""
    return min(int(query.get("limit", LIST_PAGE_MAX)), LIST_PAGE_MAX)


def list_runs(store: Store, wanted: Wanted, limit: int) -> Page:
    """The next runs that match, at most `limit`."""
    prefix = list_prefix(wanted.namespace)
    start = prefix
    if wanted.after is not None:
        start = list_key(wanted.namespace, wanted.after.started_at, wanted.after.run_id) + b"\x00"
    found: list[Run] = []
    looked_at: Position | None = None
    for key in islice(store.entries(prefix, start), LIST_SCAN_RUNS_MAX):
        started_at, run_id = started_at_in(key), run_id_in(key)
        if wanted.started_after is not None and started_at <= wanted.started_after:
            return Page(runs=tuple(found), position=None)
        looked_at = Position(started_at=started_at, run_id=run_id)
        run = store.run(run_id)
        assert run is not None, "an index names runs that exist"
        if _matches(run, wanted):
            found.append(run)
            if len(found) == limit:
                return Page(runs=tuple(found), position=looked_at)
    if looked_at is None or not _is_more(store, wanted.namespace, looked_at):
        return Page(runs=tuple(found), position=None)
    return Page(runs=tuple(found), position=looked_at)


def _is_more(store: Store, namespace: Namespace, position: Position) -> bool:
    behind = list_key(namespace, position.started_at, position.run_id) + b"\x00"
    return next(store.entries(list_prefix(namespace), behind), None) is not None


def _matches(run: Run, wanted: Wanted) -> bool:
    return (
        wanted.workflow_type in (None, run.workflow_type)
        and wanted.status in (None, run.status.value)
        and wanted.version in (None, run.version)
    )


async def count_pins(
    open_store: Callable[[], Store], namespace: Namespace, is_resident: Callable[[RunId], bool]
) -> dict[str, dict[str, int]]:
    """How many open runs pin each version, by kind. Lets others have their turn between slices, so that it is exact only if
    nothing happens meanwhile. `open_store` is asked before each slice; what it raises when there is none any more comes out."""
    counts: dict[str, Counter[PinKind]] = {}
    prefix = open_prefix(namespace)
    start = prefix
    while True:
        entries = list(islice(open_store().entries(prefix, start), LIST_SCAN_RUNS_MAX))
        for entry in entries:
            counts.setdefault(version_in(entry), Counter())[kind_of(run_id_in(entry), is_resident)] += 1
        if len(entries) < LIST_SCAN_RUNS_MAX:
            return {version: {kind.value: of[kind] for kind in PinKind} for version, of in counts.items()}
        start = entries[-1] + b"\x00"
        await asyncio.sleep(0)
