"""Task queues: creating them, listing them. They belong to the cluster, not to a namespace."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from aion_common.kafka.queues import QueueDiffers, TooManyQueues, ensure_queue, queues_of
from aion_common.problems import LIMIT_EXCEEDED, QUEUE_EXISTS
from aion_common.records.replies import RejectionCode
from aion_gateway.http.bodies import json_body
from aion_gateway.http.fields import gateway_of
from aion_gateway.http.models import NoQuery
from aion_gateway.http.openapi import described_json, problems
from aion_gateway.http.problems import refused
from aion_gateway.http.queue_models import CreatedQueue, CreateQueue, ListedQueue, QueuesAnswer

router = APIRouter(tags=["queues"])


@router.post(
    "/v1/queues",
    status_code=201,
    response_model=CreatedQueue,
    responses=problems(QUEUE_EXISTS, LIMIT_EXCEEDED, RejectionCode.PAYLOAD_TOO_LARGE, RejectionCode.SHUTTING_DOWN)
    | {200: {"model": CreatedQueue, "description": "The queue was there already."}},
    openapi_extra=described_json(CreateQueue),
)
async def create_queue(request: Request, response: Response, query: Annotated[NoQuery, Query()]) -> CreatedQueue:
    """Create a task queue unless it is there. Every repeat is harmless, whatever its key."""
    del query
    body = await json_body(request, CreateQueue)
    gateway = gateway_of(request)
    gateway.drain.refuse_new_work()
    around = gateway.around
    try:
        queue = await ensure_queue(around.log, around.topics, body.name, body.partitions)
    except QueueDiffers as error:
        detail = f"the queue is there already, but otherwise: {error}"
        raise refused(QUEUE_EXISTS, detail, partitions=error.partitions) from None
    except TooManyQueues as error:
        raise refused(LIMIT_EXCEEDED, str(error), limit=error.limit) from None
    response.status_code = 201 if queue.created else 200
    return CreatedQueue(name=queue.name, partitions=queue.partitions, created=queue.created)


@router.get("/v1/queues", response_model=QueuesAnswer, responses=problems())
async def list_queues(request: Request, query: Annotated[NoQuery, Query()]) -> QueuesAnswer:
    """The task queues that exist, by name."""
    del query
    around = gateway_of(request).around
    found = await queues_of(around.log, around.topics)
    return QueuesAnswer(queues=[ListedQueue(name=name, partitions=partitions) for name, partitions in found.items()])
