"""Which of several brokers a fault means, when it strikes."""

from collections import Counter

from aiokafka.client import CoordinationType
from aiokafka.structs import TopicPartition

from aion_common.kafka.brokers import Brokers
from aion_common.kafka.connection import close_client, coordinator_of, insist, leader_of, open_client
from aion_common.kafka.topics import Topics
from chaos.faults import BROKER, COORDINATOR, LEADER
from chaos.system import System

TOPICS = Topics("aion.")


async def named(system: System, victim: str) -> str:
    """The part that this victim is now."""
    if victim not in (LEADER, COORDINATOR):
        return victim
    client = await open_client(system.bootstrap, "aion-chaos")
    try:
        if victim == COORDINATOR:
            group = f"{TOPICS.prefix}executors"
            node = await insist(client, group, lambda: coordinator_of(client, CoordinationType.GROUP, group))
        else:
            node = await _leader_of_most(client, system.size.partitions)
    finally:
        await close_client(client)
    return f"{BROKER}-{node}"


async def _leader_of_most(client: Brokers, partitions: int) -> int:
    places = [TopicPartition(TOPICS.history, partition) for partition in range(partitions)]

    async def leaders() -> list[int]:
        return [await leader_of(client, place) for place in places]

    return Counter(await insist(client, TOPICS.history, leaders)).most_common(1)[0][0]
