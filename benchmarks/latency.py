"""How long a no-op run takes, one client, one after the other. Prints JSON: milliseconds by HTTP and from record to record.

`http`: from the start's request to its answer with the result (`wait: closed`). `records`: from the send of the command
record to the read of the run's RunCompleted record in the history.
"""

import argparse
import time
from collections.abc import Awaitable, Callable
from functools import partial

from shared import TOPICS, TYPE, Deployed, deployed, percentiles, tell

from aion_common.ids import WorkflowId
from aion_common.kafka.api import Reader
from aion_common.records.events import RunCompleted
from aion_common.wire import decode
from chaos.system import Size


async def timed(runs: int, one: Callable[[int], Awaitable[None]]) -> dict[str, float]:
    """Milliseconds, after a tenth of the runs as warm-up."""
    times: list[float] = []
    for number in range(-(runs // 10), runs):
        began = time.perf_counter()
        await one(number)
        if number >= 0:
            times.append((time.perf_counter() - began) * 1000)
    return percentiles(times)


async def by_http(system: Deployed, runs: int) -> dict[str, float]:
    """Start with `wait: closed`."""

    async def one(_: int) -> None:
        answer = await system.http.post("/v1/workflows", json={"workflow_type": TYPE, "wait": "closed"})
        assert answer.json()["result"] == 1, answer.text

    return await timed(runs, one)


async def by_records(system: Deployed, runs: int) -> dict[str, float]:
    """A producer of command records that reads histories."""
    sender = await system.log.sender()
    reader = await system.history_reader()

    async def one(number: int) -> None:
        workflow_id = WorkflowId(f"record-{number}")
        partition, record = system.start(workflow_id)
        await sender.send(TOPICS.commands, partition, [record])
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
    async with deployed(Size(executors=1, gateways=1, catalogs=1, partitions=partitions)) as system:
        records, http = await by_records(system, runs), await by_http(system, runs)
    return {"runs": runs, "partitions": partitions, "records_ms": records, "http_ms": http}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--partitions", type=int, default=8)
    given = parser.parse_args()
    tell(partial(measure, given.runs, given.partitions), "latency")
