"""The whole system with several of everything, each part a process of its own: killed, stopped, kept down, and let go on.

A part that is dead is started again as its supervisor would in production, unless it is held down. Used by the kill loop
and by the benchmarks.
"""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from acceptance.stack import vms_of
from aion_common.clock import SystemClock
from aion_common.settings import Settings
from aion_server.broker import SESSION_MS as BROKER_SESSION_MS
from aion_server.broker import Broker, free_port, seats
from aion_server.init import create_cluster
from aion_server.programs import catalog_program, executor_program, gateway_program
from aion_server.stack import SESSION_MS, BrokerPart
from aion_server.supervisor import Change, Died, Launch, Part, Program, Supervisor, sleep_ms
from chaos.activities import LEDGER
from chaos.faults import BROKER, VMS, WORKER

Adapt = Callable[[Program], Program]

WORKER_GRACE_S = 2
"""Activities that take longer than this are given up by a worker that is asked to end; some of ours do."""

TRACEBACK = "Traceback (most recent call last)"
KILLED = f"killed by signal {int(signal.SIGKILL)}"


class HeldPart:
    """A part that does not start while it is held down."""

    def __init__(self, part: Part) -> None:
        self.name = part.name
        self.log = part.log
        self.may_start = asyncio.Event()
        self.may_start.set()
        self._part = part

    @property
    def pid(self) -> int | None:
        """See `Part`."""
        return self._part.pid

    @property
    def address(self) -> str:
        """See `Part`."""
        return self._part.address

    async def start(self) -> None:
        """Once it may."""
        await self.may_start.wait()
        await self._part.start()

    async def ended(self) -> int:
        """See `Part`."""
        return await self._part.ended()

    async def stop(self, wait_ms: int) -> None:
        """See `Part`."""
        await self._part.stop(wait_ms)


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How many of each there are. `restart_wait_ms`: between a death and the next start. Several brokers have copies of
    everything; `broker_session_ms`: of one that is silent for so long others take the lead; `session_ms`: of executors and
    catalogs."""

    executors: int = 2
    gateways: int = 2
    catalogs: int = 2
    workers: int = 0
    partitions: int = 8
    brokers: int = 1
    broker_session_ms: int = BROKER_SESSION_MS
    session_ms: int = SESSION_MS
    restart_wait_ms: int = 200


@dataclass(slots=True, kw_only=True)
class System:
    """What runs. `died`: parts that ended by themselves, with how; `ledger`: the file of what the workers did."""

    size: Size
    parts: Mapping[str, HeldPart]
    ledger: Path
    died: list[str] = field(default_factory=list)

    @property
    def bootstrap(self) -> str:
        """The brokers' addresses."""
        return _bootstrap([part for name, part in self.parts.items() if name.startswith(BROKER)])

    @property
    def gateways(self) -> list[str]:
        """Their URLs."""
        return list(self.gateways_by_name.values())

    @property
    def gateways_by_name(self) -> dict[str, str]:
        """Name -> URL."""
        return {name: f"http://{part.address}" for name, part in self.parts.items() if name.startswith("gateway")}

    @property
    def executors(self) -> list[str]:
        """Their names."""
        return [name for name in self.parts if name.startswith("executor")]

    @property
    def workers(self) -> list[str]:
        """Their names."""
        return [name for name in self.parts if name.startswith(WORKER)]

    @property
    def services(self) -> list[str]:
        """All but the broker, in the order of their start."""
        return [name for name in self.parts if name != BROKER]

    async def end(self, name: str) -> tuple[int, int]:
        """SIGTERM, and its end by itself. Its exit code, and how long that took (ms). Hold it down before."""
        began_ms = SystemClock().now_ms()
        _send(self.pids(name), signal.SIGTERM)
        code = await self.parts[name].ended()
        return code, SystemClock().now_ms() - began_ms

    def fallen_over(self) -> list[str]:
        """The parts whose logs tell of a defect."""
        return [name for name, part in self.parts.items() if TRACEBACK in part.log.read_text(errors="replace")]

    def pids(self, victim: str) -> list[int]:
        """The processes of a part that run now, or those of all VMs."""
        if victim == VMS:
            return vms_of([pid for name in self.executors if (pid := self.parts[name].pid) is not None])
        pid = self.parts[victim].pid
        return [] if pid is None else [pid]

    def kill(self, victim: str) -> None:
        """kill -9. A part comes back after `restart_wait_ms`, unless it is held down."""
        _send(self.pids(victim), signal.SIGKILL)

    def hold_down(self, victim: str) -> None:
        """Let it not start again before `let_go`. VMs are their executors' business."""
        if victim != VMS:
            self.parts[victim].may_start.clear()

    def let_go(self, victim: str) -> None:
        """Undo `hold_down`."""
        if victim != VMS:
            self.parts[victim].may_start.set()

    @contextlib.contextmanager
    def stopped(self, victim: str) -> Iterator[None]:
        """SIGSTOP, and SIGCONT at the end, for whatever of it is still there."""
        pids = self.pids(victim)
        _send(pids, signal.SIGSTOP)
        try:
            yield
        finally:
            _send(pids, signal.SIGCONT)


