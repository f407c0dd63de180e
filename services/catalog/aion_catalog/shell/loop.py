"""One term of the elected catalog: fence, read back, then decide the commands one by one, each in one transaction; an
unload in two.

A command is answered in this order: transaction committed, reply sent, next command. So at most one reply is ever owed,
that of the last `CommandAnswered`, and every term begins by sending it (again). Whatever fails in a term ends it; the
next one reads back what really happened and goes on from there.
"""

import asyncio
import functools
from collections.abc import Callable
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass

import structlog

from aion_catalog.core.apply import fold
from aion_catalog.core.decide import decide, needs_check, needs_pins
from aion_catalog.core.decision import Decision, Facts, Gathered
from aion_catalog.core.state import CatalogState
from aion_catalog.core.unload import begin_unload, skip
from aion_catalog.shell import PARTITION
from aion_catalog.shell.commands import Commands, Unreadable, command_of, letter_of
from aion_catalog.shell.election import work_when_elected
from aion_catalog.shell.packages import CheckPackage
from aion_catalog.shell.pins import reports_from_now
from aion_catalog.shell.sweep import Sweep
from aion_catalog.shell.transaction import recorded, transactional_id, writes_of
from aion_common.clock import Clock
from aion_common.errors import BadRecord
from aion_common.ids import Version
from aion_common.kafka.api import Log, LogRecord, Sender, TransactionalProducer, Write
from aion_common.kafka.reading import decode_learning, records_between
from aion_common.kafka.topics import Topics
from aion_common.metrics import CATALOG_IS_ACTIVE, SKIPPED_RECORDS
from aion_common.records.catalog import (
    CatalogCommand,
    CatalogRecord,
    ClusterCreated,
    CommandAnswered,
    LoadPackage,
    UnloadVersion,
)
from aion_common.records.replies import Reply
from aion_common.wire import encode, is_encoded

