"""A whole small system around a gateway: memory log, scripted executor and catalog, one owner of all partitions."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx

from aion_common.ids import Namespace, WorkflowId
from aion_common.kafka.api import Log
from aion_common.kafka.topics import Topics, wanted
from aion_common.testing.memory_cluster import MemoryCluster
from aion_common.testing.memory_log import MemoryLog
from aion_gateway.app import create_app
from aion_gateway.gateway import Gateway, Surroundings, open_gateway
from gateway.scripted import Executors, ScriptedCatalog, ScriptedExecutor, ScriptedOwner, owner_record

PARTITIONS = 3
TOPICS = Topics("test.")
ADDRESS = "executor-1:1000"


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """`http` speaks to the gateway; `executors` is the network behind it."""

    log: Log
    topics: Topics
    executor: ScriptedExecutor
    catalog: ScriptedCatalog
    executors: Executors
    owner: ScriptedOwner
    gateway: Gateway
    http: httpx.AsyncClient

    @property
    def cluster(self) -> MemoryCluster:
        """The brokers, when they are in memory."""
        assert isinstance(self.log, MemoryLog)
        return self.log.cluster

    async def announce(self, partition: int, owner_epoch: int, member: str, address: str) -> None:
        """Write to `aion.owners`, and wait until the gateway has read it."""
        await self.announce_unseen(partition, owner_epoch, member, address)
        await self.gateway.owners.tail.caught_up()

    async def announce_unseen(self, partition: int, owner_epoch: int, member: str, address: str) -> None:
        """Write to `aion.owners`."""
        sender = await self.log.sender()
        await sender.send(self.topics.owners, 0, [owner_record(partition, owner_epoch, member, address)])

    def partition_of(self, workflow_id: str) -> int:
        """Of a workflow in the default namespace."""
        return self.gateway.commands.partition_of(Namespace("default"), WorkflowId(workflow_id))


@asynccontextmanager
async def world(
    *, reply_wait_ms: int = 30_000, in_flight_max: int = 100, partitions_owned: int = PARTITIONS
) -> AsyncIterator[World]:
    """A system that works, in memory."""
    log = MemoryLog(MemoryCluster())
    await log.create_topics(wanted(TOPICS, partitions=PARTITIONS, replication=1, insync_min=1))
    executors = Executors()
    around = surroundings(log, executors, reply_wait_ms=reply_wait_ms, in_flight_max=in_flight_max)
    async with world_around(around, executors, partitions_owned) as w:
        yield w


@asynccontextmanager
async def world_around(around: Surroundings, executors: Executors, partitions_owned: int = PARTITIONS) -> AsyncIterator[World]:
    """A system that works, over any log whose topics are there."""
    log, topics = around.log, around.topics
    executor, catalog = ScriptedExecutor(log, topics, PARTITIONS), ScriptedCatalog(log, topics)
    owner = ScriptedOwner(executor, "executor-1")
    executors.listening[ADDRESS] = owner
    sender = await log.sender()
    for partition in range(partitions_owned):
        owner.owned[partition] = 10
        await sender.send(topics.owners, 0, [owner_record(partition, 10, "executor-1", ADDRESS)])
    await sender.close()
    async with asyncio.TaskGroup() as doubles:
        running = [doubles.create_task(executor.run()), doubles.create_task(catalog.run())]
        async with serving(around) as (gateway, http):
            yield World(
                log=log,
                topics=topics,
                executor=executor,
                catalog=catalog,
                executors=executors,
                owner=owner,
                gateway=gateway,
                http=http,
            )
        for task in running:
            task.cancel()


def surroundings(
    log: Log,
    executors: Executors,
    topics: Topics = TOPICS,
    *,
    reply_wait_ms: int = 30_000,
    in_flight_max: int = 100,
) -> Surroundings:
    """Of a gateway in this world."""
    return Surroundings(
        log=log,
        topics=topics,
        client=httpx.AsyncClient(transport=executors),
        gateway_id="gateway-1",
        partitions=PARTITIONS,
        reply_wait_ms=reply_wait_ms,
        in_flight_max=in_flight_max,
    )


@asynccontextmanager
async def serving(around: Surroundings) -> AsyncIterator[tuple[Gateway, httpx.AsyncClient]]:
    """A gateway that has read what is there, and a client of it."""
    async with around.client, open_gateway(around) as gateway:
        await gateway.owners.tail.caught_up()
        await gateway.replies.tail.positioned()
        transport = httpx.ASGITransport(app=create_app(gateway), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as http:
            yield gateway, http
