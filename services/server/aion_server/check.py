"""An independent reader of the public topics: does what stands there keep the promises of ARCHITECTURE.md?

It knows the records and their wire form, nothing of the executor. Reads only; may run beside a working system, and then
judges each partition up to the end that it had when the reading began. Called by `aion-server check` and by tests.
"""

import asyncio
import functools
from collections.abc import Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from rich.console import Console

from aion_common.cluster import verify_cluster
from aion_common.errors import AionError, BadRecord
from aion_common.ids import NO_RUN, CommandId, RunId, Version
from aion_common.kafka.api import Log, LogRecord
from aion_common.kafka.client import connect
from aion_common.kafka.reading import decode_learning, records_between
from aion_common.kafka.topics import Topics
from aion_common.records.commands import Command, StartRun
from aion_common.records.events import (
    CatalogApplied,
    HistoryRecord,
    OwnerEpoch,
    Progress,
    RunCompleted,
    RunFailed,
    RunStarted,
    SignalReceived,
    TurnEnded,
)
from aion_common.service import Serve
from aion_common.settings import Settings
from aion_common.wire import chain_of
from aion_common.wire.history import CHAIN_START

SENTENCES_SHOWN_MAX = 20


@dataclass(slots=True)
class Report:
    """What was read, and each broken promise in a sentence. `starts` and `signals`: by command id, the run they became part
    of; `void`: records of owners that were not the newest, which nobody may act upon."""

    partitions: int = 0
    events: int = 0
    runs: int = 0
    closed: int = 0
    void: int = 0
    starts: dict[CommandId, RunId] = field(default_factory=dict)
    signals: dict[CommandId, RunId] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)

    def missing(self, acknowledged: Iterable[CommandId]) -> list[CommandId]:
        """Those of the commands, which their clients were told are accepted, that no history knows."""
        return [command_id for command_id in acknowledged if command_id not in self.starts | self.signals]


@dataclass(slots=True)
class _Seen:
    """A run so far."""

    workflow: tuple[str, str]
    seq: int = 0
    chain: bytes = CHAIN_START
    observed: int = 0
    is_closed: bool = False


@dataclass(slots=True)
class _Partition:
    """One history so far. `commands`: those that histories name as causes, by offset."""

    number: int
    report: Report
    commands: Mapping[int, Command]
    owner_epoch: int = -1
    recorded_at: int = 0
    commands_next: int = 0
    sent_through: int = -1
    routes: dict[tuple[str, str], Version] = field(default_factory=dict)
    versions: dict[tuple[str, Version], frozenset[str]] = field(default_factory=dict)
    runs: dict[RunId, _Seen] = field(default_factory=dict)
    open: dict[tuple[str, str], RunId] = field(default_factory=dict)

    def take(self, offset: int, record: HistoryRecord) -> None:
        """The next record."""
        event = record.event
        if isinstance(event, OwnerEpoch):
            self._promise(offset, record.owner_epoch == -1, "an OwnerEpoch has the owner epoch -1")
            self.owner_epoch = offset
        elif record.owner_epoch != self.owner_epoch:
            self.report.void += 1
            return
        self._promise(offset, record.recorded_at >= self.recorded_at, "time does not go back")
        self.recorded_at = record.recorded_at
        self.report.events += 1
        if record.run_id != NO_RUN:
            self._take_of_run(offset, record)
        elif isinstance(event, Progress):
            self._promise(offset, event.commands_next >= self.commands_next, "decided commands stay decided")
            self._promise(offset, self.sent_through <= event.sent_through < offset, "the watermark grows, behind the log")
            self.commands_next, self.sent_through = event.commands_next, event.sent_through
        elif isinstance(event, CatalogApplied):
            marker = event.marker
            self.versions[marker.namespace, marker.version] = frozenset(marker.types)
            self.routes.update({(marker.namespace, routed): marker.version for routed in marker.routed_types})

    def _take_of_run(self, offset: int, record: HistoryRecord) -> None:
        workflow = (record.namespace, record.workflow_id)
        run = self.runs.setdefault(record.run_id, _Seen(workflow))
        self._promise(offset, record.seq == run.seq + 1, f"event {run.seq + 1} of the run comes next, not {record.seq}")
        self._promise(offset, run.workflow == workflow, "a run belongs to one workflow id")
        self._promise(offset, not run.is_closed, "nothing follows a terminal event")
        self._promise(offset, record.chain == chain_of(record, run.chain), "the chain covers the events before it")
        run.seq, run.chain = record.seq, record.chain
        match record.event:
            case RunStarted() as event:
                self._started(offset, record, event)
            case SignalReceived():
                self._caused(offset, record, self.report.signals)
            case TurnEnded(observed_seq=observed) | RunCompleted(observed_seq=observed) | RunFailed(observed_seq=observed):
                self._promise(offset, run.observed <= observed < record.seq, "a turn observes what was there")
                run.observed = observed
            case _:
                pass
        if isinstance(record.event, RunCompleted | RunFailed):
            run.is_closed = True
            self.report.closed += 1
            self.open.pop(workflow, None)

    def _started(self, offset: int, record: HistoryRecord, event: RunStarted) -> None:
        workflow = (record.namespace, record.workflow_id)
        self.report.runs += 1
        self._promise(offset, record.seq == 1, "RunStarted is the first event")
        self._promise(offset, workflow not in self.open, "a workflow id has one open run")
        self.open[workflow] = record.run_id
        provided = self.versions.get((record.namespace, event.version), frozenset())
        self._promise(offset, event.workflow_type in provided, "the version is loaded here and provides the type")
        self._caused(offset, record, self.report.starts)
        command = self.commands.get(record.cause.offset) if record.cause is not None else None
        if command is not None and isinstance(command.body, StartRun) and command.body.version is None:
            routed = self.routes.get((record.namespace, event.workflow_type))
            self._promise(offset, routed == event.version, "a start runs on the version routed at its position")

    def _caused(self, offset: int, record: HistoryRecord, by_command: dict[CommandId, RunId]) -> None:
        cause = record.cause
        self._promise(offset, cause is not None, "a client's event names its command")
        if cause is not None:
            self._promise(offset, cause.command_id not in by_command, f"command {cause.command_id} is decided once")
            by_command[cause.command_id] = record.run_id

    def _promise(self, offset: int, is_kept: bool, sentence: str) -> None:
        if not is_kept:
            self.report.broken.append(f"history {self.number} offset {offset}: {sentence}")


