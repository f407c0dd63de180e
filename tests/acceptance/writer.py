"""A writer of histories that is none of ours: takes a partition over through the fenced producer, and appends to runs.

It stands for another owner that worked while the executor thought that it was alone.
"""

import time
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass

from msgspec.structs import replace

from aion_common.ids import NO_NAMESPACE, NO_RUN, NO_WORKFLOW, CommandId, Namespace, RunId, WorkflowId, workflow_key
from aion_common.kafka.api import FencedAppender, Log
from aion_common.kafka.partitioner import partition_of
from aion_common.kafka.reading import decode_learning, records_between
from aion_common.kafka.topics import Topics
from aion_common.records.events import (
    Cause,
    HistoryRecord,
    OwnerEpoch,
    PartitionEvent,
    Progress,
    RunEvent,
    RunStarted,
    RunTerminated,
)
from aion_common.wire import seal
from aion_common.wire.history import CHAIN_START


@dataclass(frozen=True, slots=True, kw_only=True)
class Workflow:
    """Whose history is written."""

    namespace: Namespace
    workflow_id: WorkflowId
    run_id: RunId


@dataclass(frozen=True, slots=True, kw_only=True)
class Writer:
    """Of one cluster."""

    log: Log
    topics: Topics
    partitions: int

    async def append(self, workflow: Workflow, events: Sequence[RunEvent]) -> None:
        """Own the workflow's partition for one batch of these events, behind what its history says already."""
        key = workflow_key(workflow.namespace, workflow.workflow_id)
        partition = partition_of(key, self.partitions)
        appender = await self._own(partition)
        try:
            history = await self._history(partition)
            epoch = max(offset for offset, record in history if isinstance(record.event, OwnerEpoch))
            progress = [record.event for _, record in history if isinstance(record.event, Progress)][-1]
            mine = [record for _, record in history if record.run_id == workflow.run_id]
            seq, chain = (mine[-1].seq, mine[-1].chain) if mine else (0, CHAIN_START)
            unchanged = replace(progress, answers=())
            batch = [(b"", seal(_of_partition(unchanged, epoch), None).value)]
            for number, event in enumerate(events, start=seq + 1):
                sealed = seal(_of_run(workflow, number, event, epoch), chain)
                chain = sealed.record.chain
                batch.append((key, sealed.value))
            await appender.append(batch)
        finally:
            await appender.close()

    async def _own(self, partition: int) -> FencedAppender:
        identity = await self.log.claim(f"{self.topics.prefix}executor.{partition}")
        appender = await self.log.fenced_appender(self.topics.history, partition, identity)
        event = OwnerEpoch(
            producer_id=identity.producer_id, producer_epoch=identity.producer_epoch, member="writer", clock_ms=_now_ms()
        )
        await appender.append([(b"", seal(_of_partition(event, -1), None).value)])
        return appender

    async def _history(self, partition: int) -> list[tuple[int, HistoryRecord]]:
        topic = self.topics.history
        first, end = await self.log.beginning_offset(topic, partition), await self.log.end_offset(topic, partition)
        found: list[tuple[int, HistoryRecord]] = []
        async with aclosing(records_between(self.log, topic, first, end, partition)) as portions:
            async for records in portions:
                found += [(read.offset, await decode_learning(self.log, self.topics, read.value)) for read in records]
        return found


def _of_partition(event: PartitionEvent, owner_epoch: int) -> HistoryRecord:
    return HistoryRecord(
        namespace=NO_NAMESPACE,
        workflow_id=NO_WORKFLOW,
        run_id=NO_RUN,
        seq=0,
        recorded_at=_now_ms(),
        owner_epoch=owner_epoch,
        chain=b"",
        cause=None,
        event=event,
    )


def _of_run(workflow: Workflow, seq: int, event: RunEvent, owner_epoch: int) -> HistoryRecord:
    cause = Cause(topic="writer", offset=0, command_id=CommandId(f"writer/{workflow.run_id}/{seq}"), reply_partition=None)
    return HistoryRecord(
        namespace=workflow.namespace,
        workflow_id=workflow.workflow_id,
        run_id=workflow.run_id,
        seq=seq,
        recorded_at=_now_ms(),
        owner_epoch=owner_epoch,
        chain=b"",
        cause=cause if isinstance(event, RunStarted | RunTerminated) else None,
        event=event,
    )


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
