"""`aion-server init`: the topics, the first record of `aion.catalog`, task queues, the published schemas. Harmless to repeat.

Two inits at once write one first record: each takes over the transactional id `<prefix>init` before it looks whether
`aion.catalog` is empty, so the earlier of the two is either visible to the later one or refused by the broker.
"""

import asyncio
import functools

from rich.console import Console

from aion_common.clock import Clock, SystemClock
from aion_common.cluster import PARTITIONER, join_cluster, read_cluster
from aion_common.errors import Fenced, Unavailable, WrongCluster
from aion_common.kafka.api import Log, Topic, Write
from aion_common.kafka.client import connect
from aion_common.kafka.queues import DEFAULT_QUEUE, ensure_queue, queues_of
from aion_common.kafka.topics import Topics, ensure, wanted
from aion_common.records.catalog import CatalogRecord, ClusterCreated, TopicCreated
from aion_common.service import Serve
from aion_common.settings import QueueAsked, Settings
from aion_common.wire import encode


async def create_cluster(settings: Settings) -> tuple[ClusterCreated, tuple[str, ...]]:
    """`create` on the cluster that the settings name; and the names of all its task queues."""
    log = await connect(settings.bootstrap)
    try:
        created = await create(log, settings, SystemClock())
        return created, tuple(await queues_of(log, Topics(settings.topic_prefix)))
    finally:
        await log.close()


async def create(log: Log, settings: Settings, clock: Clock) -> ClusterCreated:
    """Create the cluster, or verify that it is as asked.

    Partitions that were not asked for explicitly are those the cluster, or the task queue, has. Raises `WrongCluster`, naming
    both values, when what exists is not what was asked for; `Unavailable` when Kafka does not answer.
    """
    topics = Topics(settings.topic_prefix)
    partitions = await _partitions(log, topics, settings)
    insync_min = max(1, settings.replication - 1)
    table = wanted(topics, partitions=partitions, replication=settings.replication, insync_min=insync_min)
    await ensure(log, table)
    created = await _record_creation(log, topics, table, clock)
    if created.partitions != partitions:
        raise WrongCluster(_other_partitions(created.partitions, partitions))
    for queue in _queues(settings):
        await ensure_queue(log, topics, queue.name, queue.partitions)
    return await join_cluster(log, topics)


def create_cluster_and_tell(console: Console) -> Serve:
    """The command `init` as a service for `aion_common.service.run`: ends by itself."""
    return functools.partial(_create_and_tell, console=console)


async def _create_and_tell(settings: Settings, stop: asyncio.Event, *, console: Console) -> None:
    created, queues = await create_cluster(settings)
    prefix = settings.topic_prefix or "none"
    console.print(
        f"cluster ready on {settings.bootstrap}: {created.partitions} partitions, {len(created.topics)} topics, "
        f"prefix {prefix}, task queues {', '.join(queues)}",
        highlight=False,
    )


def _queues(settings: Settings) -> tuple[QueueAsked, ...]:
    """Those that are asked for, and the one that there always is."""
    is_named = any(queue.name == DEFAULT_QUEUE for queue in settings.queues)
    return settings.queues if is_named else (QueueAsked(DEFAULT_QUEUE, None), *settings.queues)


async def _partitions(log: Log, topics: Topics, settings: Settings) -> int:
    """How many partitions the cluster has or, if it is new, shall have. Raises `WrongCluster` if it has others than asked."""
    exists = topics.catalog in await log.describe_topics([topics.catalog])
    created = await read_cluster(log, topics) if exists else None
    if created is None:
        return settings.partitions
    if "partitions" in settings.model_fields_set and settings.partitions != created.partitions:
        raise WrongCluster(_other_partitions(created.partitions, settings.partitions))
    return created.partitions


def _other_partitions(created: int, asked: int) -> str:
    return f"the cluster was created with {created} partitions, {asked} were asked for; the number is fixed for its life"


async def _record_creation(log: Log, topics: Topics, table: tuple[Topic, ...], clock: Clock) -> ClusterCreated:
    """Make `ClusterCreated` the first record of `aion.catalog` unless it is there; what stands there. Raises `Unavailable`."""
    if created := await read_cluster(log, topics):
        return created
    partitions = next(topic.partitions for topic in table if topic.name == topics.commands)
    event = ClusterCreated(
        partitions=partitions,
        partitioner=PARTITIONER,
        topics=tuple(TopicCreated(name=topic.name, partitions=topic.partitions) for topic in table),
    )
    value = encode(CatalogRecord(recorded_at=clock.now_ms(), event=event))
    producer = await log.transactional_producer(f"{topics.prefix}init")
    try:
        if created := await read_cluster(log, topics):
            return created
        await producer.commit([Write(topic=topics.catalog, partition=0, key=None, value=value)])
    except Fenced as error:
        raise Unavailable("another `aion-server init` is at work on this cluster; run this one again") from error
    finally:
        await producer.close()
    return event
