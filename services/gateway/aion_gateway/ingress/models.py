"""What a record of `aion.ingress` may ask for: the fields of the HTTP API, checked as strictly, in both of its formats."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from aion_gateway.fields import Name, NamespaceText, Reason, RunIdText, RunTimeoutMs, VersionText

_WISH = ConfigDict(strict=True, extra="forbid", arbitrary_types_allowed=True)


class Start(BaseModel):
    """Without `version` the routed one; without `workflow_id` one that follows from the record's place."""

    model_config = _WISH
    namespace: NamespaceText = "default"
    workflow_type: Name
    workflow_id: Name | None = None
    input: Any = None
    version: VersionText | None = None
    id_conflict: Literal["reject", "use_existing", "terminate_existing"] = "reject"
    run_timeout_ms: RunTimeoutMs | None = None


class Signal(BaseModel):
    """Without `run_id` to the newest run of the workflow id."""

    model_config = _WISH
    namespace: NamespaceText = "default"
    workflow_id: Name
    run_id: RunIdText | None = None
    name: Name
    payload: Any = None


class End(BaseModel):
    """A cancel or a terminate."""

    model_config = _WISH
    namespace: NamespaceText = "default"
    workflow_id: Name
    run_id: RunIdText | None = None
    reason: Reason | None = None


Wish = Start | Signal | End
