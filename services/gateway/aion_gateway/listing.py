"""Merges the owners' lists of runs into one, page by page. Pure.

Every owner answers its runs in the same order (see `Position`) and says how far it has looked. A run may be shown once no
owner that has more to look at could still have one before it. A cursor is a position: everything up to it was shown.
"""

import base64
import binascii
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field

from aion_common.errors import Unavailable
from aion_common.ids import RunId

_POSITION = re.compile(r"(0|[1-9][0-9]{0,15})/([0-9a-f]{32})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """A place in the order of lists: started last first, then by run id."""

    started_at: int
    run_id: RunId

    @property
    def rank(self) -> tuple[int, str]:
        """Smaller is shown earlier."""
        return -self.started_at, self.run_id

    @property
    def text(self) -> str:
        """As owners take it."""
        return f"{self.started_at}/{self.run_id}"

    @property
    def cursor(self) -> str:
        """As clients get it: nothing they should read."""
        return base64.urlsafe_b64encode(self.text.encode()).decode().rstrip("=")


class ListedRun(BaseModel):
    """A run in a list. Times are milliseconds since the epoch."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    namespace: str
    workflow_id: str
    run_id: str
    workflow_type: str
    version: str
    status: str
    started_at: int
    closed_at: int | None = None


class OwnersPage(BaseModel):
    """An owner's answer. `position`: of the last run it looked at; None: it has no more."""

    model_config = ConfigDict(frozen=True)
    workflows: Sequence[ListedRun]
    position: str | None = Field(pattern=f"^{_POSITION.pattern}$")


def position_of(text: str) -> Position | None:
    """The position that an owner wrote; None when it is none."""
    match = _POSITION.fullmatch(text)
    return None if match is None else Position(started_at=int(match[1]), run_id=RunId(match[2]))


def position_of_cursor(cursor: str) -> Position | None:
    """The position that a cursor holds; None when it is no cursor of ours."""
    try:
        position = position_of(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode())
    except (binascii.Error, UnicodeError, ValueError):
        return None
    return position if position is not None and position.cursor == cursor else None


class Merge:
    """One page in the making: `asked` tells whom to ask for what, `take` takes the answers, until nobody is left to be asked or
    as often as one likes."""

    def __init__(self, partitions: Iterable[int], after: Position | None, limit: int) -> None:
        self._limit = limit
        self._looked_at: dict[int, Position | None] = dict.fromkeys(partitions, after)
        self._runs: list[tuple[tuple[int, str], ListedRun]] = []

    @property
    def asked(self) -> Mapping[int, Position | None]:
        """The owners that hold up this page, and the position behind which they are to go on; empty: the page is full, or all
        lists ended."""
        if len(self._runs) < self._limit:
            return dict(self._looked_at)
        last = self._runs[self._limit - 1][0]
        return {partition: at for partition, at in self._looked_at.items() if at is None or at.rank < last}

    def take(self, answers: Mapping[int, OwnersPage]) -> None:
        """Partition -> the answer of its owner, who was asked to go on where it had stopped. Raises Unavailable for one that
        did not go on."""
        for partition, page in answers.items():
            before = self._looked_at[partition]
            self._runs += ((_position(run).rank, run) for run in page.workflows)
            if page.position is None:
                del self._looked_at[partition]
                continue
            position = position_of(page.position)
            assert position is not None, "the answer was checked"
            if before is not None and position.rank <= before.rank:
                raise Unavailable(f"the owner of partition {partition} does not go on in its list")
            self._looked_at[partition] = position
        self._runs.sort(key=lambda ranked: ranked[0])

    def page(self) -> tuple[Sequence[ListedRun], Position | None]:
        """The runs that can be shown, at most the limit, and the position behind which the list goes on; None: it ends. To be
        called once everybody was asked."""
        horizon = self._horizon
        shown = [run for rank, run in self._runs if horizon is None or rank <= horizon.rank][: self._limit]
        if len(shown) < self._limit:
            return shown, horizon
        is_more = len(self._runs) > self._limit or bool(self._looked_at)
        return shown, _position(shown[-1]) if is_more else None

    @property
    def _horizon(self) -> Position | None:
        """Up to here everything is known; None: to the end."""
        reached = [at for at in self._looked_at.values() if at is not None]
        return min(reached, key=lambda at: at.rank, default=None)


def _position(run: ListedRun) -> Position:
    return Position(started_at=run.started_at, run_id=RunId(run.run_id))
