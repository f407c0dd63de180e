"""One step of a partition: inputs are decided and folded into an open batch. Reads state, writes nothing, knows no VM.

A batch is decided at one time (`Facts.now_ms`) and sealed once: its records, `Progress` first, are what the log gets in
one append. Who calls it: the partition loop, live and in tests.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import assert_never

from msgspec import Struct
from msgspec.structs import replace

from aion_common.ids import (
    CommandId,
    Namespace,
    RunId,
    WorkflowId,
    ingress_place_of,
    run_id_of,
    workflow_key,
)
from aion_common.limits import BATCH_BYTES_MAX, DECISION_BYTES_MAX, INPUTS_PER_BATCH_MAX, REASON_BYTES_MAX
from aion_common.metrics import REPORTS_DROPPED
from aion_common.records.commands import (
    Command,
    StartRun,
    VersionClosing,
    VersionKept,
    VersionRouted,
    VersionUnloaded,
)
from aion_common.records.events import (
    CatalogApplied,
    Cause,
    DeadLettered,
    HeartbeatsReceived,
    HistoryRecord,
    Progress,
    RecordedAnswer,
    RunEvent,
    StartParked,
    StartReleased,
)
from aion_common.records.replies import Answer, StartAccepted
from aion_common.records.tasks import TaskHeartbeat
from aion_common.wire import decode, seal
from aion_common.wire.history import CHAIN_START
from aion_executor.changes import Changes, Lookup
from aion_executor.core.apply import apply_to_partition
from aion_executor.core.decide import decide
from aion_executor.core.decision import Answered, Decision, Park, Rejection
from aion_executor.core.effects import Effect, Unload, Warm, effect_of
from aion_executor.core.facts import Facts
from aion_executor.core.inputs import (
    CommandInput,
    DueInput,
    Input,
    MarkerInput,
    ReleasedInput,
    ResultInput,
    TurnInput,
    UnreadableInput,
)
from aion_executor.core.partition import Partition
from aion_executor.core.run import Run
from aion_executor.heartbeats import Heartbeats
from aion_executor.partition_records import PARTITION_KEY, partition_record
from aion_executor.pins import pins_command_id, report_pins

COMMANDS = "commands"
RESULTS = "results"
"""How causes and dead letters name the topics, whatever their prefix."""

INGRESS = "ingress"
"""How dead letters name the topic that foreign producers write, whatever its prefix."""

NO_OFFSET = -1
"""Stands for the offset of a record that has none yet; only OwnerEpoch, which is never decided here, needs its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedBatch:
    """What the log gets, in order, and what it changes; `changes.sends()` are owed once it is there."""

    records: tuple[tuple[bytes, bytes], ...]
    partition: Partition
    changes: Changes


@dataclass(slots=True, kw_only=True)
class OpenBatch:
    """A batch being decided. `partition`: the partition's state as decided so far, this batch included. `is_resident`: whether
    a run is in a VM now."""

    facts: Facts
    is_resident: Callable[[RunId], bool]
    partition: Partition
    changes: Changes
    records: list[tuple[bytes, bytes]] = field(default_factory=list)
    answers: list[RecordedAnswer] = field(default_factory=list)
    heartbeats: Heartbeats = field(default_factory=Heartbeats)
    inputs: int = 0
    value_bytes: int = 0


def open_batch(below: Lookup, partition: Partition, facts: Facts, is_resident: Callable[[RunId], bool]) -> OpenBatch:
    """An empty batch over what is decided already. Its time never goes back behind the partition's newest record."""
    assert facts.now_ms >= partition.recorded_at, "time does not go back within a partition"
    return OpenBatch(facts=facts, is_resident=is_resident, partition=partition, changes=Changes(below, facts.number))


def step(batch: OpenBatch, given: Input) -> Sequence[Effect]:
    """Decide one input into the batch; returns what the new states ask of VMs."""
    batch.inputs += 1
    match given:
        case TurnInput():
            return _step_run(batch, given)
        case ResultInput():
            effects: Sequence[Effect] = _step_result(batch, given)
            batch.partition = replace(batch.partition, results_next=given.offset + 1)
            return effects
        case CommandInput():
            effects = _step_command(batch, given)
        case DueInput():
            # Time ends no attempt that has been heard of.
            _record_heartbeats(batch)
            return _step_run(batch, given)
        case ReleasedInput():
            return _step_released(batch, given)
        case UnreadableInput():
            _step_unreadable(batch, given)
            return ()
        case MarkerInput():
            effects = _step_marker(batch, given)
        case _:
            assert_never(given)
    batch.partition = replace(batch.partition, commands_next=given.offset + 1)
    return effects


def _step_run(batch: OpenBatch, given: TurnInput | DueInput) -> Sequence[Effect]:
    run = batch.changes.run(given.run_id)
    decided = decide(batch.partition, run, given, batch.facts)
    if run is None or not isinstance(decided, Decision):
        return ()
    return _append_run_events(batch, run, _target_of(run, None), decided.events)


