"""One connection to a cluster, and the two ways to ask it: once (`ask`), or until it can answer (`insist`).

Everything of this room goes through here: what a broker's error codes mean for the caller is decided in `check`, every
wait is bounded, and nothing of aiokafka's producer, consumer or client is used: the first two flush without limit when they
are stopped, lose error codes above 72 and hide positions; for the client see `brokers`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from typing import Any, TypeVar

from aiokafka.client import CoordinationType
from aiokafka.errors import for_code
from aiokafka.protocol.coordination import FindCoordinatorRequest
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.structs import TopicPartition

from aion_common import limits
from aion_common.errors import Fenced, Unavailable
from aion_common.kafka.brokers import Brokers, Retry, picture_of

T = TypeVar("T")

OFFSET_OUT_OF_RANGE = 1
ILLEGAL_GENERATION = 22
INCONSISTENT_GROUP_PROTOCOL = 23
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


async def open_client(bootstrap: str, client_id: str, *, request_ms: int | None = None) -> Brokers:
    """Connect and learn the brokers. `request_ms`: limits.KAFKA_REQUEST_MS, unless given. Raises Unavailable."""
    client = Brokers(bootstrap, client_id, request_ms or limits.KAFKA_REQUEST_MS)
    try:
        await client.refresh()
    except Retry as cause:
        await close_client(client)
        raise Unavailable(f"no broker answers at {bootstrap}") from cause
    except BaseException:
        await close_client(client)
        raise
    return client


async def close_client(client: Brokers) -> None:
    """Close all its connections, without waiting long for brokers that are gone."""
    try:
        async with asyncio.timeout(limits.KAFKA_CLOSE_MS / 1000):
            await client.close()
    except TimeoutError:
        return


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


async def insist(client: Brokers, what: str, attempt: Callable[[], Awaitable[T]]) -> T:
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
                with suppress(Retry):
                    await client.refresh()
    except TimeoutError as cause:
        raise Unavailable(f"{what}: {last}") from cause


async def leader_of(client: Brokers, place: TopicPartition) -> int:
    """The broker that leads the partition. Raises Retry when none is known."""
    leader = client.picture.leader(place)
    if leader is None:
        await client.follow(place.topic)
        leader = client.picture.leader(place)
    if leader is None:
        raise Retry(f"{place.topic} partition {place.partition} has no leader or does not exist")
    return leader


async def ask_leader(client: Brokers, node: int, places: Collection[TopicPartition], request: object) -> Any:
    """The response of this broker, which leads these partitions. Raises Retry, also as soon as it is silent and others say that
    it does not lead them all any more: a machine that is gone does not even close its connections."""
    loop = asyncio.get_running_loop()
    watching: list[asyncio.Task[None]] = []
    try:
        async with asyncio.timeout(None) as patience:

            def watch() -> None:
                watching.append(loop.create_task(_end_when_moved(client, node, places, patience)))

            timer = loop.call_later(limits.KAFKA_SILENCE_MS / 1000, watch)
            try:
                return await client.send(node, request)
            finally:
                timer.cancel()
                for task in watching:
                    task.cancel()
    except TimeoutError as cause:
        raise Retry(f"broker {node} is silent and leads no more") from cause


async def _end_when_moved(client: Brokers, node: int, places: Collection[TopicPartition], patience: asyncio.Timeout) -> None:
    while all(client.picture.leader(place) == node for place in places):
        await asyncio.sleep(_PAUSE_MAX_S)
        with suppress(Retry):
            await client.refresh()
    patience.reschedule(asyncio.get_running_loop().time())


async def confirm_leader(client: Brokers, place: TopicPartition, leader: int) -> None:
    """Raises Retry if another broker with a copy knows that this one, which has just answered as the leader, leads no more.

    A broker that stood still or was cut off goes on as leader until it learns better, and its end of the log is an old one.
    Of three copies two acknowledge a record (min.insync.replicas), so either of the other two knows the leader of anything
    newer. With fewer copies this proves less.
    """
    others = [node for node in client.picture.replicas.get(place, ()) if node != leader and node in client.picture.addresses]
    if others:
        request = MetadataRequest([place.topic], allow_auto_topic_creation=False)
        said = picture_of(await client.any_answer(request, others)).leader(place)
        if said != leader:
            raise Retry(f"{place.topic} partition {place.partition} is led by {said}, not by {leader}")


async def coordinator_of(client: Brokers, kind: CoordinationType, key: str) -> int:
    """The broker that coordinates this group or transactional id. Raises Retry: a fresh cluster has none for a while."""
    response = await client.any_answer(FindCoordinatorRequest(key, kind))
    if response.error_code != 0:
        raise Retry(f"no coordinator of {key}: {for_code(response.error_code).__name__}")
    return int(response.coordinator_id)
