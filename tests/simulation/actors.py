"""The processes of the simulated cluster: executors and catalogs, as their services put them together.

Real: executor, command reader, take-over, partition loop, election, terms and decisions of the catalog. Twins: log, VMs,
disk, clock. Each process has a clock of its own, and a link of its own to the brokers.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, cast

from aion_beam.pool import PackageKey, VmPool
from aion_catalog.core.decision import Checked, Refused
from aion_catalog.shell.loop import Surroundings, serve_until
from aion_common.kafka.topics import Topics
from aion_common.records.catalog import ClusterCreated
from aion_common.records.common import PackageRef
from aion_common.testing.memory_cluster import MemoryCluster
from aion_executor.shell.executor import Executor
from aion_executor.shell.inputs import Inputs
from aion_executor.shell.ownership import Claimant, Stores
from aion_executor.shell.vms import PartitionVms, Switchboard
from aion_executor.store.api import RawBatch, Table, Tables
from aion_executor.store.behind import WriteBehind
from aion_executor.store.memory import MemoryTables
from simulation.network import Death, Link, SlowLog
from simulation.programs import RELEASES
from simulation.scheduler import Process, VirtualLoop
from simulation.vm_pool import TwinPool

EPOCH_MS = 1_700_000_000_000

SESSION_MS = 6_000

WAITING_BYTES = 0, 5_000, 50_000
"""What may wait of a store's rows: nothing, some batches, nearly everything."""


@dataclass(slots=True)
class SkewedClock:
    """The loop's time as one machine sees it."""

    loop: VirtualLoop
    skew_ms: int = 0

    def now_ms(self) -> int:
        """Milliseconds since the epoch."""
        return EPOCH_MS + self.skew_ms + int(self.loop.now * 1000)


@dataclass(slots=True)
class Disk:
    """The stores of one machine, each as the batches written to it: the newest may be lost with the machine."""

    stores: dict[Path, list[RawBatch]] = field(default_factory=dict)

    def lose_newest(self, count: int) -> None:
        """The machine died before its last writes were on the disk."""
        for batches in self.stores.values():
            del batches[max(0, len(batches) - count) :]

    def swap(self) -> None:
        """Somebody put the stores into the wrong folders."""
        folders = list(self.stores)
        for folder, batches in zip(folders, [self.stores[other] for other in reversed(folders)], strict=True):
            self.stores[folder] = batches


@dataclass(slots=True)
class DiskTables:
    """See `Tables`: of a process that may die before or after it writes."""

    link: Link
    batches: list[RawBatch]
    tables: MemoryTables = field(default_factory=MemoryTables)

    def __post_init__(self) -> None:
        for batch in self.batches:
            self.tables.write(batch)

    def get(self, table: Table, key: bytes) -> bytes | None:
        """See `Tables`."""
        return self.tables.get(table, key)

    def scan(self, table: Table, prefix: bytes, start: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """See `Tables`."""
        return self.tables.scan(table, prefix, start)

    def write(self, batch: RawBatch) -> None:
        """See `Tables`."""
        self.link.dies_at("store", Death.BEFORE)
        if self.link.process.is_plugged:
            self.batches.append(batch)
        self.tables.write(batch)
        self.link.dies_at("store", Death.AFTER)

    def flush(self) -> None:
        """See `Tables`."""

    def close(self) -> None:
        """See `Tables`."""


@dataclass(slots=True, kw_only=True)
class Service:
    """A running executor or catalog, and what the world may do to it. `executor` and `pool` are an executor's."""

    process: Process
    link: Link
    log: SlowLog
    clock: SkewedClock
    executor: Executor | None = None
    pool: TwinPool | None = None


@dataclass(slots=True)
class Machines:
    """Starts processes on one cluster. `on_reply`: see `Link`."""

    loop: VirtualLoop
    cluster: MemoryCluster
    topics: Topics
    created: ClusterCreated
    on_reply: Callable[[], None]

    def service(self, process: Process, skew_ms: int = 0) -> Service:
        """What every process has."""
        link = Link(process, self.cluster, self.on_reply, (self.topics.replies, self.topics.tasks("")))
        return Service(process=process, link=link, log=SlowLog(link, self.loop), clock=SkewedClock(self.loop, skew_ms))

    def executor(self, member: str, disk: Disk, skew_ms: int) -> Service:
        """Start an executor on its machine."""
        started: list[Service] = []

        def make(process: Process) -> Coroutine[Any, Any, None]:
            service = self.service(process, skew_ms)
            started.append(service)
            return self._execute(service, member, disk)

        self.loop.spawn(member, make)
        return started[0]

    async def _execute(self, service: Service, member: str, disk: Disk) -> None:
        switchboard = Switchboard()
        service.pool = TwinPool(self.loop, switchboard)
        inputs = Inputs(service.log, self.topics, self.created.partitions)
        await inputs.queues.look()

        def open_tables(folder: Path) -> Tables:
            on_disk = DiskTables(service.link, disk.stores.setdefault(folder, []))
            return WriteBehind(on_disk, self.loop.random.choice(WAITING_BYTES))

        def delete(folder: Path) -> None:
            if service.process.is_plugged:
                disk.stores.pop(folder, None)

        claimant = Claimant(
            log=service.log,
            topics=self.topics,
            member=member,
            clock=service.clock,
            stores=Stores(open=open_tables, delete=delete),
            folder=Path(member),
        )

        def is_loaded(key: PackageKey) -> bool:
            return service.executor is not None and service.executor.package_ref(key) is not None

        service.executor = Executor(
            claimant=claimant,
            address=f"{member}:1",
            session_ms=SESSION_MS,
            sender=await service.log.sender(),
            connect=partial(PartitionVms, cast(VmPool, service.pool), switchboard, is_loaded),
            inputs=inputs,
        )
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(inputs.run())
            tasks.create_task(service.executor.run())

    def catalog(self, member: str, reply_partition: int, skew_ms: int) -> Service:
        """Start a catalog that owners report to there."""
        started: list[Service] = []

        def make(process: Process) -> Coroutine[Any, Any, None]:
            service = self.service(process, skew_ms)
            started.append(service)
            around = Surroundings(
                log=service.log,
                topics=self.topics,
                cluster=self.created,
                clock=service.clock,
                check=self._check,
                reply_partition=reply_partition,
            )
            return serve_until(asyncio.Event(), around, member_id=member, session_ms=SESSION_MS)

        self.loop.spawn(member, make)
        return started[0]

    async def _check(self, ref: PackageRef) -> Checked | Refused:
        """Upload ids name the release: its index or, for a package that is no good, anything else."""
        await self.loop.passes(self.loop.random.random() * 20)
        if not ref.upload_id.isdigit():
            return Refused(reason="not a package")
        release = RELEASES[int(ref.upload_id)]
        return Checked(
            version=release.version,
            manifest_digest=f"manifest {ref.upload_id}",
            manifest_json=b"{}",
            types=release.types,
            wakes_itself=release.wakes_itself,
            warnings=(),
        )