def _step_result(batch: OpenBatch, given: ResultInput) -> Sequence[Effect]:
    report = given.report
    run = batch.changes.run(report.run_id)
    if isinstance(report.body, TaskHeartbeat):
        batch.value_bytes += batch.heartbeats.take(report, report.body)
        return ()
    decided = decide(batch.partition, run, given, batch.facts)
    assert isinstance(decided, Decision), "a report is never refused"
    if run is None or not decided.events:
        REPORTS_DROPPED.inc()
        return ()
    return _append_run_events(batch, run, _target_of(run, None), decided.events)


def _step_unreadable(batch: OpenBatch, given: UnreadableInput) -> None:
    letter = DeadLettered(
        topic=given.topic,
        partition=batch.facts.number,
        offset=given.offset,
        reason=given.reason,
        key=given.key,
        value=given.value,
        value_bytes=given.value_bytes,
    )
    _append_partition_event(batch, letter)
    if given.topic == RESULTS:
        batch.partition = replace(batch.partition, results_next=given.offset + 1)
    else:
        batch.partition = replace(batch.partition, commands_next=given.offset + 1)


def _step_marker(batch: OpenBatch, given: MarkerInput) -> Sequence[Effect]:
    decided = decide(batch.partition, None, given, batch.facts)
    assert isinstance(decided, Decision), "a marker is never refused"
    for event in decided.events:
        assert isinstance(event, CatalogApplied), "a marker changes no run"
        _append_partition_event(batch, event)
    if not decided.events:
        return ()
    match given.marker.body:
        case VersionRouted(namespace=namespace, version=version):
            return (Warm(namespace=namespace, version=version),)
        case VersionUnloaded(namespace=namespace, version=version):
            return (Unload(namespace=namespace, version=version),)
        case VersionClosing() as closing:
            report = report_pins(batch.changes, batch.facts, closing, batch.is_resident)
            _answer(batch, pins_command_id(closing.attempt, batch.facts.number), closing.reply_partition, report)
        case VersionKept():
            pass
        case _:
            assert_never(given.marker.body)
    return ()


def _step_released(batch: OpenBatch, given: ReleasedInput) -> Sequence[Effect]:
    value = batch.changes.parked(given.offset)
    assert value is not None, "a parked start is kept until it is released"
    command: Command = decode(value)
    _append_partition_event(batch, StartReleased(offset=given.offset))
    return _step_command(batch, CommandInput(offset=given.offset, command=command))


def _step_command(batch: OpenBatch, given: CommandInput) -> Sequence[Effect]:
    command = given.command
    new_run_id = run_id_of(command.namespace, command.workflow_id, command.command_id)
    first_answer = _first_answer(batch.changes, command, new_run_id)
    if first_answer is not None:
        _answer(batch, command.command_id, command.reply_partition, first_answer)
        return ()
    run = _addressed(batch.changes, command)
    match decide(batch.partition, run, given, batch.facts):
        case Decision(events=events, replaced=replaced):
            cause = Cause(
                topic=COMMANDS,
                offset=given.offset,
                command_id=command.command_id,
                reply_partition=command.reply_partition,
            )
            return [
                *(_append_run_events(batch, run, _target_of(run, None), replaced) if run and replaced else ()),
                *_append_command_events(batch, run, command, new_run_id, cause, events),
            ]
        case Rejection() as rejection:
            _answer(batch, command.command_id, command.reply_partition, rejection)
            _tell_refused(batch, command, rejection)
        case Answered(answer=answer):
            _answer(batch, command.command_id, command.reply_partition, answer)
        case Park():
            _append_partition_event(batch, StartParked(offset=given.offset, command=command))
    return ()


def _tell_refused(batch: OpenBatch, command: Command, rejection: Rejection) -> None:
    """Nobody waits for the answer to a record of `aion.ingress`, so its refusal is a dead letter (docs/adr/0014)."""
    if (place := ingress_place_of(command.command_id)) is None:
        return
    partition, offset = place
    letter = DeadLettered(
        topic=INGRESS,
        partition=partition,
        offset=offset,
        reason=f"{rejection.code}: {rejection.reason}"[:REASON_BYTES_MAX],
        key=workflow_key(command.namespace, command.workflow_id),
        value=None,
        value_bytes=0,
    )
    _append_partition_event(batch, letter)


def _append_command_events(
    batch: OpenBatch,
    run: Run | None,
    command: Command,
    new_run_id: RunId,
    cause: Cause,
    events: Sequence[RunEvent | CatalogApplied],
) -> Sequence[Effect]:
    if run is not None and not isinstance(command.body, StartRun):
        return _append_run_events(batch, run, _target_of(run, cause), events)
    target = _Target(namespace=command.namespace, workflow_id=command.workflow_id, run_id=new_run_id, cause=cause)
    return _append_run_events(batch, None, target, events)


