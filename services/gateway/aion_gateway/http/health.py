"""Is the process alive, and would a start work? For supervisors and load balancers."""

from fastapi import APIRouter, Request

from aion_common.records.replies import RejectionCode
from aion_gateway.http.fields import gateway_of
from aion_gateway.http.models import Alive, Ready
from aion_gateway.http.openapi import problems
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


@router.get("/readyz", response_model=Ready, responses=problems())
async def ready(request: Request) -> Ready:
    """200 only when a start would work now, whatever its workflow id."""
    gateway = gateway_of(request)
    partitions = gateway.around.partitions
    reasons = await reasons_not_ready(gateway.around.log, gateway.replies, gateway.owners, partitions)
    if reasons:
        raise refused(RejectionCode.UNAVAILABLE, "a start would not work now", reasons=list(reasons))
    return Ready(partitions=partitions)
