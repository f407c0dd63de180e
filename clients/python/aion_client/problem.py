"""What a call of the client may raise: a refusal, a server that is not there, a server that is no Aion,
an argument that no call can carry."""

from collections.abc import Mapping
from typing import Self, TypedDict, cast

from aion_common.errors import AionError, Unavailable


class Problem(AionError):
    """The server refused: `code` is stable and made for programs, `detail` is a sentence for people.

    `fields`: the members of the answer that its code defines, such as `loaded` of `unknown_version`. After `unavailable` the
    outcome is unknown; a repeat with the same idempotency key is safe and gives the same run.
    """

    def __init__(self, *, code: str, status: int, detail: str, fields: Mapping[str, object]) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.status = status
        self.detail = detail
        self.fields = dict(fields)


class PinnedBy(TypedDict):
    """Why a version is needed: an open run (`live_run`, `recoverable_run`), or a child that is recorded (`recorded_child`)."""

    kind: str
    workflow_id: str
    run_id: str


class VersionPinned(Problem):
    """`version_pinned`: something needs the version still, so it was not unloaded."""

    @property
    def pins_total(self) -> int:
        """How many pins there are."""
        return cast(int, self.fields.get("pins_total", len(self.pins)))

    @property
    def pins(self) -> list[PinnedBy]:
        """The first of them."""
        return cast(list[PinnedBy], self.fields.get("pins") or [])


class Unreachable(Unavailable):
    """No answer from `url` in any of the tries; whether they took effect is unknown, a repeat with the key is safe. `tried_s`:
    for how long the call was repeated."""

    def __init__(self, *, url: str, reason: str, idempotency_key: str | None, tried_s: float = 0.0) -> None:
        within = f" in {tried_s:.1f} s" if tried_s else ""
        super().__init__(f"no answer from {url}{within}: {reason}")
        self.url = url
        self.reason = reason
        self.idempotency_key = idempotency_key
        self.tried_s = tried_s

    def after(self, tried_s: float) -> Self:
        """The same, once it has been tried for so long."""
        told = type(self)(url=self.url, reason=self.reason, idempotency_key=self.idempotency_key, tried_s=tried_s)
        told.__cause__ = self.__cause__
        return told


class UnexpectedAnswer(AionError):
    """Something answered, but not as Aion does: probably another server, or a proxy in between."""


class InvalidCall(AionError):
    """The call cannot be made as it was asked for; nothing was sent."""
