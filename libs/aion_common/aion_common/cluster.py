"""Is this the cluster the service was set up for? Every service asks once at start, before it touches anything else.

The answer stands in the first record of `aion.catalog`, which `aion-server init` wrote: number of partitions,
partitioner, topics. A cluster that differs would send a workflow's commands to another partition than its history.
"""

import asyncio
from contextlib import aclosing

from aion_common import limits
from aion_common.errors import Unavailable, WrongCluster
from aion_common.kafka.api import Log
from aion_common.kafka.reading import records_between
from aion_common.kafka.topics import Topics
from aion_common.records.catalog import CatalogRecord, ClusterCreated
from aion_common.wire import decode, is_schema, schemas

PARTITIONER = "murmur2"
HINT = "run `aion-server init` with the same bootstrap and topic prefix first"


async def verify_cluster(log: Log, topics: Topics) -> ClusterCreated:
    """What the cluster was created with, after comparing it with the topics as they are.

    Raises `WrongCluster`, naming both values, when they differ or when there is no cluster yet; `Unavailable` when Kafka
    does not answer. Reads only; a repeat is harmless.
    """
    if topics.catalog not in await log.describe_topics([topics.catalog]):
        raise WrongCluster(f"topic {topics.catalog} does not exist; {HINT}")
    created = await read_cluster(log, topics)
    if created is None:
        raise WrongCluster(f"topic {topics.catalog} is empty; {HINT}")
    if created.partitioner != PARTITIONER:
        raise WrongCluster(f"the cluster was created with partitioner {created.partitioner}, this is {PARTITIONER}")
    described = await log.describe_topics([topic.name for topic in created.topics])
    for topic in created.topics:
        found = described.get(topic.name)
        if found is None or found.partitions != topic.partitions:
            is_now = "does not exist" if found is None else f"has {found.partitions}"
            raise WrongCluster(f"topic {topic.name} was created with {topic.partitions} partitions and now {is_now}")
    return created


async def join_cluster(log: Log, topics: Topics) -> ClusterCreated:
    """What every service does at start: `verify_cluster`, then publish the schemas of this release that are not in
    `aion.schemas` yet, so that whoever reads its records needs nothing but Kafka. A repeat is harmless."""
    created = await verify_cluster(log, topics)
    first, end = await log.beginning_offset(topics.schemas, 0), await log.end_offset(topics.schemas, 0)
    newest: dict[bytes | None, bytes | None] = {}
    async with aclosing(records_between(log, topics.schemas, first, end)) as portions:
        async for records in portions:
            newest.update((record.key, record.value) for record in records)
    missing = [
        (mark.encode(), text.encode()) for mark, text in schemas().items() if not is_schema(mark, newest.get(mark.encode()))
    ]
    if missing:
        sender = await log.sender()
        try:
            await sender.send(topics.schemas, 0, missing)
        finally:
            await sender.close()
    return created


async def read_cluster(log: Log, topics: Topics) -> ClusterCreated | None:
    """The first record of `aion.catalog`, or None if there is none yet. The topic must exist."""
    first = await log.beginning_offset(topics.catalog, 0)
    if await log.end_offset(topics.catalog, 0) <= first:
        return None
    reader = await log.reader(topics.catalog)
    try:
        reader.assign({0: first})
        async with asyncio.timeout(limits.CLUSTER_READ_MS / 1000):
            while not (records := (await reader.read(wait_ms=100, records_max=1)).get(0)):
                if reader.position(0) >= await log.end_offset(topics.catalog, 0):
                    return None
    except TimeoutError as error:
        raise Unavailable(f"the first record of {topics.catalog} could not be read in time") from error
    finally:
        await reader.close()
    record = None if records[0].value is None else decode(records[0].value)
    if not isinstance(record, CatalogRecord) or not isinstance(record.event, ClusterCreated):
        raise WrongCluster(f"the first record of {topics.catalog} is not ClusterCreated; was it written by another program?")
    return record.event
