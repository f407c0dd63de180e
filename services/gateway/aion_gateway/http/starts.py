"""Starting workflows: the call that must be cheap."""

import asyncio
from types import MappingProxyType
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from aion_common import limits
from aion_common.errors import Unavailable
from aion_common.ids import Namespace, RunId, Version, WorkflowId, WorkflowType, run_id_of, workflow_id_of
from aion_common.records.commands import IdConflict, StartRun
from aion_common.records.common import JSON, Payload, json_payload
from aion_common.records.replies import Rejection, RejectionCode, StartAccepted
from aion_gateway.gateway import Gateway
from aion_gateway.http.bodies import json_body, too_large
from aion_gateway.http.direct import DirectRoute
from aion_gateway.http.fields import command_id_of, gateway_of
from aion_gateway.http.models import NamespaceQuery, StartedWorkflow, StartWorkflow
from aion_gateway.http.openapi import described_json, problems
from aion_gateway.http.problems import key_reused, refused_by
from aion_gateway.http.workflows import query_of
from aion_gateway.json_text import BadJson, JsonText, known_members_of, object_text

router = APIRouter(tags=["workflows"], route_class=DirectRoute)

_END = ("result", "failure")
_HTTP_STATUS = MappingProxyType({200: 201, 202: 202})
"""The owner's status of a question for the result -> ours of the start that waited for it."""


@router.post(
    "/v1/workflows",
    status_code=201,
    response_model=StartedWorkflow,
    responses=problems(
        RejectionCode.ALREADY_STARTED,
        RejectionCode.UNKNOWN_WORKFLOW_TYPE,
        RejectionCode.UNKNOWN_VERSION,
        RejectionCode.PAYLOAD_TOO_LARGE,
        RejectionCode.SHUTTING_DOWN,
    )
    | {202: {"model": StartedWorkflow, "description": "Accepted; with `wait: closed`: the wait ran out."}},
    openapi_extra=described_json(StartWorkflow),
)
async def start_workflow(request: Request, query: Annotated[NamespaceQuery, Query()]) -> Response:
    """Start a run. It is in the log when this answers."""
    gateway = gateway_of(request)
    body = await json_body(request, StartWorkflow, exact={"input"})
    namespace = Namespace(query.namespace)
    command_id = command_id_of(request, namespace, body.workflow_id)
    workflow_id = workflow_id_of(command_id) if body.workflow_id is None else WorkflowId(body.workflow_id)
    start = StartRun(
        workflow_type=WorkflowType(body.workflow_type),
        version=None if body.version is None else Version(body.version),
        input=_payload(body.input),
        id_conflict=IdConflict(body.id_conflict),
        run_timeout_ms=body.run_timeout_ms,
    )
    answer = await gateway.commands.ask_owner(command_id, namespace, workflow_id, start)
    match answer:
        case StartAccepted():
            if answer.created and answer.run_id != run_id_of(namespace, workflow_id, command_id):
                raise key_reused()
        case Rejection():
            raise refused_by(answer)
        case _:
            raise key_reused()
    started = {"workflow_id": workflow_id, "run_id": answer.run_id, "version": answer.version, "status": "running"}
    if body.wait == "accepted":
        return Response(object_text(started), 201, media_type=JSON)
    status, end = await _end_of(gateway, namespace, workflow_id, answer.run_id, body.wait_ms)
    return Response(object_text(started | end), status, media_type=JSON)


def _payload(value: object) -> Payload | None:
    """The input as it came; None when there was none. Raises Refused when it is too large."""
    if value is None:
        return None
    assert isinstance(value, JsonText), "the input is kept as text"
    text = value.text.encode()
    if len(text) > limits.PAYLOAD_BYTES_MAX:
        raise too_large(limits.PAYLOAD_BYTES_MAX)
    return json_payload(text)


async def _end_of(
    gateway: Gateway, namespace: Namespace, workflow_id: WorkflowId, run_id: RunId, wait_ms: int
) -> tuple[int, dict[str, object]]:
    """201 with status and result or failure if the run closes within the wait; else 202 with its status, if that is known.
    The start itself is in the log, so this never fails."""
    partition = gateway.commands.partition_of(namespace, workflow_id)
    query = query_of(namespace, workflow_id, run_id)
    try:
        async with asyncio.timeout((wait_ms + limits.OWNER_HTTP_MS) / 1000):
            answer = await gateway.owners.ask(partition, "result", query, wait_ms=wait_ms)
        if answer.status not in _HTTP_STATUS:
            return 202, {}
        members = known_members_of(answer.body, exact=_END)
    except (TimeoutError, Unavailable, BadJson):
        return 202, {}
    return _HTTP_STATUS[answer.status], {name: members[name] for name in ("status", *_END) if name in members}
