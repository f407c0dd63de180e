"""How long a no-op run takes, one client, one after the other. Prints JSON: milliseconds by HTTP and from record to record.

`http`: from the start's request to its answer with the result (`wait: closed`). `records`: from the send of the command
record to the read of the run's RunCompleted record in the history. Runs its own `aion-server dev` in a folder that is
deleted afterwards.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from acceptance.packages import reload_package
from acceptance.stack import Api, Stack
from aion_common.ids import CommandId, Namespace, WorkflowId, WorkflowType, workflow_key
from aion_common.kafka.api import Log, Reader
from aion_common.kafka.client import connect
from aion_common.kafka.partitioner import partition_of
from aion_common.kafka.topics import Topics
from aion_common.records.commands import Command, IdConflict, StartRun
from aion_common.records.events import RunCompleted
from aion_common.wire import decode, encode

DEFAULT = Namespace("default")
TYPE = WorkflowType("reload_e2e")


async def timed(runs: int, one: Callable[[int], Awaitable[None]]) -> dict[str, float]:
    """Milliseconds: p50, p99 and the largest, after a tenth of the runs as warm-up."""
    times: list[float] = []
    for number in range(-(runs // 10), runs):
        began = time.perf_counter()
        await one(number)
        if number >= 0:
            times.append((time.perf_counter() - began) * 1000)
    times.sort()
    return {"p50": round(times[runs // 2], 2), "p99": round(times[runs * 99 // 100], 2), "max": round(times[-1], 2)}


async def by_http(api: Api, runs: int) -> dict[str, float]:
    """Start with `wait: closed`."""

    async def one(_: int) -> None:
        answer = await api.start(TYPE, wait="closed")
        assert answer["result"] == 1, answer

    return await timed(runs, one)


async def by_records(log: Log, partitions: int, runs: int) -> dict[str, float]:
    """A producer of command records that reads histories."""
    topics = Topics("aion.")
    sender = await log.sender()
    reader = await log.reader(topics.history)
    reader.assign({partition: await log.end_offset(topics.history, partition) for partition in range(partitions)})

    async def one(number: int) -> None:
        workflow_id = WorkflowId(f"record-{number}")
        start = StartRun(workflow_type=TYPE, version=None, input=None, id_conflict=IdConflict.REJECT)
        command = Command(
            command_id=CommandId(f"bench/{workflow_id}"),
            namespace=DEFAULT,
            workflow_id=workflow_id,
            reply_partition=None,
            body=start,
        )
        key = workflow_key(DEFAULT, workflow_id)
        await sender.send(topics.commands, partition_of(key, partitions), [(key, encode(command))])
        await completed(reader, workflow_id)

    try:
        return await timed(runs, one)
    finally:
        await reader.close()
        await sender.close()


async def completed(reader: Reader, workflow_id: WorkflowId) -> None:
    """Read until the run's RunCompleted has come."""
    while True:
        for records in (await reader.read(wait_ms=1_000, records_max=1_000)).values():
            for record in records:
                read = decode(record.value)
                if read.workflow_id == workflow_id and isinstance(read.event, RunCompleted):
                    return


async def measure(runs: int, partitions: int) -> dict[str, object]:
    """Both rows."""
    with TemporaryDirectory() as folder:
        stack = Stack(Path(folder), partitions=partitions)
        await stack.start()
        try:
            api = Api(stack, DEFAULT)
            await api.deploy(reload_package(1, function="run"))
            log = await connect(f"127.0.0.1:{stack.kafka_port}")
            try:
                records = await by_records(log, partitions, runs)
            finally:
                await log.close()
            return {"runs": runs, "partitions": partitions, "records_ms": records, "http_ms": await by_http(api, runs)}
        finally:
            await stack.stop()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--partitions", type=int, default=8)
    given = parser.parse_args()
    print(json.dumps(asyncio.run(measure(given.runs, given.partitions))))
