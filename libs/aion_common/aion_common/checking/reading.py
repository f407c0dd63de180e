"""The checker's eyes: reads histories, and the commands behind them, from Kafka. Reads only; may run beside a working
system, and then judges each partition up to the end that it had when the reading began.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

from msgspec.structs import replace

from aion_common.checking.partition import PartitionHistory
from aion_common.checking.report import Report
from aion_common.checking.run import RunCheck, RunHistory
from aion_common.cluster import verify_cluster
from aion_common.errors import BadRecord
from aion_common.ids import Namespace, RunId, WorkflowId, workflow_key
from aion_common.kafka.api import Log, LogRecord
from aion_common.kafka.partitioner import partition_of
from aion_common.kafka.reading import decode_learning, records_between
from aion_common.kafka.topics import Topics
from aion_common.records.commands import CatalogMarker, Command, CommandRecord, SignalRun, StartRun
from aion_common.records.events import HistoryRecord, OwnerEpoch, RunStarted


async def check_cluster(log: Log, topics: Topics) -> Report:
    """Read every history from its beginning. Raises Unavailable, WrongCluster."""
    created = await verify_cluster(log, topics)
    report = Report(partitions=created.partitions)
    for number in range(created.partitions):
        history_end = await log.end_offset(topics.history, number)
        partition = PartitionHistory(number, report, await _commands(log, topics, number))
        async for record in _records(log, topics.history, number, history_end):
            read = await _decoded(log, topics, record)
            if isinstance(read, HistoryRecord):
                partition.take(record.offset, read, record.value or b"")
            else:
                report.broken.append(f"history {number} offset {record.offset}: not a record of a history")
        partition.finish()
    return report


async def check_run(log: Log, topics: Topics, workflow: tuple[Namespace, WorkflowId], run_id: RunId | None) -> RunCheck | None:
    """Read one run from its partition of the history topic; `run_id` None: the one of the workflow id that was started last.
    None when there is no such run. Raises Unavailable, WrongCluster."""
    created = await verify_cluster(log, topics)
    key = workflow_key(*workflow)
    number = partition_of(key, created.partitions)
    owner_epoch, newest, checks = -1, run_id, dict[RunId, RunCheck]()
    async for record in _records(log, topics.history, number, await log.end_offset(topics.history, number)):
        where = f"history {number} offset {record.offset}"
        read = await _decoded(log, topics, record)
        if not isinstance(read, HistoryRecord):
            if record.key == key:
                for check in checks.values():
                    check.broken.append(f"{where}: a record of this workflow id that cannot be read")
            continue
        if isinstance(read.event, OwnerEpoch):
            owner_epoch = record.offset
        if read.owner_epoch != owner_epoch or (read.namespace, read.workflow_id) != workflow:
            continue
        if run_id is None and isinstance(read.event, RunStarted):
            newest = read.run_id
        if run_id in {None, read.run_id}:
            check = checks.setdefault(read.run_id, RunCheck(RunHistory(read.run_id, workflow)))
            check.take(read, record.value or b"", where)
    return None if newest is None else checks.get(newest)


async def _commands(log: Log, topics: Topics, number: int) -> dict[int, CommandRecord]:
    """What stands in a partition of commands, by offset; without the payloads, which nobody needs here."""
    found: dict[int, CommandRecord] = {}
    async for record in _records(log, topics.commands, number, await log.end_offset(topics.commands, number)):
        read = await _decoded(log, topics, record)
        match read:
            case Command(body=StartRun() as start):
                found[record.offset] = replace(read, body=replace(start, input=None))
            case Command(body=SignalRun() as signal):
                found[record.offset] = replace(read, body=replace(signal, payload=None))
            case Command() | CatalogMarker():
                found[record.offset] = read
            case _:
                pass
    return found


async def _records(log: Log, topic: str, partition: int, end: int) -> AsyncIterator[LogRecord]:
    first = await log.beginning_offset(topic, partition)
    async with aclosing(records_between(log, topic, first, end, partition)) as portions:
        async for records in portions:
            for record in records:
                yield record
            await asyncio.sleep(0)


async def _decoded(log: Log, topics: Topics, record: LogRecord) -> object:
    try:
        read: object = await decode_learning(log, topics, record.value)
    except BadRecord:
        return None
    return read
