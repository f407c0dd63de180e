"""One executor: a member of the group that owns what the group assigns to it, and lets go of what it takes away.

Membership decides who should own; the claim of the transactional.id and the broker's fencing decide who does. A partition
whose life ends with an error is claimed again after a pause, except after `Fenced`: then only if the group, joined anew,
assigns it again, else two owners would fence each other for ever.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import MappingProxyType

import structlog

from aion_beam.pool import PackageKey
from aion_common.errors import AionError, Fenced
from aion_common.kafka.api import Membership, Sender
from aion_common.limits import RECLAIM_PAUSE_MAX_MS, RECLAIM_PAUSE_MIN_MS
from aion_common.records.common import PackageRef
from aion_common.records.owners import Owner
from aion_common.wire import encode
from aion_executor.core.partition import version_key
from aion_executor.shell.commands import CommandReader
from aion_executor.shell.ownership import Claimant, Owned, take_over
from aion_executor.shell.partition import OwnedPartition
from aion_executor.shell.residents import ConnectVms

log = structlog.get_logger(__name__)

GROUP = "executors"


@dataclass(slots=True, kw_only=True)
class Executor:
    """`address`: host:port of the owner's HTTP, published in `aion.owners`. `commands` runs beside it."""

    claimant: Claimant
    address: str
    session_ms: int
    sender: Sender
    connect: ConnectVms
    commands: CommandReader
    _assigned: frozenset[int] = frozenset()
    _owned: dict[int, OwnedPartition] = field(default_factory=dict)
    _lives: dict[int, asyncio.Task[None]] = field(default_factory=dict)
    _fenced: set[int] = field(default_factory=set)
    _is_leaving: bool = False
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def owned(self) -> MappingProxyType[int, OwnedPartition]:
        """The partitions owned now, restored and alive."""
        return MappingProxyType(self._owned)

    def package_ref(self, key: PackageKey) -> PackageRef | None:
        """Where a loaded version's archive lies, as the owned partitions know it."""
        wanted = version_key(key.namespace, key.version)
        for partition in self._owned.values():
            if (loaded := partition.loop.decided.versions.get(wanted)) is not None:
                return loaded.package
        return None

    async def run(self) -> None:
        """Own what is assigned until cancelled."""
        topics = self.claimant.topics
        membership = await self.claimant.log.membership(
            topics.prefix + GROUP, topics.commands, self.claimant.member, self.session_ms, self._on_assigned
        )
        try:
            async with asyncio.TaskGroup() as tasks:
                try:
                    while True:
                        await self._changed.wait()
                        self._changed.clear()
                        await self._reconcile(tasks, membership)
                finally:
                    for life in self._lives.values():
                        life.cancel()
        finally:
            await membership.close()

    def _on_assigned(self, assigned: frozenset[int]) -> None:
        if self._is_leaving:
            self._is_leaving = False
            return
        log.info("partitions assigned", partitions=sorted(assigned))
        self._assigned = assigned
        self._fenced.clear()
        self._changed.set()

    async def _reconcile(self, tasks: asyncio.TaskGroup, membership: Membership) -> None:
        if self._fenced:
            # Rejoining gives up every partition in the eyes of the group, but only the fenced ones in ours: what nobody has
            # taken goes on until the new assignment says otherwise.
            self._assigned -= self._fenced
            self._fenced.clear()
            self._is_leaving = True
            await membership.rejoin()
            self._is_leaving = False
        ending = [life for partition, life in self._lives.items() if partition not in self._assigned]
        for life in ending:
            life.cancel()
        if ending:
            await asyncio.wait(ending)
        for partition in self._assigned - self._lives.keys():
            life = tasks.create_task(self._live(partition), name=f"partition {partition}")
            self._lives[partition] = life

    async def _live(self, partition: int) -> None:
        """Own the partition, again and again, until cancelled or fenced."""
        pause_ms = RECLAIM_PAUSE_MIN_MS
        try:
            while True:
                try:
                    await self._own(partition)
                except Exception as error:  # a partition's bug must not take its neighbours down
                    _stay_cancelled(error)
                    causes = list(_causes(error))
                    if any(isinstance(cause, Fenced) for cause in causes):
                        log.warning("partition fenced: another owner took it over", partition=partition)
                        self._fenced.add(partition)
                        return
                    if all(isinstance(cause, AionError) for cause in causes):
                        log.warning("partition lost", partition=partition, reasons=[str(cause) for cause in causes])
                    else:
                        log.exception("partition crashed", partition=partition)
                await asyncio.sleep(pause_ms / 1000)
                pause_ms = min(pause_ms * 2, RECLAIM_PAUSE_MAX_MS)
        finally:
            del self._lives[partition]
            self._changed.set()

    async def _own(self, partition: int) -> None:
        owned = await take_over(self.claimant, partition)
        try:
            await self._announce(partition, owned)
            alive = OwnedPartition(
                number=partition,
                appender=owned.appender,
                sender=self.sender,
                replies_topic=self.claimant.topics.replies,
                clock=self.claimant.clock,
                restored=owned.restored,
                connect=self.connect,
            )
            self._owned[partition] = alive
            self.commands.attach(partition, alive, owned.restored.partition.commands_next)
            log.info("partition owned", partition=partition, owner_epoch=owned.restored.partition.owner_epoch)
            try:
                await alive.run()
            finally:
                self.commands.detach(partition)
                del self._owned[partition]
        finally:
            await owned.close()

    async def _announce(self, partition: int, owned: Owned) -> None:
        owner = Owner(
            partition=partition,
            owner_epoch=owned.restored.partition.owner_epoch,
            member=self.claimant.member,
            address=self.address,
        )
        await self.sender.send(self.claimant.topics.owners, 0, [(str(partition).encode(), encode(owner))])


def _stay_cancelled(error: Exception) -> None:
    """Raise CancelledError if this task was cancelled: a TaskGroup whose child failed at the same time hides it."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError from error


def _causes(error: Exception) -> Iterator[Exception]:
    if isinstance(error, ExceptionGroup):
        for inner in error.exceptions:
            yield from _causes(inner)
    else:
        yield error
