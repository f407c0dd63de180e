"""How fast workflows call activities that do nothing, executed by one Python worker. Prints JSON.

`one`: five steps one after the other, one run at a time, milliseconds from the start's record to RunCompleted. `at_once_…`: the
same, so many runs at a time. `fan_out`: a run that calls 100 activities at once. `cpu_us`: CPU per step, by process.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from shared import DEFAULT, TOPICS, Deployed, cpu_us_each, deployed, percentiles, tell

from acceptance.packages import fixture_source, packed
from aion_common.ids import CommandId, WorkflowId, WorkflowType, workflow_key
from aion_common.kafka.api import KeyValue, Reader, Sender
from aion_common.kafka.partitioner import partition_of
from aion_common.records.commands import Command, IdConflict, StartRun
from aion_common.records.common import json_payload
from aion_common.records.events import RunCompleted
from aion_common.wire import decode, encode
from chaos.system import Size

HERE = Path(__file__).parent
STEPS = 5
FAN_OUT = 100
CHAIN, FAN = WorkflowType("doubles"), WorkflowType("fans_out")
INPUTS: Mapping[WorkflowType, object] = {CHAIN: {"n": STEPS, "value": 1}, FAN: FAN_OUT}


@asynccontextmanager
async def working(system: Deployed) -> AsyncIterator[int]:
    """A worker process; its pid."""
    bootstrap = system.system.bootstrap
    aion = str(Path(sys.executable).with_name("aion"))
    command = [aion, "worker", "activities", "--bootstrap", bootstrap, "--max-concurrent", "1000"]
    quiet = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(*command, cwd=HERE, stdout=quiet, stderr=quiet)
    try:
        yield process.pid
    finally:
        process.terminate()
        await process.wait()


def started(system: Deployed, workflow_type: WorkflowType, workflow_id: WorkflowId) -> tuple[int, KeyValue]:
    """A start as a producer of command records makes it."""
    body = StartRun(
        workflow_type=workflow_type,
        version=None,
        input=json_payload(json.dumps(INPUTS[workflow_type]).encode()),
        id_conflict=IdConflict.REJECT,
    )
    command = Command(
        command_id=CommandId(f"bench/{workflow_id}"),
        namespace=DEFAULT,
        workflow_id=workflow_id,
        reply_partition=None,
        body=body,
    )
    key = workflow_key(DEFAULT, workflow_id)
    return partition_of(key, system.partitions), (key, encode(command))


class Load:
    """Starts runs, and knows when each has completed."""

    def __init__(self, system: Deployed, sender: Sender, reader: Reader) -> None:
        self._system = system
        self._sender = sender
        self._reader = reader
        self._waiting: dict[WorkflowId, asyncio.Future[None]] = {}
        self._number = 0

    async def read(self) -> None:
        """Until cancelled."""
        while True:
            for records in (await self._reader.read(wait_ms=100, records_max=5_000)).values():
                for record in records:
                    read = decode(record.value)
                    if isinstance(read.event, RunCompleted):
                        self._waiting.pop(read.workflow_id).set_result(None)

    async def run(self, workflow_type: WorkflowType) -> float:
        """One run, from its start to its end; milliseconds."""
        self._number += 1
        workflow_id = WorkflowId(f"{workflow_type}-{self._number}")
        done = self._waiting[workflow_id] = asyncio.get_running_loop().create_future()
        began = time.perf_counter()
        partition, record = started(self._system, workflow_type, workflow_id)
        await self._sender.send(TOPICS.commands, partition, [record])
        await done
        return (time.perf_counter() - began) * 1000

    async def runs(self, workflow_type: WorkflowType, number: int, at_once: int) -> list[float]:
        """So many runs, at most some of them at a time; milliseconds each."""
        times: list[float] = []
        left = iter(range(number))

        async def client() -> None:
            for _ in left:
                times.append(await self.run(workflow_type))

        async with asyncio.TaskGroup() as clients:
            for _ in range(at_once):
                clients.create_task(client())
        return times


@dataclass(frozen=True, slots=True)
class Row:
    """`at_once`: runs at a time. `runs_per_s`: so many are asked for, times the seconds wanted."""

    workflow_type: WorkflowType
    at_once: int
    runs_per_s: int


ROWS: Mapping[str, Row] = {
    "one": Row(CHAIN, 1, 20),
    "at_once_50": Row(CHAIN, 50, 200),
    "at_once_500": Row(CHAIN, 500, 400),
    "fan_out": Row(FAN, 1, 5),
}


async def row(system: Deployed, load: Load, worker: int, wanted: Row, seconds: int) -> object:
    """Times, rate and CPU of its runs."""
    number = wanted.runs_per_s * seconds
    steps = number * (STEPS if wanted.workflow_type == CHAIN else FAN_OUT)
    before = system.cpu_ms({"worker": worker})
    began = time.perf_counter()
    times = await load.runs(wanted.workflow_type, number, wanted.at_once)
    took = time.perf_counter() - began
    cpu = cpu_us_each(before, system.cpu_ms({"worker": worker}), steps)
    return {"steps_per_s": round(steps / took), "ms": percentiles(times), "cpu_us": cpu}


async def measure(seconds: int, size: Size, rows: Collection[str]) -> dict[str, object]:
    """These rows."""
    async with deployed(size) as system:
        archive = packed("errands", fixture_source("errands"), "doubles", {str(CHAIN): "doubles", str(FAN): "fans_out"})
        (await system.http.post("/v1/packages", content=archive)).raise_for_status()
        sender, reader = await system.log.sender(), await system.history_reader()
        load = Load(system, sender, reader)
        try:
            async with asyncio.TaskGroup() as tasks, working(system) as worker:
                reading = tasks.create_task(load.read())
                await load.runs(CHAIN, 200, 20)
                measured = {name: await row(system, load, worker, ROWS[name], seconds) for name in rows}
                reading.cancel()
        finally:
            await reader.close()
            await sender.close()
    return {"partitions": size.partitions, "executors": size.executors, **measured}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=10, help="about so long for each row")
    parser.add_argument("--partitions", type=int, default=8)
    parser.add_argument("--executors", type=int, default=1)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    given = parser.parse_args()
    size = Size(executors=given.executors, gateways=1, catalogs=1, partitions=given.partitions)
    tell(partial(measure, given.seconds, size, given.rows), "steps")
