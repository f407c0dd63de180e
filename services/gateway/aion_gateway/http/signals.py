"""Signals to runs."""

from typing import Annotated

from fastapi import APIRouter, Query, Request

from aion_common import limits
from aion_common.ids import Namespace, RunId, WorkflowId
from aion_common.records.commands import SignalRun
from aion_common.records.common import JSON, Payload
from aion_common.records.replies import Rejection, RejectionCode, SignalAccepted
from aion_gateway.http.bodies import content_type_of, read_body
from aion_gateway.http.fields import PathName, command_id_of, gateway_of
from aion_gateway.http.models import RunQuery, SignalledWorkflow
from aion_gateway.http.openapi import BINARY, described_bytes, problems
from aion_gateway.http.problems import invalid, key_reused, refused_by
from aion_gateway.json_text import check_value

router = APIRouter(tags=["signals"])


@router.post(
    "/v1/workflows/{workflow_id}/signals/{name}",
    status_code=202,
    response_model=SignalledWorkflow,
    responses=problems(RejectionCode.NOT_FOUND, RejectionCode.CLOSED, RejectionCode.PAYLOAD_TOO_LARGE),
    openapi_extra=described_bytes({JSON: {}, "*/*": BINARY}, required=False),
)
async def signal_workflow(
    request: Request,
    workflow_id: PathName,
    name: PathName,
    query: Annotated[RunQuery, Query()],
) -> SignalledWorkflow:
    """Give a signal to a run, with the body as its payload: JSON, or bytes of any other content type. It is in the history
    when this answers."""
    namespace = Namespace(query.namespace)
    signal = SignalRun(run_id=None if query.run_id is None else RunId(query.run_id), name=name, payload=await _payload(request))
    commands = gateway_of(request).commands
    command_id = command_id_of(request, namespace, workflow_id)
    answer = await commands.ask_owner(command_id, namespace, WorkflowId(workflow_id), signal)
    match answer:
        case SignalAccepted():
            return SignalledWorkflow(workflow_id=workflow_id, run_id=answer.run_id, seq=answer.seq)
        case Rejection():
            raise refused_by(answer)
        case _:
            raise key_reused()


async def _payload(request: Request) -> Payload | None:
    """The body as a payload; an empty one is none. Raises Refused, BadJson."""
    content_type = content_type_of(request)
    content = await read_body(request, limits.PAYLOAD_BYTES_MAX)
    if not content:
        return None
    if content_type is None:
        raise invalid("Content-Type", f"a body needs one: {JSON} for JSON, any other for bytes")
    if content_type == JSON:
        check_value(content)
    return Payload(content_type=content_type, data=content)
