"""The body and the answers of calls about task queues; see `models`."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from aion_common.kafka.queues import QUEUE_PARTITIONS_MAX
from aion_gateway.fields import QueueText

_ANSWER = ConfigDict(frozen=True)


class CreateQueue(BaseModel):
    """A task queue. Without `partitions`: as many as commands have or, if it is there, those that it has."""

    model_config = ConfigDict(strict=True, extra="forbid")
    name: QueueText
    partitions: Annotated[int, Field(ge=1, le=QUEUE_PARTITIONS_MAX)] | None = None


class CreatedQueue(BaseModel):
    """The task queue is there; `created`: it was not, before."""

    model_config = _ANSWER
    name: str
    partitions: int
    created: bool


class ListedQueue(BaseModel):
    """A task queue."""

    model_config = _ANSWER
    name: str
    partitions: int


class QueuesAnswer(BaseModel):
    """All task queues, by name."""

    model_config = _ANSWER
    queues: Sequence[ListedQueue]