logger = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a term works with and did not make: the cluster as it was created, the clock, the checks of packages, and the
    partition of the replies to which owners report."""

    log: Log
    topics: Topics
    cluster: ClusterCreated
    clock: Clock
    check: CheckPackage
    reply_partition: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Term:
    around: Surroundings
    producer: TransactionalProducer
    sender: Sender
    on_progress: Callable[[], None]


async def serve_until(stop: asyncio.Event, around: Surroundings, *, member_id: str, session_ms: int) -> None:
    """Take part in the election and work when elected, until `stop` is set.

    Stopping in the middle of a command is safe: it is in the log as a whole or not at all, and the next elected instance
    sends the reply that may be owed.
    """
    async with asyncio.TaskGroup() as tasks:
        election = work_when_elected(around.log, around.topics, member_id, session_ms, functools.partial(work_term, around))
        working = tasks.create_task(election, name="catalog-election")
        await stop.wait()
        working.cancel()


async def work_term(around: Surroundings, on_progress: Callable[[], None]) -> None:
    """Work until cancelled. Raises Fenced when another instance has begun its term, Unavailable when this term must end
    and the next may go on. `on_progress` is called after each answered command."""
    async with AsyncExitStack() as stack:
        # The order matters: once this producer exists no other instance can commit, so what is read back is all there is.
        producer = await around.log.transactional_producer(transactional_id(around.topics))
        stack.push_async_callback(producer.close)
        sender = await around.log.sender()
        stack.push_async_callback(sender.close)
        reader = await around.log.reader(around.topics.catalog_commands)
        stack.push_async_callback(reader.close)
        state = await read_back(around.log, around.topics)
        logger.info(
            "catalog read back", versions=len(state.versions), route_epoch=state.route_epoch, offset=state.commands_next
        )
        CATALOG_IS_ACTIVE.set(1)
        stack.callback(CATALOG_IS_ACTIVE.set, 0)
        term = _Term(around=around, producer=producer, sender=sender, on_progress=on_progress)
        if state.last_answered is not None:
            await _reply(term, state.last_answered)
        reader.assign({PARTITION: state.commands_next})
        commands = Commands(around.log, around.topics, reader)
        sweep = Sweep(around.log, around.topics, around.clock)
        stack.push_async_callback(sweep.close)
        while True:
            records = await commands.poll()
            for record in records:
                state = await _take(term, state, record)
            if not records and (deletions := await sweep.step(state)):
                await producer.commit(deletions)
                logger.info("chunks of old uploads deleted", chunks=len(deletions))


async def read_back(log: Log, topics: Topics) -> CatalogState:
    """The catalog's state from its whole history. What no catalog can have written is passed over. Raises BadRecord for what
    one may have written and cannot be read: guessing on without it could load or route what never was."""
    first = await log.beginning_offset(topics.catalog, PARTITION)
    end = await log.end_offset(topics.catalog, PARTITION)
    state = CatalogState()
    async with aclosing(records_between(log, topics.catalog, first, end)) as portions:
        async for records in portions:
            read = [await _record(log, topics, record) for record in records]
            state = fold(state, [record for record in read if record is not None])
    return state


async def _record(log: Log, topics: Topics, record: LogRecord) -> CatalogRecord | None:
    if not is_encoded(record.value):
        _tell_skipped(topics.catalog, record, "no Avro")
        return None
    try:
        read = await decode_learning(log, topics, record.value)
    except BadRecord as error:
        raise BadRecord(f"{topics.catalog} offset {record.offset}: {error}") from error
    if isinstance(read, CatalogRecord):
        return read
    _tell_skipped(topics.catalog, record, f"a {type(read).__name__}")
    return None


def _tell_skipped(topic: str, record: LogRecord, reason: str) -> None:
    SKIPPED_RECORDS.labels(topic).inc()
    logger.warning("record skipped", topic=topic, offset=record.offset, reason=reason)


async def _take(term: _Term, state: CatalogState, record: LogRecord) -> CatalogState:
    """Decide the next record, commit and reply; the state afterwards."""
    around = term.around
    command = await command_of(around.log, around.topics, record)
    if isinstance(command, Unreadable):
        after = await _skip(term, state, record, command.reason)
    else:
        after = await _answer(term, state, command, record.offset)
    term.on_progress()
    return after


async def _skip(term: _Term, state: CatalogState, record: LogRecord, reason: str) -> CatalogState:
    topics = term.around.topics
    _tell_skipped(topics.catalog_commands, record, reason)
    letter = letter_of(topics, record, reason)
    return await _commit(term, state, skip(state, record.offset, reason), _now_ms(term, state), letter)


async def _answer(term: _Term, state: CatalogState, command: CatalogCommand, offset: int) -> CatalogState:
    package = pins = None
    if needs_check(state, command) and isinstance(command.body, LoadPackage):
        package = await term.around.check(command.body.package)
    if needs_pins(state, command) and isinstance(command.body, UnloadVersion):
        state, pins = await _close(term, state, command, command.body.version)
    now_ms = _now_ms(term, state)
    decision = decide(state, command, Facts(now_ms=now_ms, offset=offset, package=package, pins=pins))
    after = await _commit(term, state, decision, now_ms)
    logger.info(
        "catalog command answered",
        command_id=command.command_id,
        command=type(command.body).__name__,
        answer=type(decision.answer).__name__,
        offset=offset,
        route_epoch=after.route_epoch,
    )
    assert after.last_answered is not None, "every command is answered"
    await _reply(term, after.last_answered)
    return after


async def _close(term: _Term, state: CatalogState, command: CatalogCommand, version: Version) -> tuple[CatalogState, Gathered]:
    """Close the version everywhere, in a transaction of its own, and ask the owners what needs it. Whoever dies behind it
    leaves the version closing: the command is not answered, so the next term takes it up again with the next attempt."""
    around = term.around
    async with reports_from_now(around.log, around.topics, around.reply_partition) as reports:
        began = begin_unload(state, command, version, around.reply_partition)
        state = await _commit(term, state, began, _now_ms(term, state))
        pins = await reports.gather(around.clock, state.unload_attempt, around.cluster.partitions)
    logger.info("pins gathered", version=version, attempt=state.unload_attempt, silent=list(pins.silent))
    return state, pins


async def _commit(term: _Term, state: CatalogState, decision: Decision, now_ms: int, *beside: Write) -> CatalogState:
    """One transaction of the decision, and what stands beside it; the state afterwards."""
    around = term.around
    await term.producer.commit([*writes_of(around.topics, around.cluster.partitions, state, decision, now_ms), *beside])
    return fold(state, recorded(decision, now_ms))


def _now_ms(term: _Term, state: CatalogState) -> int:
    """Time in a history does not go back, whichever instance writes it."""
    return max(term.around.clock.now_ms(), state.recorded_at)


async def _reply(term: _Term, answered: CommandAnswered) -> None:
    partition = answered.reply_partition
    if partition is None:
        return
    topics = term.around.topics
    known = next((topic.partitions for topic in term.around.cluster.topics if topic.name == topics.replies), 0)
    if not 0 <= partition < known:
        logger.warning("reply dropped", command_id=answered.command_id, reply_partition=partition, partitions=known)
        return
    reply = Reply(command_id=answered.command_id, answer=answered.answer)
    await term.sender.send(topics.replies, partition, [(answered.command_id.encode(), encode(reply))])
