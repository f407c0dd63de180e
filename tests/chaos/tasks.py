"""Whether the workers have finished what they were given: their group has committed all tasks, the cancelled ones included."""

from aion_common.kafka.api import Log
from aion_common.kafka.offsets import GroupOffsets
from aion_common.kafka.queues import DEFAULT_QUEUE, queues_of
from aion_common.kafka.topics import Topics
from chaos.calls import GIVEN_UP_S
from support import eventually


async def all_finished(bootstrap: str, log: Log, topics: Topics) -> None:
    """Wait until nothing is left. Fails when a task is never finished."""
    topic, group = topics.tasks(DEFAULT_QUEUE), f"{topics.prefix}workers.{DEFAULT_QUEUE}"
    partitions = range((await queues_of(log, topics))[DEFAULT_QUEUE])
    offsets = GroupOffsets(bootstrap, "aion-chaos", group, topic)
    try:
        ends = {partition: await log.end_offset(topic, partition) for partition in partitions}
        wanted = {partition: end for partition, end in ends.items() if end}

        async def are_committed() -> bool:
            return wanted.items() <= (await offsets.fetch(partitions)).items()

        await eventually(are_committed, within_s=GIVEN_UP_S)
    finally:
        await offsets.close()
