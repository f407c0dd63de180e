"""Queries: questions to the code of open runs, which change nothing."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from aion_common import limits
from aion_common.ids import Namespace, WorkflowId
from aion_common.records.common import JSON
from aion_common.records.replies import RejectionCode
from aion_gateway.http.bodies import content_type_of, read_body
from aion_gateway.http.fields import PathName, gateway_of
from aion_gateway.http.models import AnswerQuery
from aion_gateway.http.openapi import described_bytes, problems
from aion_gateway.http.problems import invalid
from aion_gateway.json_text import check_value

router = APIRouter(tags=["queries"])

_NO_ARGUMENTS = b"null"


@router.post(
    "/v1/workflows/{workflow_id}/queries/{name}",
    responses=problems(
        RejectionCode.NOT_FOUND,
        RejectionCode.CLOSED,
        RejectionCode.PAYLOAD_TOO_LARGE,
        RejectionCode.QUERY_FAILED,
        RejectionCode.QUERY_TIMEOUT,
    ),
    openapi_extra=described_bytes({JSON: {}}, required=False),
)
async def query_workflow(
    request: Request, workflow_id: PathName, name: PathName, query: Annotated[AnswerQuery, Query()]
) -> Response:
    """Ask an open run. The body is the arguments, as JSON; the answer is the run's own JSON. Harmless to repeat."""
    arguments = await _arguments(request)
    gateway = gateway_of(request)
    asked = {"namespace": query.namespace, "workflow_id": workflow_id, "name": name}
    if query.run_id is not None:
        asked["run_id"] = query.run_id
    partition = gateway.commands.partition_of(Namespace(query.namespace), WorkflowId(workflow_id))
    answer = await gateway.owners.ask(partition, "query", asked, wait_ms=query.wait_ms, body=arguments)
    return Response(answer.body, answer.status, media_type=answer.content_type)


async def _arguments(request: Request) -> bytes:
    """The body; `null` when there is none. Raises Refused, BadJson."""
    content_type = content_type_of(request)
    content = await read_body(request, limits.PAYLOAD_BYTES_MAX)
    if not content:
        return _NO_ARGUMENTS
    if content_type != JSON:
        raise invalid("Content-Type", f"must be {JSON}")
    check_value(content)
    return content
