"""Ending runs from outside: cancel asks the run, terminate does not."""

from typing import Annotated

from fastapi import APIRouter, Query, Request

from aion_common.ids import Namespace, RunId, WorkflowId
from aion_common.records.commands import CancelRun, TerminateRun
from aion_common.records.replies import CancelAccepted, Rejection, RejectionCode, TerminateAccepted
from aion_gateway.http.bodies import json_body_if_any
from aion_gateway.http.fields import PathName, command_id_of, gateway_of
from aion_gateway.http.models import EndingWorkflow, EndRun, RunQuery
from aion_gateway.http.openapi import described_json, problems
from aion_gateway.http.problems import key_reused, refused_by

router = APIRouter(tags=["workflows"])

_PROBLEMS = problems(RejectionCode.NOT_FOUND, RejectionCode.CLOSED, RejectionCode.PAYLOAD_TOO_LARGE)


@router.post(
    "/v1/workflows/{workflow_id}/cancel",
    status_code=202,
    response_model=EndingWorkflow,
    responses=_PROBLEMS,
    openapi_extra=described_json(EndRun, required=False),
)
async def cancel_workflow(request: Request, workflow_id: PathName, query: Annotated[RunQuery, Query()]) -> EndingWorkflow:
    """Ask a run to end. Its code may clean up for a while; it is ended when that takes too long."""
    body = await json_body_if_any(request, EndRun)
    wish = CancelRun(run_id=None if query.run_id is None else RunId(query.run_id), reason=body.reason)
    return await _end(request, query.namespace, workflow_id, wish)


@router.post(
    "/v1/workflows/{workflow_id}/terminate",
    status_code=202,
    response_model=EndingWorkflow,
    responses=_PROBLEMS,
    openapi_extra=described_json(EndRun, required=False),
)
async def terminate_workflow(request: Request, workflow_id: PathName, query: Annotated[RunQuery, Query()]) -> EndingWorkflow:
    """End a run here and now. Its code does not hear of it."""
    body = await json_body_if_any(request, EndRun)
    wish = TerminateRun(run_id=None if query.run_id is None else RunId(query.run_id), reason=body.reason)
    return await _end(request, query.namespace, workflow_id, wish)


async def _end(request: Request, namespace_text: str, workflow_id: str, wish: CancelRun | TerminateRun) -> EndingWorkflow:
    namespace = Namespace(namespace_text)
    expected = CancelAccepted if isinstance(wish, CancelRun) else TerminateAccepted
    command_id = command_id_of(request, namespace, workflow_id)
    answer = await gateway_of(request).commands.ask_owner(command_id, namespace, WorkflowId(workflow_id), wish)
    match answer:
        case CancelAccepted() | TerminateAccepted() if isinstance(answer, expected):
            return EndingWorkflow(workflow_id=workflow_id, run_id=answer.run_id, seq=answer.seq)
        case Rejection():
            raise refused_by(answer)
        case _:
            raise key_reused()
