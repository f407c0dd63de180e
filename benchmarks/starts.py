"""How many starts of a no-op workflow are accepted in a second. Prints JSON.

`records`: command records from one producer, all sent as fast as it can, until all their runs are complete. `http`: by
many connections at once, each with its next start when the last one was accepted. `cpu_us`: per start, by process.
"""

import argparse
import asyncio
import json
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import partial
from urllib.parse import urlsplit

from shared import TOPICS, TYPE, Deployed, cpu_us_each, deployed, percentiles, tell

from aion_common.kafka.api import KeyValue, Reader, Sender
from chaos.system import Size

SENT_AT_ONCE = 500
EVENTS_OF_A_RUN = 2


async def by_records(system: Deployed, starts: int, name: str) -> dict[str, object]:
    """Starts and completions."""
    sender = await system.log.sender()
    reader = await system.history_reader()
    commands = [system.start(f"{name}-{number}") for number in range(starts)]
    before, began = system.cpu_ms(), time.perf_counter()
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(send_all(sender, commands))
            await read_events(reader, starts * EVENTS_OF_A_RUN)
    finally:
        await reader.close()
        await sender.close()
    took_s = time.perf_counter() - began
    return {"starts_per_s": round(starts / took_s), "cpu_us": cpu_us_each(before, system.cpu_ms(), starts)}


async def send_all(sender: Sender, commands: list[tuple[int, KeyValue]]) -> None:
    """In order, many at once."""
    for first in range(0, len(commands), SENT_AT_ONCE):
        by_partition: dict[int, list[KeyValue]] = defaultdict(list)
        for partition, record in commands[first : first + SENT_AT_ONCE]:
            by_partition[partition].append(record)
        async with asyncio.TaskGroup() as tasks:
            for partition, records in by_partition.items():
                tasks.create_task(sender.send(TOPICS.commands, partition, records))


async def read_events(reader: Reader, number: int) -> None:
    """Until so many events of runs have come; those of partitions have no key."""
    while number > 0:
        for records in (await reader.read(wait_ms=1_000, records_max=5_000)).values():
            number -= sum(bool(record.key) for record in records)


async def by_http(system: Deployed, starts: int, connections: int) -> dict[str, object]:
    """Over all gateways."""
    times: list[float] = []
    numbers = iter(range(starts))
    urls = system.system.gateways
    before, began = system.cpu_ms(), time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for connection in range(connections):
            tasks.create_task(start_on_one_connection(urls[connection % len(urls)], numbers, times))
    took_s = time.perf_counter() - began
    return {
        "starts_per_s": round(starts / took_s),
        "answer_ms": percentiles(times),
        "cpu_us": cpu_us_each(before, system.cpu_ms(), starts),
    }


async def start_on_one_connection(url: str, numbers: Iterator[int], times: list[float]) -> None:
    """Plain HTTP/1.1 on a connection that stays open: a client library would take more time than the gateway."""
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    body = json.dumps({"workflow_type": TYPE}).encode()
    head = f"POST /v1/workflows HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Type: application/json\r\n"
    request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    for _ in numbers:
        began = time.perf_counter()
        writer.write(request)
        status, *fields = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
        length = next(int(field.partition(b":")[2]) for field in fields if field.lower().startswith(b"content-length:"))
        answer = await reader.readexactly(length)
        assert b" 201 " in status, (status, answer)
        times.append((time.perf_counter() - began) * 1000)
    writer.close()
    await writer.wait_closed()


async def measure(starts: int, http_starts: int, connections: int, size: Size) -> Mapping[str, object]:
    """Both rows, each after a tenth as warm-up."""
    async with deployed(size) as system:
        await by_records(system, starts // 10, "warm")
        records = await by_records(system, starts, "record")
        await by_http(system, http_starts // 10, connections)
        http = await by_http(system, http_starts, connections)
    shape = {"executors": size.executors, "gateways": size.gateways, "partitions": size.partitions}
    return {**shape, "starts": starts, "records": records, "http_starts": http_starts, "connections": connections, "http": http}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--starts", type=int, default=20_000)
    parser.add_argument("--http-starts", type=int, default=5_000)
    parser.add_argument("--connections", type=int, default=50)
    parser.add_argument("--gateways", type=int, default=1)
    parser.add_argument("--executors", type=int, default=1)
    parser.add_argument("--partitions", type=int, default=8)
    given = parser.parse_args()
    size = Size(executors=given.executors, gateways=given.gateways, catalogs=1, partitions=given.partitions)
    tell(partial(measure, given.starts, given.http_starts, given.connections, size), "starts")
