"""Task queues: the topics `<prefix>tasks.<queue>`, made as users need them, unlike those of the table in `topics`.

`aion-server init` and gateways create them by `ensure_queue`; whoever lists them takes `queues_of`. Nothing that exists is
ever altered.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from msgspec.structs import replace

from aion_common.errors import WrongCluster
from aion_common.kafka.api import Log, Topic
from aion_common.kafka.topics import ON_ALL, Topics, differences
from aion_common.limits import QUEUES_MAX

DEFAULT_QUEUE = "default"
"""Every cluster has it."""

QUEUE_PATTERN = r"[a-z0-9][a-z0-9_-]{0,62}"

QUEUE_PARTITIONS_MAX = 1024
"""As many as a cluster may have."""

_INSYNC_MIN = "min.insync.replicas"
_RETENTION_MS = 14 * 24 * 3_600_000
"""Longer than any activity may take (13 days): nobody waits for a task that is deleted."""


class QueueDiffers(WrongCluster):
    """The queue exists, and not as it is wanted. `partitions`: those it has."""

    def __init__(self, sentence: str, partitions: int) -> None:
        super().__init__(sentence)
        self.partitions = partitions


class TooManyQueues(WrongCluster):
    """The cluster has `limit` task queues already."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"a cluster has at most {limit} task queues; delete the topics of those that are not used any more")
        self.limit = limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """A task queue that is there. `created`: it was not, before."""

    name: str
    partitions: int
    created: bool


def is_queue_name(text: str) -> bool:
    """Whether a task queue may be called so."""
    return re.fullmatch(QUEUE_PATTERN, text) is not None


def queue_topic(topics: Topics, queue: str, *, partitions: int, commands: Topic) -> Topic:
    """The topic of a queue, with as many copies as the cluster's `commands` have, as many of them in sync."""
    configs = {"cleanup.policy": "delete", "retention.ms": str(_RETENTION_MS), _INSYNC_MIN: commands.configs[_INSYNC_MIN]}
    return Topic(
        name=topics.tasks(queue),
        partitions=partitions,
        replication=commands.replication,
        configs={**ON_ALL, **configs},
    )


async def ensure_queue(log: Log, topics: Topics, queue: str, partitions: int | None = None) -> Queue:
    """Create the queue unless it is there, and compare it with what is wanted. A repeat is harmless, also at the same time.

    `partitions` None: those it has; of a new queue, as many as commands have. Raises QueueDiffers, TooManyQueues, WrongCluster
    (there is no cluster) and Unavailable. Queues that are created at the same time may go a little over the limit.
    """
    name = topics.tasks(queue)
    before = await log.describe_topics([topics.commands, name])
    commands = before.get(topics.commands)
    if commands is None:
        raise WrongCluster(f"{topics.commands} does not exist; run `aion-server init` first")
    wanted = queue_topic(topics, queue, partitions=partitions or commands.partitions, commands=commands)
    # What exists is left alone: of two that create it at once, the later one compares itself with the other's.
    if name not in before:
        if len(await queues_of(log, topics)) >= QUEUES_MAX:
            raise TooManyQueues(QUEUES_MAX)
        await log.create_topics([wanted])
    found = (await log.describe_topics([name])).get(name)
    if found is None:
        raise WrongCluster(f"{name} is missing")
    if partitions is None:
        wanted = replace(wanted, partitions=found.partitions)
    if sentences := differences(wanted, found):
        raise QueueDiffers("; ".join(sentences), found.partitions)
    return Queue(name=queue, partitions=found.partitions, created=name not in before)


async def queues_of(log: Log, topics: Topics) -> Mapping[str, int]:
    """The queues that exist, in the order of their names, and how many partitions each has. Raises Unavailable."""
    beginning = topics.tasks("")
    found = await log.topics_beginning(beginning)
    named = {name.removeprefix(beginning): partitions for name, partitions in found.items()}
    return {name: named[name] for name in sorted(named) if is_queue_name(name)}
