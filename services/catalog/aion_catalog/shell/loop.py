"""One term of the elected catalog: fence, read back, then decide the commands one by one, each in one transaction.

A command is answered in this order: transaction committed, reply sent, next command. So at most one reply is ever owed,
that of the last `CommandAnswered`, and every term begins by sending it (again). Whatever fails in a term ends it; the
next one reads back what really happened and goes on from there.
"""

import asyncio
import functools
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass

import structlog

from aion_catalog.core.apply import fold
from aion_catalog.core.decide import Facts, decide, needs_check
from aion_catalog.core.state import CatalogState, commands_next
from aion_catalog.shell import PARTITION
from aion_catalog.shell.election import work_when_elected
from aion_catalog.shell.packages import CheckPackage
from aion_catalog.shell.transaction import transactional_id, writes_of
from aion_common import limits
from aion_common.clock import Clock
from aion_common.errors import BadRecord, Unavailable
from aion_common.kafka.api import Log, LogRecord, Reader, Sender, TransactionalProducer
from aion_common.kafka.reading import decode_learning, records_between
from aion_common.kafka.topics import Topics
from aion_common.metrics import SKIPPED_RECORDS
from aion_common.records.catalog import (
    CatalogCommand,
    CatalogEvent,
    CatalogRecord,
    ClusterCreated,
    CommandAnswered,
    LoadPackage,
)
from aion_common.records.replies import Reply
from aion_common.wire import encode

logger = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a term works with and did not make: the cluster as it was created, the clock, and the checks of packages."""

    log: Log
    topics: Topics
    cluster: ClusterCreated
    clock: Clock
    check: CheckPackage


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
            "catalog read back", versions=len(state.versions), route_epoch=state.route_epoch, offset=commands_next(state)
        )
        term = _Term(around=around, producer=producer, sender=sender, on_progress=on_progress)
        if state.last_answered is not None:
            await _reply(term, state.last_answered)
        reader.assign({PARTITION: commands_next(state)})
        while True:
            for record in await _next_commands(around, reader):
                state = await _answer(term, state, record)


async def read_back(log: Log, topics: Topics) -> CatalogState:
    """The catalog's state from its whole history. Raises BadRecord for a record that cannot be read: guessing on without
    it could load or route what never was."""
    first = await log.beginning_offset(topics.catalog, PARTITION)
    end = await log.end_offset(topics.catalog, PARTITION)
    state = CatalogState()
    async with aclosing(records_between(log, topics.catalog, first, end)) as portions:
        async for records in portions:
            state = fold(state, [await _event(log, topics, record) for record in records])
    return state


async def _event(log: Log, topics: Topics, record: LogRecord) -> CatalogEvent:
    try:
        read = await decode_learning(log, topics, record.value)
    except BadRecord as error:
        raise BadRecord(f"{topics.catalog} offset {record.offset}: {error}") from error
    if not isinstance(read, CatalogRecord):
        raise BadRecord(f"{topics.catalog} offset {record.offset}: not a record of the catalog")
    return read.event


async def _next_commands(around: Surroundings, reader: Reader) -> Sequence[LogRecord]:
    """At least one record. After a long silence makes sure that there is really nothing to read."""
    silent_polls = 0
    while True:
        read = await reader.read(wait_ms=limits.READ_POLL_MS, records_max=limits.INPUTS_PER_BATCH_MAX)
        if records := read.get(PARTITION):
            return records
        silent_polls += 1
        if silent_polls >= limits.CATALOG_SILENT_POLLS_MAX:
            silent_polls = 0
            before = reader.position(PARTITION)
            end = await around.log.end_offset(around.topics.catalog_commands, PARTITION)
            if end > before == reader.position(PARTITION):
                raise Unavailable(f"{around.topics.catalog_commands} could not be read from offset {before}")


async def _answer(term: _Term, state: CatalogState, record: LogRecord) -> CatalogState:
    """Decide one command, commit and reply; the state afterwards. What is not a command is passed over, uncommitted: the
    next command's offset lies behind it, and until then a new term passes over it again."""
    around = term.around
    command = await _command(around, record)
    if command is None:
        return state
    verdict = None
    if needs_check(state, command) and isinstance(command.body, LoadPackage):
        verdict = await around.check(command.body.package)
    now_ms = around.clock.now_ms()
    decision = decide(state, command, Facts(now_ms=now_ms, offset=record.offset, package=verdict))
    writes = writes_of(around.topics, around.cluster.partitions, state, decision, now_ms)
    await term.producer.commit(writes)
    after = fold(state, decision.events)
    logger.info(
        "catalog command answered",
        command_id=command.command_id,
        command=type(command.body).__name__,
        answer=type(decision.answer).__name__,
        offset=record.offset,
        route_epoch=after.route_epoch,
    )
    assert after.last_answered is not None, "every decision ends in CommandAnswered"
    await _reply(term, after.last_answered)
    term.on_progress()
    return after


async def _command(around: Surroundings, record: LogRecord) -> CatalogCommand | None:
    reason = "not a command of the catalog"
    try:
        read = await decode_learning(around.log, around.topics, record.value)
        if isinstance(read, CatalogCommand):
            return read
    except BadRecord as error:
        reason = str(error)
    topic = around.topics.catalog_commands
    SKIPPED_RECORDS.labels(topic).inc()
    logger.warning("record skipped", topic=topic, offset=record.offset, reason=reason)
    return None


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
