"""Bodies, queries and answers of the calls, as pydantic models: they check what comes in and write /openapi.json.

What comes in is taken strictly: no unknown field, no "5" for 5. Answers that hold user data are put together as text (see
`workflows`); their models here only describe them.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from aion_common import limits
from aion_gateway.everywhere import PinCounts
from aion_gateway.fields import Name, NamespaceText, Reason, RunIdText, RunTimeoutMs, VersionText
from aion_gateway.http.fields import (
    QueryAnswerMs,
    QueryCursor,
    QueryLimit,
    QueryRuns,
    QuerySeq,
    QueryTime,
    QueryWaitMs,
    WaitMs,
)
from aion_gateway.http.pending import PendingWork
from aion_gateway.listing import ListedRun

_BODY = ConfigDict(strict=True, extra="forbid", arbitrary_types_allowed=True)
_QUERY = ConfigDict(extra="forbid")
_ANSWER = ConfigDict(frozen=True)

Status = Literal["running", "blocked", "completed", "failed", "cancelled", "terminated", "timed_out"]


class NoQuery(BaseModel):
    """The query of calls that take none."""

    model_config = _QUERY


class NamespaceQuery(BaseModel):
    """The query of calls that need nothing else."""

    model_config = _QUERY
    namespace: NamespaceText = "default"


class VersionsQuery(BaseModel):
    """Filter of a listing."""

    model_config = _QUERY
    namespace: NamespaceText = "default"
    workflow_type: Name | None = None
    pins: Literal["true", "false"] = Field(default="false", description="Whether to count what pins each version.")


class ListQuery(BaseModel):
    """Which runs: those that agree with everything that is given. `cursor`: the `next_cursor` of the page before."""

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)
    namespace: NamespaceText = "default"
    workflow_type: Name | None = None
    status: Status | None = None
    version: VersionText | None = None
    started_after: QueryTime | None = None
    limit: QueryRuns = limits.LIST_PAGE_RUNS
    cursor: QueryCursor | None = None


class RunQuery(BaseModel):
    """Which run of a workflow id; without a run id: the latest."""

    model_config = _QUERY
    namespace: NamespaceText = "default"
    run_id: RunIdText | None = None


class HistoryQuery(BaseModel):
    """Which part of which run's history."""

    model_config = _QUERY
    namespace: NamespaceText = "default"
    run_id: RunIdText | None = None
    from_seq: QuerySeq | None = None
    limit: QueryLimit | None = None
    encoding: Literal["json", "avro"] | None = None


class ResultQuery(BaseModel):
    """Which run's result, and how long to wait for it."""

    model_config = _QUERY
    namespace: NamespaceText = "default"
    run_id: RunIdText | None = None
    wait_ms: QueryWaitMs = 0


class AnswerQuery(BaseModel):
    """Which run is asked, and how long it may take to answer."""

    model_config = _QUERY
    namespace: NamespaceText = "default"
    run_id: RunIdText | None = None
    wait_ms: QueryAnswerMs = limits.QUERY_MS_MAX


class StartWorkflow(BaseModel):
    """A start. Without `version` the routed one; without `workflow_id` one that follows from the idempotency key."""

    model_config = _BODY
    workflow_type: Name
    workflow_id: Name | None = None
    input: Any = Field(default=None, description=f"Any JSON value, at most {limits.PAYLOAD_BYTES_MAX} bytes of text.")
    version: VersionText | None = None
    id_conflict: Literal["reject", "use_existing", "terminate_existing"] = Field(
        default="reject", description="What this start means while another run of the workflow id is open."
    )
    run_timeout_ms: RunTimeoutMs | None = Field(
        default=None, description="The run is ended when it is open for longer; when absent, the package decides."
    )
    wait: Literal["accepted", "closed"] = "accepted"
    wait_ms: WaitMs = Field(default=limits.REPLY_WAIT_MS, description="Longest wait for the result; only with `wait: closed`.")

    @field_validator("wait_ms")
    @classmethod
    def _only_of_a_wait(cls, wait_ms: int, before: ValidationInfo) -> int:
        """Runs only when it was given."""
        if before.data.get("wait") == "accepted":
            raise PydanticCustomError("no_wait", "is taken only together with wait: closed")
        return wait_ms


class EndRun(BaseModel):
    """Why a run shall end; for people."""

    model_config = _BODY
    reason: Reason | None = None


class Nothing(BaseModel):
    """The body of calls that need none."""

    model_config = _BODY


class RouteTo(BaseModel):
    """The version that new starts of the type shall run on."""

    model_config = _BODY
    version: VersionText


