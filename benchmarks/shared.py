"""What the benchmarks share: a running system with a package on it, its load, its CPU time, and one JSON document at the end.

Imported first by each of them: it makes the rooms of the tests importable, which start and kill the system.
`AION_TEST_PROFILE=executor-1` runs that service under cProfile and tells on standard error where its time went.
"""

import asyncio
import cProfile
import json
import os
import pstats
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any

import httpx

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from acceptance.packages import RELOAD, reload_package
from aion_common.event_loop import loop_factory
from aion_common.ids import CommandId, Namespace, WorkflowId, WorkflowType, workflow_key
from aion_common.kafka.api import KeyValue, Log, Reader
from aion_common.kafka.client import connect
from aion_common.kafka.partitioner import partition_of
from aion_common.kafka.topics import Topics
from aion_common.records.commands import Command, IdConflict, StartRun
from aion_common.wire import encode
from aion_server.supervisor import Launch, Program
from chaos.faults import VMS
from chaos.system import Size, System, running
from support import eventually

DEFAULT = Namespace("default")
TYPE = WorkflowType(RELOAD)
TOPICS = Topics("aion.")
PROFILED = Path(__file__).parent / "profiled.py"
PROFILE = "AION_TEST_PROFILE"
PROFILE_LINES = 60
READY_S = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployed:
    """A system on which the no-op workflow is routed. `http`: of its first gateway."""

    system: System
    log: Log
    http: httpx.AsyncClient

    @property
    def partitions(self) -> int:
        """Of commands and history."""
        return self.system.size.partitions

    def start(self, workflow_id: str) -> tuple[int, KeyValue]:
        """A start as a producer of command records makes it: its partition, key and value. Nobody waits for the reply."""
        command = Command(
            command_id=CommandId(f"bench/{workflow_id}"),
            namespace=DEFAULT,
            workflow_id=WorkflowId(workflow_id),
            reply_partition=None,
            body=StartRun(workflow_type=TYPE, version=None, input=None, id_conflict=IdConflict.REJECT),
        )
        key = workflow_key(DEFAULT, command.workflow_id)
        return partition_of(key, self.partitions), (key, encode(command))

    async def history_reader(self) -> Reader:
        """Reads all histories from their present ends on."""
        reader = await self.log.reader(TOPICS.history)
        ends = {number: await self.log.end_offset(TOPICS.history, number) for number in range(self.partitions)}
        reader.assign(ends)
        return reader

    def cpu_ms(self, others: Mapping[str, int] = MappingProxyType({})) -> Mapping[str, int]:
        """CPU time so far of each part that runs, of this process, the load, and of other processes."""
        pids = {name: self.system.pids(name) for name in (*self.system.parts, VMS)} | {"load": [os.getpid()]}
        pids |= {name: [pid] for name, pid in others.items()}
        return {name: sum(map(_cpu_ms, running)) for name, running in pids.items()}


@asynccontextmanager
async def deployed(size: Size) -> AsyncIterator[Deployed]:
    """In a folder that is deleted afterwards."""
    with TemporaryDirectory() as folder:
        profile = Path(folder) / "profile"
        async with (
            running(Path(folder), size, partial(_profiled, profile)) as system,
            httpx.AsyncClient(base_url=system.gateways[0], timeout=60, trust_env=False) as http,
        ):
            await _deploy(http)
            log = await connect(system.bootstrap)
            try:
                yield Deployed(system=system, log=log, http=http)
            finally:
                await log.close()
        if profile.exists():
            _tell_profile(pstats.Stats(str(profile), stream=sys.stderr))


async def _deploy(http: httpx.AsyncClient) -> None:
    told = "nothing"

    async def is_ready() -> bool:
        nonlocal told
        try:
            answer = await http.get("/readyz")
        except httpx.TransportError as error:
            told = repr(error)
            return False
        told = answer.text
        return answer.is_success

    try:
        await eventually(is_ready, within_s=READY_S)
    except TimeoutError as error:
        raise AssertionError(f"not ready within {READY_S} s, it says: {told}") from error
    (await http.post("/v1/packages", content=reload_package(1, function="run"))).raise_for_status()


def _profiled(profile: Path, program: Program) -> Program:
    if program.name != os.environ.get(PROFILE):
        return program
    plain = program.launch

    def launch() -> Launch:
        unprofiled = plain()
        python, _, _, *arguments = unprofiled.command
        return replace(unprofiled, command=[python, str(PROFILED), str(profile), *arguments])

    program.launch = launch
    return program


@contextmanager
def profiled_here() -> Iterator[None]:
    """`AION_TEST_PROFILE=here` profiles a piece of this process."""
    if os.environ.get(PROFILE) != "here":
        yield
        return
    with cProfile.Profile(time.process_time) as profile:
        yield
    _tell_profile(pstats.Stats(profile, stream=sys.stderr))


def _tell_profile(stats: pstats.Stats) -> None:
    for order in ("tottime", "cumtime"):
        stats.sort_stats(order).print_stats(PROFILE_LINES)


def _cpu_ms(pid: int) -> int:
    fields = (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * 1000 // os.sysconf("SC_CLK_TCK")


def cpu_us_each(before: Mapping[str, int], after: Mapping[str, int], number: int) -> dict[str, int]:
    """Microseconds of CPU per piece of work, by part."""
    return {name: (after[name] - before[name]) * 1000 // number for name in after if name in before}


def percentiles(times: Sequence[float]) -> dict[str, float]:
    """p50, p99 and the largest."""
    ordered = sorted(times)
    count = len(ordered)
    found = {"p50": ordered[count // 2], "p99": ordered[count * 99 // 100], "max": ordered[-1]}
    return {name: round(value, 2) for name, value in found.items()}


def tell(measured: Callable[[], Awaitable[Mapping[str, Any]]], name: str) -> None:
    """Measure, and print the one document."""

    async def run() -> Mapping[str, Any]:
        return await measured()

    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        print(json.dumps({"benchmark": name, **runner.run(run())}))
