"""Forwards `aion.ingress` to `aion.commands`: started once, and never before its producer's commit.

Gateways divide the partitions as members of one group. A batch is read (committed records only), sent, acknowledged, and then
committed for the group: whoever dies in between leaves records that the next one forwards again, with the same command ids,
which their owners drop. One batch at a time, so commands of one partition keep their order, repeats included.
"""

import asyncio
import secrets
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import structlog

from aion_common import limits
from aion_common.errors import Unavailable
from aion_common.ids import workflow_key
from aion_common.kafka.api import Headers, KeyValue, Log, LogRecord, Membership, OffsetOutOfRange, Reader, Sender, Write
from aion_common.kafka.deadletters import Unusable, dead_letter
from aion_common.kafka.partitioner import partition_of
from aion_common.kafka.reading import learn_published
from aion_common.kafka.topics import Topics
from aion_common.metrics import INGRESS_FORWARDED, INGRESS_LAG, INGRESS_PARTITIONS, INGRESS_REFUSED
from aion_common.records.commands import Command
from aion_common.wire import UnknownSchema, encode
from aion_gateway.drain import Drain
from aion_gateway.ingress.wishes import Refusal, command_of, unknown_schema

log = structlog.get_logger(__name__)

GROUP = "gateway.ingress"
INGRESS = "ingress"
"""How dead letters name the topic, whatever its prefix."""


@dataclass(slots=True, kw_only=True)
class Bridge:
    """A gateway's share of the forwarding. `partitions`: of `aion.commands`; `session_ms`: see `Log.membership`."""

    log: Log
    topics: Topics
    gateway_id: str
    partitions: int
    session_ms: int
    _assigned: frozenset[int] = frozenset()
    _taken_away: set[int] = field(default_factory=set)
    """Partitions that others may have worked on meanwhile, even if they came back."""
    _next: dict[int, int] = field(default_factory=dict)
    """The next record to forward, of each partition that is held."""
    _committed: dict[int, int] = field(default_factory=dict)
    """What the group remembers of them, or where they began."""
    _measured: dict[int, int] = field(default_factory=dict)
    _is_stuck: bool = False

    async def run(self, drain: Drain) -> None:
        """Forward until the gateway drains; then leave, so that others go on at once. Outages are waited out. Raises
        WrongCluster when the cluster does not permit the session time-out."""
        while not drain.is_on:
            try:
                await self._take_part(drain)
            except Unavailable as error:
                log.warning("ingress not forwarded, trying again", reason=str(error))
                await asyncio.sleep(limits.INGRESS_RETRY_MS / 1000)

    async def _take_part(self, drain: Drain) -> None:
        topic = self.topics.ingress
        if topic not in await self.log.describe_topics([topic]):
            # Asking a broker for it might create it, with other partitions.
            raise Unavailable(f"topic {topic} does not exist: `aion-server init` creates it")
        # Two gateways may have one id, which is nothing but a name: members must not.
        member_id = f"{self.gateway_id}-{secrets.token_hex(8)}"
        group = self.topics.prefix + GROUP
        membership = await self.log.membership(group, topic, member_id, self.session_ms, self._on_assigned)
        try:
            async with asyncio.TaskGroup() as tasks:
                beside = [
                    tasks.create_task(membership.failed(), name="ingress-membership"),
                    tasks.create_task(self._measure(), name="ingress-lag"),
                ]
                while not drain.is_on:
                    await self._forward_while_it_works(membership, drain)
                for task in beside:
                    task.cancel()
        finally:
            await membership.close()
            self._on_assigned(frozenset())
            self._let_go()

    def _on_assigned(self, assigned: frozenset[int]) -> None:
        log.info("ingress assigned", partitions=sorted(assigned))
        self._taken_away |= self._next.keys() - assigned
        self._assigned = assigned

    async def _forward_while_it_works(self, membership: Membership, drain: Drain) -> None:
        """With one reader and one sender, until something fails. What was not acknowledged is read again."""
        try:
            sender = await self.log.sender()
            try:
                reader = await self.log.reader(self.topics.ingress)
                try:
                    await self._forward(reader, sender, membership, drain)
                finally:
                    await reader.close()
            finally:
                await sender.close()
        except Unavailable as error:
            log.warning("ingress not forwarded, trying again", reason=str(error))
            await asyncio.sleep(limits.INGRESS_RETRY_MS / 1000)

    async def _forward(self, reader: Reader, sender: Sender, membership: Membership, drain: Drain) -> None:
        reader.assign(self._next)
        while not drain.is_on:
            if await self._hold_what_is_assigned(membership):
                reader.assign(self._next)
            if self._is_stuck:
                self._is_stuck = False
                self._measured.clear()
                raise Unavailable("records are there and do not come")
            try:
                read = await reader.read(wait_ms=limits.INGRESS_READ_MS, records_max=limits.INGRESS_RECORDS_MAX)
            except OffsetOutOfRange as error:
                await self._pass_over_what_is_gone(error)
                reader.assign(self._next)
                continue
            if self._taken_away or self._assigned != self._next.keys():
                # It is read again by whoever holds it now, perhaps from here.
                continue
            await self._send(sender, read)
            await self._advance(reader, membership)

    async def _hold_what_is_assigned(self, membership: Membership) -> bool:
        """Whether the partitions that are held have changed."""
        gone = self._let_go()
        new = self._assigned - self._next.keys()
        if not new:
            return gone
        committed = await membership.committed(new)
        for partition in new:
            if (offset := committed.get(partition)) is None:
                offset = await self.log.beginning_offset(self.topics.ingress, partition)
            if partition in self._assigned:
                self._next[partition] = self._committed[partition] = offset
        INGRESS_PARTITIONS.set(len(self._next))
        return True

    def _let_go(self) -> bool:
        """Forget how far partitions are that were taken away, even for a moment. Whether there were any."""
        gone = (self._next.keys() - self._assigned) | (self._taken_away & self._next.keys())
        self._taken_away.clear()
        for partition in gone:
            del self._next[partition], self._committed[partition]
            self._measured.pop(partition, None)
            INGRESS_LAG.labels(partition).set(0)
        INGRESS_PARTITIONS.set(len(self._next))
        return bool(gone)

    async def _pass_over_what_is_gone(self, error: OffsetOutOfRange) -> None:
        first = await self.log.beginning_offset(self.topics.ingress, error.partition)
        log.error("ingress lost", partition=error.partition, wanted=error.offset, first=first)
        self._next[error.partition] = first

    async def _send(self, sender: Sender, read: Mapping[int, Sequence[LogRecord]]) -> None:
        """Send what the records mean; returns when all of it is acknowledged. Raises Unavailable."""
        commands: dict[int, list[KeyValue]] = defaultdict(list)
        letters: list[Write] = []
        meaning = _Meaning(self.log, self.topics)
        for partition, records in read.items():
            for record in records:
                match await meaning.of(partition, record):
                    case Command() as command:
                        key = workflow_key(command.namespace, command.workflow_id)
                        commands[partition_of(key, self.partitions)].append((key, encode(command)))
                    case Refusal(reason=reason):
                        log.info("ingress refused", partition=partition, offset=record.offset, reason=reason)
                        letters.append(_letter(self.topics, partition, record, reason))
        async with asyncio.TaskGroup() as tasks:
            sends = [
                *(
                    tasks.create_task(_sent(sender, self.topics.commands, partition, values), name=f"forward-{partition}")
                    for partition, values in commands.items()
                ),
                *(
                    tasks.create_task(
                        _sent(sender, letter.topic, letter.partition, [(letter.key, letter.value)], letter.headers),
                        name="dead-letter",
                    )
                    for letter in letters
                ),
            ]
        for send in sends:
            if (failure := send.result()) is not None:
                raise failure
        INGRESS_FORWARDED.inc(sum(map(len, commands.values())))
        INGRESS_REFUSED.inc(len(letters))

    async def _advance(self, reader: Reader, membership: Membership) -> None:
        """Go on behind what was read, and tell the group, also what it did not take the last time."""
        for partition in self._next:
            self._next[partition] = reader.position(partition)
        held = self._assigned - self._taken_away
        owed = {partition: at for partition, at in self._next.items() if partition in held and self._committed[partition] != at}
        if not owed:
            return
        try:
            await membership.commit(owed)
        except Unavailable as error:
            # Whoever goes on from what is committed forwards some of it again, and owners drop that.
            log.warning("ingress not committed", reason=str(error))
            return
        self._committed.update(owed)

    async def _measure(self) -> None:
        """Again and again, how much waits in each partition that is held; and notice a reader that does not move."""
        while True:
            await asyncio.sleep(limits.INGRESS_LAG_MS / 1000)
            for partition in tuple(self._next):
                try:
                    end = await self.log.end_offset(self.topics.ingress, partition)
                except Unavailable:
                    break
                position = self._next.get(partition, end)
                INGRESS_LAG.labels(partition).set(max(0, end - position))
                self._is_stuck |= position < end and self._measured.get(partition) == position
                self._measured[partition] = position


