"""The task queues that exist: topics of the cluster, looked at now and then, and at once when a run names an unknown one."""

import asyncio
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field

import structlog

from aion_common.errors import Unavailable
from aion_common.kafka.api import Log
from aion_common.kafka.partitioner import partition_of
from aion_common.kafka.topics import Topics, tasks_noun
from aion_common.limits import QUEUES_LOOK_MAX_MS, QUEUES_LOOK_MIN_MS

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Queues(Collection[str]):
    """The names of the queues. Asked for on the event loop at any time; nothing waits."""

    log: Log
    topics: Topics
    _partitions: dict[str, int] = field(default_factory=dict)
    """By the topic's name without the cluster's prefix."""
    _missed: asyncio.Event = field(default_factory=asyncio.Event)
    _asking: list[Callable[[], None]] = field(default_factory=list)

    def __contains__(self, queue: object) -> bool:
        is_known = isinstance(queue, str) and tasks_noun(queue) in self._partitions
        if not is_known:
            self._missed.set()
        return is_known

    def __iter__(self) -> Iterator[str]:
        return (noun.removeprefix(tasks_noun("")) for noun in self._partitions)

    def __len__(self) -> int:
        return len(self._partitions)

    def partition_of(self, noun: str, key: bytes) -> int:
        """Where a record with this key belongs in a topic of tasks; other topics that are written by key have one partition."""
        return partition_of(key, self._partitions.get(noun, 1))

    def is_placed(self, noun: str) -> bool:
        """Whether `partition_of` can tell for this topic. A new owner may owe tasks of a queue that it has not seen yet."""
        return noun in self._partitions or not noun.startswith(tasks_noun(""))

    async def looked(self) -> None:
        """Return after the next look that begins."""
        has_looked = asyncio.Event()
        self.when_looked(has_looked.set)
        await has_looked.wait()

    def when_looked(self, tell: Callable[[], None]) -> None:
        """Call `tell` after the next look that begins: a queue that was created before now is known then."""
        self._asking.append(tell)
        self._missed.set()

    async def look(self) -> None:
        """Learn which there are, one look at a time. Raises Unavailable."""
        prefix, asking = self.topics.prefix, len(self._asking)
        found = await self.log.topics_beginning(self.topics.tasks(""))
        self._partitions = {name.removeprefix(prefix): partitions for name, partitions in found.items()}
        told, self._asking = self._asking[:asking], self._asking[asking:]
        for tell in told:
            tell()

    async def run(self) -> None:
        """Keep looking until cancelled. The cluster's silence is waited out."""
        while True:
            try:
                async with asyncio.timeout(QUEUES_LOOK_MAX_MS / 1000):
                    await self._missed.wait()
            except TimeoutError:
                pass
            self._missed.clear()
            try:
                await self.look()
            except Unavailable as error:
                self._missed.set()
                log.warning("task queues not looked up", reason=str(error))
            await asyncio.sleep(QUEUES_LOOK_MIN_MS / 1000)
