"""How many events per second a take-over reads from the history topic into a fresh store. Prints JSON.

One partition, whose history an owner of this process writes first: runs of four events, in batches as they come under load.
Measured is the whole `take_over` by the next owner: catching up, fencing, its epoch. `cpu_us`: per event, of the process that
restores; the broker works beside it. `in_memory`: the same without RocksDB.
"""

import argparse
import time
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from shared import DEFAULT, TOPICS, TYPE, profiled_here, tell

from aion_common.clock import SystemClock
from aion_common.ids import CommandId, RunId, Version, WorkflowId, run_id_of, workflow_key
from aion_common.kafka.api import FencedAppender, KeyValue, Log
from aion_common.kafka.client import connect
from aion_common.records.common import json_payload
from aion_common.records.events import (
    Cause,
    HistoryRecord,
    OwnerEpoch,
    Progress,
    RunCompleted,
    RunEvent,
    RunStarted,
    SignalReceived,
    TurnEnded,
    WaitKind,
)
from aion_common.service import collect_rarely
from aion_common.settings import Settings
from aion_common.wire import seal
from aion_common.wire.history import CHAIN_START
from aion_executor.partition_records import PARTITION_KEY, partition_value
from aion_executor.shell.ownership import Claimant, Stores, take_over
from aion_executor.store.behind import WriteBehind
from aion_executor.store.memory import MemoryTables
from aion_executor.store.rocks import delete_rocks, open_rocks
from aion_server.broker import Broker
from aion_server.init import create_cluster

PARTITION = 0
RUNS_PER_BATCH = 50
PAYLOAD = json_payload(b'{"order":1234,"items":["a","b","c"]}')
EVENTS: tuple[RunEvent, ...] = (
    RunStarted(workflow_type=TYPE, version=Version("1" * 64), input=PAYLOAD),
    TurnEnded(observed_seq=1, wait=WaitKind.SIGNAL, name="go"),
    SignalReceived(name="go", payload=PAYLOAD),
    RunCompleted(observed_seq=3, result=PAYLOAD),
)


def records_of_run(number: int, now_ms: int, owner_epoch: int) -> Iterator[KeyValue]:
    """One whole run."""
    workflow_id = WorkflowId(f"order-{number}")
    command_id = CommandId(f"bench/{number}")
    run_id = RunId(run_id_of(DEFAULT, workflow_id, command_id))
    key, chain = workflow_key(DEFAULT, workflow_id), CHAIN_START
    for seq, event in enumerate(EVENTS, start=1):
        is_caused = isinstance(event, RunStarted | SignalReceived)
        cause = Cause(topic="commands", offset=2 * number, command_id=command_id, reply_partition=0) if is_caused else None
        record = HistoryRecord(
            namespace=DEFAULT,
            workflow_id=workflow_id,
            run_id=run_id,
            seq=seq,
            recorded_at=now_ms,
            owner_epoch=owner_epoch,
            chain=b"",
            cause=cause,
            event=event,
        )
        sealed = seal(record, chain)
        chain = sealed.record.chain
        yield key, sealed.value


async def write_history(claimant: Claimant, events: int) -> int:
    """As an owner would. Returns how many records of runs there are."""
    log, now_ms = claimant.log, claimant.clock.now_ms()
    identity = await log.claim(claimant.transactional_id(PARTITION))
    appender = await log.fenced_appender(TOPICS.history, PARTITION, identity)
    try:
        began = OwnerEpoch(
            producer_id=identity.producer_id, producer_epoch=identity.producer_epoch, member="first", clock_ms=now_ms
        )
        epoch = (await appender.append([(PARTITION_KEY, partition_value(began, now_ms, -1))])).base_offset
        return await write_runs(appender, events // len(EVENTS), now_ms, epoch)
    finally:
        await appender.close()


async def write_runs(appender: FencedAppender, runs: int, now_ms: int, epoch: int) -> int:
    """In batches, each of which knows that what the one before it owed was sent."""
    end = epoch + 1
    for first in range(0, runs, RUNS_PER_BATCH):
        numbers = range(first, min(first + RUNS_PER_BATCH, runs))
        progress = Progress(commands_next=2 * numbers.stop, sent_through=end - 1, answers=())
        records = [record for number in numbers for record in records_of_run(number, now_ms, epoch)]
        await appender.append([(PARTITION_KEY, partition_value(progress, now_ms, epoch)), *records])
        end += 1 + len(records)
    return runs * len(EVENTS)


async def one_take_over(claimant: Claimant, events: int) -> dict[str, float]:
    """Its speed, and what it took of this process's CPU."""
    began, cpu_began = time.perf_counter(), time.process_time()
    owned = await take_over(claimant, PARTITION)
    took_s, cpu_s = time.perf_counter() - began, time.process_time() - cpu_began
    await owned.close()
    return {"events_per_s": round(events / took_s), "cpu_us": round(cpu_s * 1_000_000 / events, 1)}


def claimant_of(log: Log, folder: Path, stores: Stores) -> Claimant:
    """Keeps its stores in the folder."""
    return Claimant(log=log, topics=TOPICS, member="bench", clock=SystemClock(), stores=stores, folder=folder)


async def measure(events: int, repeats: int) -> Mapping[str, object]:
    """Every repeat has a fresh store."""
    rocks = Stores(open=lambda folder: WriteBehind(open_rocks(folder)), delete=delete_rocks)
    memory = Stores(open=lambda _: MemoryTables(), delete=lambda _: None)
    with TemporaryDirectory() as name:
        folder = Path(name)
        broker = Broker(folder / "broker")
        await broker.start()
        try:
            await create_cluster(Settings(bootstrap=broker.bootstrap, partitions=1))
            log = await connect(broker.bootstrap)
            try:
                written = await write_history(claimant_of(log, folder, rocks), events)
                with profiled_here():
                    restored = [await one_take_over(claimant_of(log, folder / f"{n}", rocks), written) for n in range(repeats)]
                in_memory = await one_take_over(claimant_of(log, folder, memory), written)
            finally:
                await log.close()
        finally:
            await broker.stop()
    return {"events": written, "restored": restored, "in_memory": in_memory}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    collect_rarely()
    tell(partial(measure, given.events, given.repeats), "restore")
