"""What foreign producers write to `aion.ingress`: wishes, before anybody has checked them.

Each stands alone as a record value, so that a producer needs one schema. Who forwards them checks every field as that of an
HTTP call (docs/ingress.md); the command id is the record's place in the topic.
"""

from msgspec import Struct

from aion_common.ids import Namespace, RunId, Version, WorkflowId, WorkflowType
from aion_common.records.commands import IdConflict
from aion_common.records.common import Payload

DEFAULT_NAMESPACE = Namespace("default")


class StartWorkflow(Struct, frozen=True, kw_only=True, gc=False):
    """Start a run. `workflow_id` None: one that follows from the record's place; `version` None: the one routed when the
    command is decided; `run_timeout_ms` None: what the package says."""

    workflow_type: WorkflowType
    namespace: Namespace = DEFAULT_NAMESPACE
    workflow_id: WorkflowId | None = None
    input: Payload | None = None
    version: Version | None = None
    id_conflict: IdConflict = IdConflict.REJECT
    run_timeout_ms: int | None = None


class SignalWorkflow(Struct, frozen=True, kw_only=True, gc=False):
    """Give the signal `name` to the named run, or with `run_id` None to the newest run of the workflow id."""

    workflow_id: WorkflowId
    name: str
    namespace: Namespace = DEFAULT_NAMESPACE
    run_id: RunId | None = None
    payload: Payload | None = None


class CancelWorkflow(Struct, frozen=True, kw_only=True, gc=False):
    """Ask the run (see `SignalWorkflow`) to end."""

    workflow_id: WorkflowId
    namespace: Namespace = DEFAULT_NAMESPACE
    run_id: RunId | None = None
    reason: str | None = None


class TerminateWorkflow(Struct, frozen=True, kw_only=True, gc=False):
    """End the run (see `SignalWorkflow`) here and now."""

    workflow_id: WorkflowId
    namespace: Namespace = DEFAULT_NAMESPACE
    run_id: RunId | None = None
    reason: str | None = None


IngressRecord = StartWorkflow | SignalWorkflow | CancelWorkflow | TerminateWorkflow
