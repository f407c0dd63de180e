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
from aion_common.errors import AionError, Fenced, Unavailable
from aion_common.kafka.api import Membership, Sender
from aion_common.limits import INPUTS_KEPT_MS, OWNERS_ANNOUNCE_MS, RECLAIM_PAUSE_MAX_MS, RECLAIM_PAUSE_MIN_MS, TRIM_MS
from aion_common.records.common import PackageRef
from aion_common.records.owners import Owner
from aion_common.wire import encode
from aion_executor.core.partition import version_key
from aion_executor.shell.group_commit import GroupCommit
from aion_executor.shell.inputs import Inputs
from aion_executor.shell.ownership import Claimant, take_over
from aion_executor.shell.partition import OwnedPartition, RenewalDue
from aion_executor.shell.residents import ConnectVms

log = structlog.get_logger(__name__)

GROUP = "executors"


class InputsLost(AionError):
    """Commands or results that are not decided yet are gone: the partition must not go on as if there were none."""

    def __init__(self, topic: str, partition: int, needed: int, first: int) -> None:
        super().__init__(f"{topic}: records of partition {partition} are needed from offset {needed} and begin at {first}")


@dataclass(slots=True, kw_only=True)
class Executor:
    """`address`: host:port of the owner's HTTP, published in `aion.owners`. `inputs` runs beside it."""

    claimant: Claimant
    address: str
    session_ms: int
    sender: Sender
    connect: ConnectVms
    inputs: Inputs
    _assigned: frozenset[int] = frozenset()
    _commits: GroupCommit = field(default_factory=GroupCommit)
    _owned: dict[int, OwnedPartition] = field(default_factory=dict)
    _lives: dict[int, asyncio.Task[None]] = field(default_factory=dict)
    _fenced: set[int] = field(default_factory=set)
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
                tasks.create_task(membership.failed(), name="membership")
                tasks.create_task(self._announce_again(), name="announcements")
                tasks.create_task(self._trim_again(), name="trims")
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
        log.info("partitions assigned", partitions=sorted(assigned))
        self._assigned = assigned
        self._fenced.clear()
        self._changed.set()

    async def _reconcile(self, tasks: asyncio.TaskGroup, membership: Membership) -> None:
        if self._fenced:
            # The others go on until the new assignment says otherwise.
            self._assigned -= self._fenced
            self._fenced.clear()
            await membership.rejoin()
        ending = [life for partition, life in self._lives.items() if partition not in self._assigned]
        for life in ending:
            life.cancel()
        if ending:
            await asyncio.wait(ending)
        for partition in self._assigned - self._lives.keys() - self._fenced:
            life = tasks.create_task(self._live(partition), name=f"partition {partition}")
            self._lives[partition] = life

    async def _live(self, partition: int) -> None:
        """Own the partition, again and again, until cancelled or fenced."""
        pause_ms = RECLAIM_PAUSE_MIN_MS
        events = asyncio.get_running_loop()
        try:
            while True:
                began = events.time()
                try:
                    await self._own(partition)
                except Exception as error:  # a partition's bug must not take its neighbours down
                    _stay_cancelled(error)
                    causes = list(_causes(error))
                    if all(isinstance(cause, RenewalDue) for cause in causes):
                        log.info("ownership renewed", partition=partition)
                        continue
                    if any(isinstance(cause, Fenced) for cause in causes):
                        log.warning("partition fenced: another owner took it over", partition=partition)
                        self._fenced.add(partition)
                        return
                    if all(isinstance(cause, AionError) for cause in causes):
                        log.warning("partition lost", partition=partition, reasons=[str(cause) for cause in causes])
                    else:
                        log.exception("partition crashed", partition=partition)
                if (events.time() - began) * 1000 > RECLAIM_PAUSE_MAX_MS:
                    pause_ms = RECLAIM_PAUSE_MIN_MS
                await asyncio.sleep(pause_ms / 1000)
                pause_ms = min(pause_ms * 2, RECLAIM_PAUSE_MAX_MS)
        finally:
            del self._lives[partition]
            self._changed.set()

    async def _own(self, partition: int) -> None:
        owned = await take_over(self.claimant, partition)
        try:
            at = owned.restored.partition
            commands_end = await self._backlog_end(self.claimant.topics.commands, partition, at.commands_next)
            results_end = await self._backlog_end(self.claimant.topics.results, partition, at.results_next)
            await self._announce(partition, owned.restored.partition.owner_epoch)
            alive = OwnedPartition(
                number=partition,
                appender=owned.appender,
                sender=self.sender,
                topics=self.claimant.topics,
                clock=self.claimant.clock,
                restored=owned.restored,
                connect=self.connect,
                queues=self.inputs.queues,
                commits=self._commits,
            )
            self._owned[partition] = alive
            self.inputs.commands.attach(partition, alive, at.commands_next, commands_end)
            self.inputs.reports.attach(partition, alive.results, at.results_next, results_end)
            log.info("partition owned", partition=partition, owner_epoch=owned.restored.partition.owner_epoch)
            try:
                await alive.run()
            finally:
                self.inputs.commands.detach(partition)
                self.inputs.reports.detach(partition)
                del self._owned[partition]
        finally:
            await owned.close()

    async def _backlog_end(self, topic: str, partition: int, needed: int) -> int:
        """Up to where inputs must be decided before time may do anything to runs. Raises InputsLost."""
        first = await self.claimant.log.beginning_offset(topic, partition)
        if needed < first:
            raise InputsLost(topic, partition, needed, first)
        return await self.claimant.log.end_offset(topic, partition)

    async def _announce(self, partition: int, owner_epoch: int) -> None:
        owner = Owner(partition=partition, owner_epoch=owner_epoch, member=self.claimant.member, address=self.address)
        await self.sender.send(self.claimant.topics.owners, 0, [(str(partition).encode(), encode(owner))])

    async def trim(self) -> None:
        """Delete the inputs of the partitions owned here whose decisions the log has and that are old enough."""
        topics = self.claimant.topics
        for partition, alive in tuple(self._owned.items()):
            if self._owned.get(partition) is not alive:
                continue
            meta = alive.loop.store.meta()
            if meta is not None:
                await self._trim(topics.commands, partition, meta.partition.commands_next)
                await self._trim(topics.results, partition, meta.partition.results_next)

    async def _trim(self, topic: str, partition: int, decided: int) -> None:
        log_ = self.claimant.log
        young = await log_.offset_at(topic, partition, self.claimant.clock.now_ms() - INPUTS_KEPT_MS)
        before = decided if young is None else min(decided, young)
        if before > await log_.beginning_offset(topic, partition):
            await log_.delete_records(topic, partition, before)
            log.info("inputs trimmed", topic=topic, partition=partition, before=before)

    async def _trim_again(self) -> None:
        while True:
            await asyncio.sleep(TRIM_MS / 1000)
            try:
                await self.trim()
            except Unavailable as error:
                log.warning("inputs not trimmed", reason=str(error))

    async def _announce_again(self) -> None:
        """Say it once in a while: a record of an older owner that came late may be the only one left after compaction."""
        while True:
            await asyncio.sleep(OWNERS_ANNOUNCE_MS / 1000)
            for partition, alive in tuple(self._owned.items()):
                if self._owned.get(partition) is not alive:
                    continue
                try:
                    await self._announce(partition, alive.loop.partition.owner_epoch)
                except Unavailable as error:
                    log.warning("owner not announced", partition=partition, reason=str(error))


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