def _send(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


@asynccontextmanager
async def running(folder: Path, size: Size, adapt: Adapt = lambda program: program) -> AsyncIterator[System]:
    """The system, with its data and logs in the folder; everything is stopped at the end. `adapt`: may change how a service
    is started."""
    settings = Settings(
        data_dir=folder,
        session_timeout_ms=size.session_ms,
        partitions=size.partitions,
        replication=size.brokers,
        bootstrap="127.0.0.1:1",
        log_level="info",
    )
    system = System(size=size, parts={}, ledger=folder / "ledger.jsonl")

    def changed(change: Change) -> None:
        if isinstance(change, Died) and change.reason != KILLED:
            system.died.append(f"{change.part.name}: {change.reason}")

    async def wait(_again_ms: int) -> None:
        await sleep_ms(size.restart_wait_ms)

    async with asyncio.TaskGroup() as group:
        cluster = Supervisor(group, SystemClock(), changed, wait)
        supervisor = Supervisor(group, SystemClock(), changed, wait)
        try:
            brokers = _brokers(folder, size)
            async with asyncio.TaskGroup() as starting:
                for broker in brokers:
                    starting.create_task(cluster.start([broker]))
            settings = settings.model_copy(update={"bootstrap": _bootstrap(brokers)})
            await create_cluster(settings)
            programs = [
                *_services(settings, size),
                [_worker(settings, number, system.ledger) for number in range(size.workers)],
            ]
            tiers = [[HeldPart(adapt(program)) for program in tier] for tier in programs]
            system.parts = {part.name: part for part in (*brokers, *(part for tier in tiers for part in tier))}
            for tier in tiers:
                await supervisor.start(tier)
            yield system
        finally:
            for part in system.parts.values():
                part.may_start.set()
            await supervisor.stop()
            if size.brokers > 1:
                # Members that stop together wait for one another in vain.
                for broker in brokers:
                    broker.may_start.clear()
                    system.kill(broker.name)
            await cluster.stop()


def _brokers(folder: Path, size: Size) -> list[HeldPart]:
    if size.brokers == 1:
        return [HeldPart(BrokerPart(Broker(folder / BROKER, free_port())))]
    places = seats(size.brokers, size.broker_session_ms)
    names = [f"{BROKER}-{seat.node_id}" for seat in places]
    return [HeldPart(BrokerPart(Broker(folder / name, seat=seat), name)) for name, seat in zip(names, places, strict=True)]


def _bootstrap(brokers: Sequence[HeldPart]) -> str:
    return ",".join(broker.address for broker in brokers)


def _services(settings: Settings, size: Size) -> list[list[Program]]:
    """In the order of their start."""
    catalogs = [catalog_program(settings, f"catalog-{number}") for number in range(1, size.catalogs + 1)]
    executors = [executor_program(settings, f"executor-{number}") for number in range(1, size.executors + 1)]
    gateways = [
        gateway_program(settings.model_copy(update={"http_port": free_port()}), f"gateway-{number}")
        for number in range(1, size.gateways + 1)
    ]
    return [catalogs, executors, gateways]


def _worker(settings: Settings, number: int, ledger: Path) -> Program:
    """`aion worker`, which ends with us."""
    name = f"{WORKER}-{number + 1}"
    code = "from aion_common.service import end_with_parent; end_with_parent(); from aion_cli.app import main; main()"
    arguments = ["chaos.activities", "--bootstrap", settings.bootstrap, "--grace", str(WORKER_GRACE_S)]
    given = [f"PYTHONPATH={os.pathsep.join(sys.path)}", f"{LEDGER}={ledger}"]
    command = ["env", *given, sys.executable, "-c", code, "worker", *arguments]
    return Program(name=name, launch=lambda: Launch(command=command), log=settings.data_dir / "logs" / f"{name}.log")
