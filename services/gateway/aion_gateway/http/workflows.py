"""Reading what owners know of their runs."""

from collections.abc import Mapping
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from aion_common.ids import Namespace, WorkflowId
from aion_common.records.replies import RejectionCode
from aion_gateway.gateway import Gateway
from aion_gateway.http.fields import PathName, gateway_of
from aion_gateway.http.models import (
    HistoryQuery,
    ResultQuery,
    RunQuery,
    WorkflowDescription,
    WorkflowHistory,
    WorkflowResult,
)
from aion_gateway.http.openapi import problems

router = APIRouter(tags=["workflows"])


@router.get(
    "/v1/workflows/{workflow_id}",
    response_model=WorkflowDescription,
    responses=problems(RejectionCode.NOT_FOUND),
)
async def describe_workflow(request: Request, workflow_id: PathName, query: Annotated[RunQuery, Query()]) -> Response:
    """The run as it is now."""
    return await _from_owner(
        gateway_of(request), workflow_id, "description", query_of(query.namespace, workflow_id, query.run_id)
    )


@router.get(
    "/v1/workflows/{workflow_id}/history",
    response_model=WorkflowHistory,
    responses=problems(RejectionCode.NOT_FOUND),
)
async def read_history(request: Request, workflow_id: PathName, query: Annotated[HistoryQuery, Query()]) -> Response:
    """The run's events in order, from `from_seq` on; with `encoding=avro` the records' own bytes."""
    asked = {"from_seq": query.from_seq, "limit": query.limit, "encoding": query.encoding}
    chosen = {name: str(value) for name, value in asked.items() if value is not None}
    of_run = query_of(query.namespace, workflow_id, query.run_id)
    return await _from_owner(gateway_of(request), workflow_id, "history", {**of_run, **chosen})


@router.get(
    "/v1/workflows/{workflow_id}/result",
    response_model=WorkflowResult,
    responses=problems(RejectionCode.NOT_FOUND) | {202: {"model": WorkflowResult, "description": "The run is open still."}},
)
async def read_result(request: Request, workflow_id: PathName, query: Annotated[ResultQuery, Query()]) -> Response:
    """How the run ended; waits up to `wait_ms` for its end."""
    of_run = query_of(query.namespace, workflow_id, query.run_id)
    return await _from_owner(gateway_of(request), workflow_id, "result", of_run, wait_ms=query.wait_ms)


def query_of(namespace: str, workflow_id: str, run_id: str | None) -> dict[str, str]:
    """Which run, as owners are asked; without a run id: the latest."""
    of_workflow = {"namespace": namespace, "workflow_id": workflow_id}
    return of_workflow if run_id is None else {**of_workflow, "run_id": run_id}


async def _from_owner(
    gateway: Gateway, workflow_id: str, what: str, query: Mapping[str, str], *, wait_ms: int | None = None
) -> Response:
    """The owner's answer as it is."""
    partition = gateway.commands.partition_of(Namespace(query["namespace"]), WorkflowId(workflow_id))
    answer = await gateway.owners.ask(partition, what, query, wait_ms=wait_ms)
    return Response(answer.body, answer.status, media_type=answer.content_type)
