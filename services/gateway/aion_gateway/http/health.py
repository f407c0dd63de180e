"""The process itself: is it alive, would a start work, what has it done, and: take no new work any more."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from aion_common.exposition import metrics_response
from aion_common.records.replies import RejectionCode
from aion_gateway.http.bodies import json_body_if_any
from aion_gateway.http.fields import gateway_of
from aion_gateway.http.models import Alive, Draining, NoQuery, Nothing, Ready
from aion_gateway.http.openapi import described_json, problems
from aion_gateway.http.problems import refused
from aion_gateway.readiness import reasons_not_ready

router = APIRouter(tags=["health"])


@router.get("/healthz", response_model=Alive, responses=problems())
async def alive(request: Request) -> Alive:
    """200 unless the process should be restarted: it does not read what is there to be read, although Kafka answers."""
    gateway = gateway_of(request)
    tails = {"replies": gateway.replies.tail, "owners": gateway.owners.tail, "catalog": gateway.versions.tail}
    stuck = [f"{name} are not read any more" for name, tail in tails.items() if tail.is_stuck]
    if stuck:
        raise refused(RejectionCode.UNAVAILABLE, "this gateway is stuck", reasons=stuck)
    return Alive()


@router.get("/readyz", response_model=Ready, responses=problems(RejectionCode.SHUTTING_DOWN))
async def ready(request: Request) -> Ready:
    """200 only when a start would work now, whatever its workflow id."""
    gateway = gateway_of(request)
    gateway.drain.refuse_new_work()
    partitions = gateway.around.partitions
    reasons = await reasons_not_ready(gateway.around.log, gateway.replies, gateway.owners, partitions)
    if reasons:
        raise refused(RejectionCode.UNAVAILABLE, "a start would not work now", reasons=list(reasons))
    return Ready(partitions=partitions)


@router.post(
    "/v1/drain",
    status_code=202,
    response_model=Draining,
    responses=problems(RejectionCode.PAYLOAD_TOO_LARGE),
    openapi_extra=described_json(Nothing, required=False),
)
async def drain(request: Request, query: Annotated[NoQuery, Query()]) -> Draining:
    """Refuse deploys, routes, unloads, task queues and starts until the process is replaced. Everything else goes on."""
    del query
    await json_body_if_any(request, Nothing)
    gateway_of(request).drain.begin()
    return Draining()


@router.get("/metrics", response_class=Response, responses=problems() | {200: {"content": {"text/plain": {}}}})
async def metrics() -> Response:
    """What this process has counted, as Prometheus reads it."""
    return metrics_response()