class Failure(BaseModel):
    """Why a run failed. `details`: JSON, as a result."""

    model_config = _ANSWER
    kind: str
    message: str
    details: Any = None


class StartedWorkflow(BaseModel):
    """The run that the start means; `result` and `failure` when its end was waited for and came."""

    model_config = _ANSWER
    workflow_id: str
    run_id: str
    version: str
    status: Status
    result: Any = None
    failure: Failure | None = None


class SignalledWorkflow(BaseModel):
    """The signal is event `seq` of the run's history."""

    model_config = _ANSWER
    workflow_id: str
    run_id: str
    seq: int


class EndingWorkflow(BaseModel):
    """The request is event `seq` of the run's history: of a cancel that was asked for before, the first one's."""

    model_config = _ANSWER
    workflow_id: str
    run_id: str
    seq: int


class LoadedTypeAnswer(BaseModel):
    """One workflow type of a loaded version, as first recorded."""

    model_config = _ANSWER
    workflow_type: str
    version: str
    manifest_digest: str
    deployed_at: int


class LoadedPackage(BaseModel):
    """The version is loaded and routed. Both flags false: nothing changed."""

    model_config = _ANSWER
    records: Sequence[LoadedTypeAnswer]
    freshly_loaded: bool
    route_changed: bool
    warnings: Sequence[str]


class VersionAnswer(BaseModel):
    """One workflow type of one loaded version, and whether new starts of the type run on it."""

    model_config = _ANSWER
    workflow_type: str
    version: str
    route_active: bool
    deployed_at: int
    manifest_digest: str
    pins: PinCounts | None = None


class VersionsAnswer(BaseModel):
    """The loaded versions, in the order of their first deploy."""

    model_config = _ANSWER
    versions: Sequence[VersionAnswer]


class UnloadedVersion(BaseModel):
    """The version is not loaded any more."""

    model_config = _ANSWER
    unloaded: Literal[True] = True


class RoutedType(BaseModel):
    """Where new starts of the type go now."""

    model_config = _ANSWER
    workflow_type: str
    version: str
    previous_version: str | None
    route_epoch: int
    route_changed: bool


class WorkflowResult(BaseModel):
    """How a run ended; while it is open, its status alone."""

    model_config = _ANSWER
    workflow_id: str
    run_id: str
    status: Status
    result: Any = None
    failure: Failure | None = None


class Divergence(BaseModel):
    """Why a run is blocked: what its history says and what its code did."""

    model_config = _ANSWER
    expected: str
    found: str


class CancelRequested(BaseModel):
    """An open run was asked to end; at `deadline` it is ended."""

    model_config = _ANSWER
    reason: str | None = None
    deadline: int


class WorkflowDescription(BaseModel):
    """A run as its owner sees it. Times are milliseconds since the epoch."""

    model_config = ConfigDict(frozen=True, extra="allow")
    namespace: str
    workflow_id: str
    run_id: str
    workflow_type: str
    version: str
    status: Status
    waits_for: str | None = None
    started_at: int
    closed_at: int | None = None
    result: Any = None
    failure: Failure | None = None
    blocked: Divergence | None = None
    cancel_requested: CancelRequested | None = None
    hindered_by: str | None = None
    """Why its owner has no VM for its version now; tried again with back-off."""
    pending: PendingWork
    history_length: int
    resident: bool


class ListedWorkflows(BaseModel):
    """Runs, those that started last first. A page may be short although there is a `next_cursor`."""

    model_config = _ANSWER
    workflows: Sequence[ListedRun]
    next_cursor: str | None = None


class HistoryEvent(BaseModel):
    """One event. Payloads inside `data` are `{content_type, json}` or `{content_type, base64}`."""

    model_config = _ANSWER
    seq: int
    type: str
    recorded_at: int
    chain: str
    data: Mapping[str, Any]


class WorkflowHistory(BaseModel):
    """Part of a history; it goes on at `next_seq`."""

    model_config = _ANSWER
    events: Sequence[HistoryEvent]
    next_seq: int | None = None


class Alive(BaseModel):
    """The process works."""

    model_config = _ANSWER
    alive: Literal[True] = True


class Ready(BaseModel):
    """A start would work, in each of so many partitions."""

    model_config = _ANSWER
    ready: Literal[True] = True
    partitions: int


class Draining(BaseModel):
    """This gateway takes no new work any more."""

    model_config = _ANSWER
    draining: Literal[True] = True


class Problem(BaseModel):
    """An RFC 9457 problem. `code` is stable; beside these members stand those that the code defines."""

    model_config = ConfigDict(extra="allow")
    type: str
    title: str
    status: int
    detail: str
    code: str
