"""`aion-server dev`: the whole system on one machine, as child processes, with its data in one folder.

Start order: broker, topics, catalog, executors, gateway; stop order: the opposite. What runs where stands in a table, in
`stack.json` (see `folder`), and each part's output in `logs/<part>.log`. With a bootstrap given, that cluster is used
and no broker is started.
"""

import asyncio
import functools
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from rich.console import Console
from rich.table import Table

from aion_common.clock import SystemClock
from aion_common.errors import AionError
from aion_common.service import Serve
from aion_common.settings import Settings
from aion_server.broker import Broker, free_port
from aion_server.folder import locked, remove_stack, write_stack
from aion_server.init import create_cluster
from aion_server.ports import wait_free
from aion_server.programs import catalog_program, executor_program, gateway_program
from aion_server.supervisor import Change, Died, Part, Started, Supervisor

SESSION_MS = 1_500
"""Our own broker permits it; the partitions of a dead executor are owned again within two seconds."""

PORT_PATIENCE_MS = 3_000
"""After a kill -9 of the last `dev` its children need a moment to let go of their ports."""

READY_POLL_MS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class StackSpec:
    """What the flags of `dev` say beyond `Settings`. Port 0: any free one. `log_level`: of the services."""

    executors: int
    kafka_port: int
    own_broker: bool
    log_level: str


class BrokerPart:
    """The development broker as a part of the stack."""

    def __init__(self, broker: Broker, name: str = "broker") -> None:
        self.name = name
        self.log = broker.log
        self.pid: int | None = None
        self.address = ""
        self._broker = broker

    async def start(self) -> None:
        """Returns once it answers requests. Raises `AionError`."""
        await self._broker.kill()
        try:
            await self._broker.start()
        except OSError as error:
            raise AionError(f"the broker cannot be started: {error}") from error
        self.pid = self._broker.pid
        self.address = self._broker.bootstrap

    async def ended(self) -> int:
        """Its exit code."""
        code = await self._broker.ended()
        self.pid = None
        return code

    async def stop(self, wait_ms: int) -> None:
        """The broker knows itself how long it may take."""
        await self._broker.stop()
        self.pid = None


@dataclass(slots=True, kw_only=True)
class Board:
    """What is shown and written about the parts, kept current as they change."""

    data_dir: Path
    console: Console
    parts: list[Part] = field(default_factory=list)

    def changed(self, change: Change) -> None:
        """Called by the supervisor."""
        match change:
            case Started(part=part):
                if part in self.parts:
                    self.console.print(f"{part.name} runs again, pid {part.pid}", highlight=False)
                else:
                    self.parts.append(part)
            case Died(part=part, reason=reason, again_ms=again_ms):
                self.console.print(
                    f"[red]{part.name} died[/] ({reason}), again in {again_ms / 1000:g} s; see {part.log}", highlight=False
                )
        write_stack(self.data_dir, self.parts)

    def show(self) -> None:
        """Print the table of what runs where."""
        table = Table("service", "pid", "address", "log", box=None, pad_edge=False)
        for part in self.parts:
            table.add_row(part.name, str(part.pid or "-"), part.address or "-", str(part.log))
        self.console.print(table)


def stack(spec: StackSpec, console: Console) -> Serve:
    """The stack as a service for `aion_common.service.run`."""
    return functools.partial(_serve, spec=spec, console=console)


async def _serve(settings: Settings, stop: asyncio.Event, *, spec: StackSpec, console: Console) -> None:
    with locked(settings.data_dir):
        remove_stack(settings.data_dir)
        settings = await _ports(settings, spec)
        board = Board(data_dir=settings.data_dir, console=console)
        async with asyncio.TaskGroup() as group:
            supervisor = Supervisor(group, SystemClock(), board.changed)
            try:
                begin = group.create_task(_begin(settings, spec, supervisor, board))
                await stop.wait()
                begin.cancel()
                await asyncio.wait([begin])
                console.print("stopping", highlight=False)
            finally:
                await supervisor.stop()
                remove_stack(settings.data_dir)


async def _ports(settings: Settings, spec: StackSpec) -> Settings:
    """Settings with the ports as they will be; raises `AionError` naming the flag when one is taken."""
    http_port = settings.http_port or free_port()
    await wait_free(http_port, "--http-port", PORT_PATIENCE_MS)
    if spec.own_broker and spec.kafka_port:
        await wait_free(spec.kafka_port, "--kafka-port", PORT_PATIENCE_MS)
    return settings.model_copy(update={"http_port": http_port})


async def _begin(settings: Settings, spec: StackSpec, supervisor: Supervisor, board: Board) -> None:
    board.console.print(f"starting, data in {settings.data_dir}", highlight=False)
    if spec.own_broker:
        settings = await _start_broker(settings, spec, supervisor)
    await create_cluster(settings)
    # What is stopped with its gateway stops as a whole: nobody could go elsewhere.
    drain_ms = settings.drain_ms if "drain_ms" in settings.model_fields_set else 0
    settings = settings.model_copy(update={"log_level": spec.log_level, "drain_ms": drain_ms})
    await supervisor.start([catalog_program(settings, "catalog")])
    await supervisor.start([executor_program(settings, f"executor-{n}") for n in range(1, spec.executors + 1)])
    await supervisor.start([gateway_program(settings, "gateway")])
    board.show()
    url = f"http://{settings.http_host}:{settings.http_port}"
    await _until_ready(url)
    board.console.print(f"[green]ready[/] on {url}, Ctrl-C stops everything", highlight=False)


async def _start_broker(settings: Settings, spec: StackSpec, supervisor: Supervisor) -> Settings:
    """Settings that name the broker which runs now."""
    part = BrokerPart(Broker(settings.data_dir / "broker", spec.kafka_port))
    await supervisor.start([part])
    session_ms = settings.session_timeout_ms if "session_timeout_ms" in settings.model_fields_set else SESSION_MS
    return settings.model_copy(update={"bootstrap": part.address, "session_timeout_ms": session_ms})


async def _until_ready(url: str) -> None:
    async with httpx.AsyncClient(timeout=5) as client:
        while True:
            try:
                if (await client.get(f"{url}/readyz")).status_code == httpx.codes.OK:
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(READY_POLL_MS / 1000)
