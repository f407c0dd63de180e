"""What runs cost that wait for a signal, so many at once on one executor. Prints JSON.

`rss_mb`: memory of the executor and its VMs when all of them wait. `signal_ms`: of some runs, one after the other, from the
signal's command record to RunCompleted; before the executor is killed, when they are in a VM, and after it came back, when they
are not. `stood_still_ms`: from the kill -9 of the executor, which is started again at once, to the first end of a run that was
signalled then, for each partition.
"""

import argparse
import asyncio
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path

from shared import DEFAULT, TOPICS, Deployed, deployed, percentiles, tell

from acceptance.packages import packed
from aion_common.ids import CommandId, WorkflowId, WorkflowType, workflow_key
from aion_common.kafka.api import KeyValue, Reader, Sender
from aion_common.kafka.partitioner import partition_of
from aion_common.limits import MIB
from aion_common.records.commands import Command, CommandBody, IdConflict, SignalRun, StartRun
from aion_common.records.common import json_payload
from aion_common.records.events import HistoryRecord, RunCompleted, TurnEnded
from aion_common.wire import decode, encode
from chaos.faults import VMS
from chaos.system import Size

WAITS = WorkflowType("waits")
SOURCE = '-module(waits).\n-export([run/1]).\nrun(_) -> {ok, _} = aion_flow:receive_signal(<<"go">>), ok.\n'
STARTED_AT_ONCE = 2_000
EXECUTOR = "executor-1"
START = StartRun(workflow_type=WAITS, version=None, input=None, id_conflict=IdConflict.REJECT)
GO = SignalRun(run_id=None, name="go", payload=json_payload(b"1"))


class Runs:
    """Starts and signals runs, and knows how many wait and which have ended."""

    def __init__(self, system: Deployed, sender: Sender, reader: Reader) -> None:
        self._system = system
        self._sender = sender
        self._reader = reader
        self._ends: dict[WorkflowId, asyncio.Future[None]] = {}
        self._changed = asyncio.Condition()
        self.waiting = 0

    async def read(self) -> None:
        """Until cancelled."""
        while True:
            for records in (await self._reader.read(wait_ms=100, records_max=5_000)).values():
                for record in records:
                    self._take(decode(record.value))
            async with self._changed:
                self._changed.notify_all()

    def _take(self, read: HistoryRecord) -> None:
        if isinstance(read.event, TurnEnded):
            self.waiting += 1
        elif isinstance(read.event, RunCompleted):
            self._ends.pop(read.workflow_id).set_result(None)

    def partition_of(self, workflow_id: WorkflowId) -> int:
        """Where it lives."""
        return partition_of(workflow_key(DEFAULT, workflow_id), self._system.partitions)

    async def start(self, workflow_ids: Sequence[WorkflowId]) -> None:
        """All of them; returns when they wait."""
        wanted = self.waiting + len(workflow_ids)
        await self._send([self._command(workflow_id, START) for workflow_id in workflow_ids])
        async with self._changed:
            await self._changed.wait_for(lambda: self.waiting >= wanted)

    async def signal(self, workflow_id: WorkflowId) -> float:
        """Returns when the run has ended: milliseconds."""
        self._ends[workflow_id] = end = asyncio.get_running_loop().create_future()
        began = time.perf_counter()
        await self._send([self._command(workflow_id, GO)])
        await end
        return (time.perf_counter() - began) * 1000

    def _command(self, workflow_id: WorkflowId, body: CommandBody) -> tuple[int, KeyValue]:
        command = Command(
            command_id=CommandId(f"bench/{type(body).__name__}/{workflow_id}"),
            namespace=DEFAULT,
            workflow_id=workflow_id,
            reply_partition=None,
            body=body,
        )
        return self.partition_of(workflow_id), (workflow_key(DEFAULT, workflow_id), encode(command))

    async def _send(self, commands: Sequence[tuple[int, KeyValue]]) -> None:
        by_partition: dict[int, list[KeyValue]] = defaultdict(list)
        for partition, record in commands:
            by_partition[partition].append(record)
        async with asyncio.TaskGroup() as sends:
            for partition, records in by_partition.items():
                sends.create_task(self._sender.send(TOPICS.commands, partition, records))


def rss_mb(system: Deployed) -> Mapping[str, int]:
    """Memory in RAM now."""
    pids = {"executor": system.system.pids(EXECUTOR), "vms": system.system.pids(VMS)}
    return {name: sum(map(_rss_bytes, running)) // MIB for name, running in pids.items()}


def _rss_bytes(pid: int) -> int:
    status = (Path("/proc") / str(pid) / "status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS:"))


def one_of_each(runs: Runs, left: Iterator[WorkflowId], partitions: int) -> Sequence[WorkflowId]:
    """A run in each partition."""
    found: dict[int, WorkflowId] = {}
    while len(found) < partitions:
        workflow_id = next(left)
        found.setdefault(runs.partition_of(workflow_id), workflow_id)
    return list(found.values())


async def wait_and_die(system: Deployed, runs: Runs, number: int, signals: int) -> Mapping[str, object]:
    """Everything that is measured."""
    workflow_ids = [WorkflowId(f"idle-{each}") for each in range(number)]
    empty = rss_mb(system)
    began = time.perf_counter()
    for first in range(0, number, STARTED_AT_ONCE):
        await runs.start(workflow_ids[first : first + STARTED_AT_ONCE])
    took_s = time.perf_counter() - began
    full = rss_mb(system)
    left = iter(workflow_ids)
    resident = [await runs.signal(one) for one in islice(left, signals)]
    concerned = one_of_each(runs, left, system.partitions)
    system.system.kill(EXECUTOR)
    async with asyncio.TaskGroup() as signalled:
        ends = [signalled.create_task(runs.signal(one)) for one in concerned]
    back = [await runs.signal(one) for one in islice(left, signals)]
    return {
        "started_per_s": round(number / took_s),
        "rss_mb": {"without": empty, "with": full, "after_restart": rss_mb(system)},
        "signal_ms": {"resident": percentiles(resident), "after_restart": percentiles(back)},
        "stood_still_ms": percentiles([end.result() for end in ends]),
    }


async def measure(number: int, signals: int, partitions: int) -> Mapping[str, object]:
    """One executor, which comes back at once."""
    size = Size(executors=1, gateways=1, catalogs=1, partitions=partitions, restart_wait_ms=0)
    async with deployed(size) as system:
        (await system.http.post("/v1/packages", content=packed("waits", SOURCE, "run"))).raise_for_status()
        sender, reader = await system.log.sender(), await system.history_reader()
        runs = Runs(system, sender, reader)
        try:
            async with asyncio.TaskGroup() as tasks:
                reading = tasks.create_task(runs.read())
                measured = await wait_and_die(system, runs, number, signals)
                reading.cancel()
        finally:
            await reader.close()
            await sender.close()
    return {"runs": number, "partitions": partitions, **measured}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--signals", type=int, default=200, help="before and after the death")
    parser.add_argument("--partitions", type=int, default=8)
    given = parser.parse_args()
    tell(partial(measure, given.runs, given.signals, given.partitions), "idle")