async def check_cluster(log: Log, topics: Topics) -> Report:
    """Read every history from its beginning. Raises Unavailable, WrongCluster."""
    created = await verify_cluster(log, topics)
    report = Report(partitions=created.partitions)
    for number in range(created.partitions):
        commands = {
            record.offset: command
            for record in await _all(log, topics.commands, number)
            if isinstance(command := await _decoded(log, topics, record), Command)
        }
        partition = _Partition(number, report, commands)
        for record in await _all(log, topics.history, number):
            read = await _decoded(log, topics, record)
            if isinstance(read, HistoryRecord):
                partition.take(record.offset, read)
            else:
                report.broken.append(f"history {number} offset {record.offset}: not a record of a history")
            if record.offset % 1_000 == 0:
                await asyncio.sleep(0)
    return report


def check_and_tell(console: Console) -> Serve:
    """The command `check` as a service for `aion_common.service.run`: ends by itself."""
    return functools.partial(_check_and_tell, console=console)


async def _check_and_tell(settings: Settings, stop: asyncio.Event, *, console: Console) -> None:
    log = await connect(settings.bootstrap)
    try:
        report = await check_cluster(log, Topics(settings.topic_prefix))
    finally:
        await log.close()
    console.print(
        f"{report.partitions} partitions, {report.runs} runs ({report.closed} closed), {report.events} events, "
        f"{report.void} void records",
        highlight=False,
    )
    if report.broken:
        raise AionError("; ".join(report.broken[:SENTENCES_SHOWN_MAX]) + f" ({len(report.broken)} broken promises in all)")
    console.print("every history keeps its promises", highlight=False)


async def _all(log: Log, topic: str, partition: int) -> Sequence[LogRecord]:
    first, end = await log.beginning_offset(topic, partition), await log.end_offset(topic, partition)
    found: list[LogRecord] = []
    async with aclosing(records_between(log, topic, first, end, partition)) as portions:
        async for records in portions:
            found.extend(records)
    return found


async def _decoded(log: Log, topics: Topics, record: LogRecord) -> object:
    try:
        read: object = await decode_learning(log, topics, record.value)
    except BadRecord:
        return None
    return read