class _Meaning:
    """What records mean; what services have published is read once for all of a batch that need it."""

    def __init__(self, log: Log, topics: Topics) -> None:
        self._log = log
        self._topics = topics
        self._has_learned = False

    async def of(self, partition: int, record: LogRecord) -> Command | Refusal:
        """Gives the loop a turn first: a batch of large records takes its time."""
        await asyncio.sleep(0)
        try:
            return command_of(partition, record)
        except UnknownSchema as error:
            if self._has_learned:
                return unknown_schema(error)
        await learn_published(self._log, self._topics)
        self._has_learned = True
        return await self.of(partition, record)


async def _sent(
    sender: Sender, topic: str, partition: int, records: Sequence[KeyValue], headers: Headers = ()
) -> Unavailable | None:
    """Nothing when it was acknowledged, else why not: the others on their way are waited for."""
    try:
        await sender.send(topic, partition, records, headers)
    except Unavailable as error:
        return error
    return None


def _letter(topics: Topics, partition: int, record: LogRecord, reason: str) -> Write:
    value = record.value
    unusable = Unusable(
        topic=INGRESS,
        partition=partition,
        offset=record.offset,
        reason=reason,
        key=None if record.key is None else record.key[: limits.NAME_BYTES_MAX],
        value=value,
        value_bytes=0 if value is None else len(value),
    )
    return dead_letter(topics, unusable)
