"""Lists of runs, from all owners."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from aion_common.records.common import JSON
from aion_gateway.everywhere import list_runs
from aion_gateway.http.fields import gateway_of
from aion_gateway.http.models import ListedWorkflows, ListQuery
from aion_gateway.http.openapi import problems

router = APIRouter(tags=["workflows"])


@router.get("/v1/workflows", response_model=ListedWorkflows, responses=problems())
async def list_workflows(request: Request, query: Annotated[ListQuery, Query()]) -> Response:
    """Runs, those that started last first: those that agree with every filter. `next_cursor` leads to the rest; there may be
    one although the page is short."""
    gateway = gateway_of(request)
    wanted = query.model_dump(mode="json", exclude={"cursor", "limit"}, exclude_none=True)
    filters = {name: str(value) for name, value in wanted.items()}
    runs, position = await list_runs(gateway.owners, gateway.around.partitions, filters, query.cursor, query.limit)
    listed = ListedWorkflows(workflows=runs, next_cursor=None if position is None else position.cursor)
    return Response(listed.model_dump_json(exclude_none=True), media_type=JSON)
