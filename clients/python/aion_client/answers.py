"""The gateway's answers: JSON objects, with the fields that callers may rely on. Times are milliseconds since the epoch."""

from collections.abc import Mapping, Sequence
from typing import Final, Literal, NotRequired, TypedDict

from aion_client.json_text import JsonText

Json = None | bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"]

OPEN_STATUSES: Final = frozenset({"running", "paused", "blocked"})
"""The statuses of a run that is not closed."""


class Absent:
    """The type of `ABSENT`."""


ABSENT: Final = Absent()
"""No payload at all, which is not the same as a payload that is null."""


class Failure(TypedDict):
    """Why a run failed. `details`: JSON, as a result."""

    kind: str
    message: str
    details: NotRequired[Json]


class DeployedType(TypedDict):
    """One workflow type of a version, as first recorded."""

    workflow_type: str
    version: str
    manifest_digest: str
    deployed_at: int


class Deployed(TypedDict):
    """Both flags false: the version was loaded and routed already."""

    records: list[DeployedType]
    freshly_loaded: bool
    route_changed: bool
    warnings: list[str]


class Pins(TypedDict):
    """How much still needs a version, by kind."""

    live_run: int
    recoverable_run: int
    recorded_child: int


class LoadedVersion(TypedDict):
    """A loaded version of a type; new starts run on the one whose route is active. `pins`: when asked for."""

    workflow_type: str
    version: str
    route_active: bool
    deployed_at: int
    manifest_digest: str
    pins: NotRequired[Pins]


class Routed(TypedDict):
    """New starts of the type run on the version."""

    workflow_type: str
    version: str
    previous_version: str | None
    route_epoch: int
    route_changed: bool


class Queue(TypedDict):
    """A task queue."""

    name: str
    partitions: int


class CreatedQueue(TypedDict):
    """A task queue that is there; `created`: it was not, before."""

    name: str
    partitions: int
    created: bool


class Started(TypedDict):
    """A run; with `wait_ms` and a run that closed in time, also how it ended."""

    workflow_id: str
    run_id: str
    version: str
    status: str
    result: NotRequired[Json]
    failure: NotRequired[Failure]


class Signalled(TypedDict):
    """The signal is event `seq` of the run."""

    workflow_id: str
    run_id: str
    seq: int


class Ended(TypedDict):
    """The request to cancel, or the end, is event `seq` of the run."""

    workflow_id: str
    run_id: str
    seq: int


class Listed(TypedDict):
    """One run of a list."""

    namespace: str
    workflow_id: str
    run_id: str
    workflow_type: str
    version: str
    status: str
    started_at: int
    closed_at: NotRequired[int | None]


class RunList(TypedDict):
    """Some runs, the newest first; more of them follow `next_cursor`."""

    workflows: list[Listed]
    next_cursor: NotRequired[str | None]


class ListOptions(TypedDict, total=False):
    """Which runs; what is left out or None does not choose. `started_after`: milliseconds since the epoch."""

    workflow_type: str | None
    status: str | None
    version: str | None
    started_after: int | None


class Records(TypedDict):
    """A page of a history as its records stand in the log: base64 of their values."""

    records: list[str]
    next_seq: int | None


class Unloaded(TypedDict):
    """The version is not loaded any more."""

    unloaded: bool


class Draining(TypedDict):
    """The gateway takes no new work."""

    draining: bool


class Result(TypedDict):
    """How a run ended; `status` may still be one of OPEN_STATUSES."""

    status: str
    result: NotRequired[Json]
    failure: NotRequired[Failure]


class PendingActivity(TypedDict):
    """An activity that did not end yet. `state`: `scheduled` (no worker has said that it began its task),
    `started`, or `waiting` for the next attempt at `retry_at`."""

    activity: int
    type: str
    queue: str
    attempt: int
    state: str
    scheduled_at: int
    retry_at: NotRequired[int | None]
    last_heartbeat_at: NotRequired[int | None]


class PendingTimer(TypedDict):
    """A timer that did not fire yet."""

    timer: int
    fires_at: int


class Pending(TypedDict, total=False):
    """What a run waits for: the first of its activities, the next of its timers, with totals when there are more than that;
    signals that it was not given yet, and children, in numbers."""

    activities: Sequence[PendingActivity]
    activities_total: int | None
    timers: Sequence[PendingTimer]
    timers_total: int | None
    children: int
    signals: int


class Description(TypedDict):
    """The state of a run."""

    namespace: str
    workflow_id: str
    run_id: str
    workflow_type: str
    version: str
    status: str
    started_at: int
    closed_at: NotRequired[int | None]
    cancel_requested: NotRequired[Mapping[str, Json] | None]
    result: NotRequired[Json]
    failure: NotRequired[Failure | None]
    blocked: NotRequired[Mapping[str, str] | None]
    hindered_by: NotRequired[str | None]
    pending: NotRequired[Pending]
    waits_for: NotRequired[str | None]
    history_length: NotRequired[int]
    resident: NotRequired[bool]


class Event(TypedDict):
    """One event of a history.

    `data`: the fields of its record; payloads in it are `{content_type, json}` or `{content_type, base64}`.
    """

    seq: int
    type: str
    recorded_at: int
    chain: str
    data: Mapping[str, Json]


class History(TypedDict):
    """A page of a history; the next one begins at `next_seq`, null when there is none yet."""

    events: list[Event]
    next_seq: int | None


class Readiness(TypedDict):
    """Whether a start would work now, and if not, why."""

    ready: bool
    reasons: list[str]


class StartOptions(TypedDict, total=False):
    """What a start may be told besides its type.

    Without `input` the workflow gets none; `version` None or left out means the routed one; `wait_ms`: answer when the run
    has closed, or when so much time has passed; `run_timeout_ms` None or left out: as long as the package says.
    """

    input: Json | JsonText
    workflow_id: str | None
    version: str | None
    id_conflict: Literal["reject", "use_existing", "terminate_existing"]
    run_timeout_ms: int | None
    wait_ms: int
    idempotency_key: str | None
