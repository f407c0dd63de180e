"""One connection to a cluster, and the two ways to ask it: once (`ask`), or until it can answer (`insist`).

Everything of this room goes through here: what a broker's error codes mean for the caller is decided in `check`, every
wait is bounded, and nothing of aiokafka's producer or consumer is used: those flush without limit when they are stopped,
lose error codes above 72 and hide positions.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from aiokafka.client import AIOKafkaClient, ConnectionGroup, CoordinationType
from aiokafka.errors import KafkaError, for_code
from aiokafka.structs import TopicPartition

from aion_common import limits
from aion_common.errors import Fenced, Unavailable

T = TypeVar("T")

OFFSET_OUT_OF_RANGE = 1
ILLEGAL_GENERATION = 22
UNKNOWN_MEMBER_ID = 25
INVALID_SESSION_TIMEOUT = 26
REBALANCE_IN_PROGRESS = 27
TOPIC_ALREADY_EXISTS = 36
OPERATION_NOT_ATTEMPTED = 55
MEMBER_ID_REQUIRED = 79

_INVALID_PRODUCER_EPOCH = 47
_PRODUCER_FENCED = 90
_FENCED = frozenset({_INVALID_PRODUCER_EPOCH, _PRODUCER_FENCED})
_ABOUT_LEADERS = frozenset({3, 5, 6, 8, 9, 74, 75, 78})
_ABOUT_COORDINATORS = frozenset({14, 15, 16, 41, 51})
_ABOUT_THE_MOMENT = frozenset({2, 7, 13, 19, 20, 56, 89})
_RETRIED = _ABOUT_LEADERS | _ABOUT_COORDINATORS | _ABOUT_THE_MOMENT
"""Error codes that Kafka calls retriable, where a repeat of our requests is harmless (all of them are idempotent)."""

_PAUSE_MIN_S = 0.01
_PAUSE_MAX_S = 0.5


class Retry(Exception):
    """The cluster cannot do it now, or its answer was lost: the same request again is right."""


async def open_client(bootstrap: str, client_id: str, *, request_ms: int = limits.KAFKA_REQUEST_MS) -> AIOKafkaClient:
    """Connect and learn the brokers. Raises Unavailable."""
    # The parser of addresses takes a bare string for one address only.
    client = AIOKafkaClient(
        bootstrap_servers=bootstrap.split(","), client_id=client_id, request_timeout_ms=request_ms, retry_backoff_ms=50
    )
    try:
        async with asyncio.timeout(limits.KAFKA_REQUEST_MS / 1000):
            await client.bootstrap()
    except (KafkaError, TimeoutError) as cause:
        await close_client(client)
        raise Unavailable(f"no broker answers at {bootstrap}") from cause
    except BaseException:
        await close_client(client)
        raise
    return client


async def close_client(client: AIOKafkaClient) -> None:
    """Close all its connections, without waiting long for brokers that are gone.

    aiokafka passes over every cancellation while it waits for the end of its own task, also over one that is meant for us: who
    is cancelled meanwhile would not know, and an executor would never let go of a partition.
    """
    us = asyncio.current_task()
    assert us is not None, "coroutines run in tasks"
    cancelled_before = us.cancelling()
    try:
        async with asyncio.timeout(limits.KAFKA_CLOSE_MS / 1000):
            await client.close()
    except TimeoutError:
        pass
    if us.cancelling() > cancelled_before:
        raise asyncio.CancelledError


def check(code: int, what: str) -> None:
    """Raise what the error code of a response means: Retry, Fenced, or Unavailable for all that stays refused."""
    if code == 0:
        return
    reason = f"{what}: {for_code(code).__name__} ({code})"
    if code in _RETRIED:
        raise Retry(reason)
    if code in _FENCED:
        raise Fenced(reason)
    raise Unavailable(reason)


async def ask(client: AIOKafkaClient, node: int, request: object, group: ConnectionGroup = ConnectionGroup.DEFAULT) -> Any:
    """The response of this broker. Raises Retry."""
    try:
        return await client.send(node, request, group=group)
    except KafkaError as cause:
        raise Retry(repr(cause)) from cause


async def insist(client: AIOKafkaClient, what: str, attempt: Callable[[], Awaitable[T]]) -> T:
    """Try until the attempt raises no Retry, refreshing the picture of the cluster between two tries. Raises Unavailable
    after limits.APPEND_MS, and whatever else the attempt raises."""
    pause = _PAUSE_MIN_S
    last = "no answer"
    try:
        async with asyncio.timeout(limits.APPEND_MS / 1000):
            while True:
                try:
                    return await attempt()
                except Retry as cause:
                    last = str(cause)
                await asyncio.sleep(pause)
                pause = min(2 * pause, _PAUSE_MAX_S)
                await client.force_metadata_update()
    except TimeoutError as cause:
        raise Unavailable(f"{what}: {last}") from cause


async def leader_of(client: AIOKafkaClient, place: TopicPartition) -> int:
    """The broker that leads the partition. Raises Retry when none is known."""
    leader = client.cluster.leader_for_partition(place)
    if leader is None:
        await client.add_topic(place.topic)
        leader = client.cluster.leader_for_partition(place)
    if leader is None or leader == -1:
        raise Retry(f"{place.topic} partition {place.partition} has no leader or does not exist")
    return int(leader)


async def coordinator_of(client: AIOKafkaClient, kind: CoordinationType, key: str) -> int:
    """The broker that coordinates this group or transactional id. Raises Retry: a fresh cluster has none for a while."""
    any_node(client)  # aiokafka asserts it; after a restart a broker may at first name none, not even itself
    try:
        return int(await client.coordinator_lookup(kind, key))
    except KafkaError as cause:
        raise Retry(f"no coordinator of {key}: {cause!r}") from cause


def any_node(client: AIOKafkaClient) -> int:
    """Some broker. Raises Retry when none is known."""
    node = client.get_random_node()
    if node is None:
        raise Retry("no broker is known")
    return int(node)