def _first_answer(changes: Changes, command: Command, new_run_id: RunId) -> Answer | None:
    """What the command was answered when it came first; an accepted start is known by its run, for ever."""
    if (run := changes.run(new_run_id)) is not None:
        return StartAccepted(run_id=run.run_id, version=run.version, created=True)
    if (reply := changes.answer(command.command_id)) is not None:
        answer: Answer = decode(reply).answer
        return answer
    return None


def _addressed(changes: Changes, command: Command) -> Run | None:
    run_id = None if isinstance(command.body, StartRun) else command.body.run_id
    if run_id is None:
        run_id = changes.newest_run_id(command.namespace, command.workflow_id)
    run = None if run_id is None else changes.run(run_id)
    if run is None or (run.namespace, run.workflow_id) != (command.namespace, command.workflow_id):
        return None
    return run


def _answer(batch: OpenBatch, command_id: CommandId, reply_partition: int | None, answer: Answer) -> None:
    answered = RecordedAnswer(command_id=command_id, reply_partition=reply_partition, answer=answer)
    batch.answers.append(answered)
    batch.value_bytes += batch.changes.fold_answer(answered, batch.facts.now_ms)


class _Target(Struct, frozen=True, kw_only=True, gc=False):
    namespace: Namespace
    workflow_id: WorkflowId
    run_id: RunId
    cause: Cause | None


def _target_of(run: Run, cause: Cause | None) -> _Target:
    return _Target(namespace=run.namespace, workflow_id=run.workflow_id, run_id=run.run_id, cause=cause)


def _append_run_events(
    batch: OpenBatch, run: Run | None, target: _Target, events: Sequence[RunEvent | CatalogApplied]
) -> Sequence[Effect]:
    key = workflow_key(target.namespace, target.workflow_id)
    for event in events:
        record = HistoryRecord(
            namespace=target.namespace,
            workflow_id=target.workflow_id,
            run_id=target.run_id,
            seq=1 if run is None else run.seq + 1,
            recorded_at=batch.facts.now_ms,
            owner_epoch=batch.partition.owner_epoch,
            chain=b"",
            cause=target.cause,
            event=event,
        )
        sealed = seal(record, CHAIN_START if run is None else run.chain)
        run = batch.changes.fold_run_event(run, sealed.record, sealed.value)
        _append(batch, key, sealed.value)
    effect = effect_of(run) if run is not None and events else None
    return () if effect is None else (effect,)


def _append_partition_event(
    batch: OpenBatch, event: CatalogApplied | StartParked | StartReleased | DeadLettered | HeartbeatsReceived
) -> None:
    record = partition_record(event, batch.facts.now_ms, batch.partition.owner_epoch)
    batch.partition = apply_to_partition(batch.partition, record, NO_OFFSET)
    batch.changes.fold_partition_event(event, batch.facts.now_ms)
    _append(batch, PARTITION_KEY, seal(record, None).value)


def _record_heartbeats(batch: OpenBatch) -> None:
    if (beats := batch.heartbeats.event(batch.changes)) is not None:
        _append_partition_event(batch, beats)


def _append(batch: OpenBatch, key: bytes, value: bytes) -> None:
    batch.records.append((key, value))
    batch.value_bytes += len(key) + len(value)


def is_full(batch: OpenBatch) -> bool:
    """Whether the batch must be sealed before it takes another input: one more decision of any size still fits."""
    return batch.inputs >= INPUTS_PER_BATCH_MAX or batch.value_bytes >= BATCH_BYTES_MAX - DECISION_BYTES_MAX


def next_released(partition: Partition) -> ReleasedInput | None:
    """The first of the parked starts whose verdict is there: decided before any other command."""
    if partition.closing is not None or not partition.parked:
        return None
    return ReleasedInput(offset=partition.parked[0])


def is_empty(batch: OpenBatch) -> bool:
    """Whether nothing was decided in it."""
    return batch.inputs == 0


def seal_batch(batch: OpenBatch, sent_through: int) -> SealedBatch:
    """Close the batch: its `Progress` first. `sent_through`: the watermark of sends as known now."""
    _record_heartbeats(batch)
    progress = Progress(
        commands_next=batch.partition.commands_next,
        sent_through=sent_through,
        answers=tuple(batch.answers),
        results_next=batch.partition.results_next,
    )
    now_ms, owner_epoch = batch.facts.now_ms, batch.partition.owner_epoch
    record = partition_record(progress, now_ms, owner_epoch)
    return SealedBatch(
        records=((PARTITION_KEY, seal(record, None).value), *batch.records),
        partition=apply_to_partition(batch.partition, record, NO_OFFSET),
        changes=batch.changes,
    )
