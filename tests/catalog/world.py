"""A cluster as `aion-server init` leaves it, the clients' side of the catalog, and catalogs running on it.

Works over any `Log`: the in-memory twin and a real broker alike. All answers go to partition 5 of the replies.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from blake3 import blake3

from aion_catalog.core.decision import Checked, Refused
from aion_catalog.shell.loop import Surroundings, serve_until
from aion_catalog.shell.packages import CheckPackage
from aion_common import limits
from aion_common.cluster import PARTITIONER
from aion_common.kafka.api import Log, Topic
from aion_common.kafka.topics import Topics, wanted
from aion_common.records.catalog import (
    CatalogCommand,
    CatalogEvent,
    CatalogRecord,
    ClusterCreated,
    PackageChunk,
    TopicCreated,
)
from aion_common.records.common import PackageRef
from aion_common.records.replies import Reply
from aion_common.testing.memory_cluster import StillClock
from aion_common.wire import decode, encode
from aion_common.wire.registry import ResolvedSchema, full_name, resolve, resolved

REPLY_PARTITION = 5
REPORT_PARTITION = 2
"""Where owners report to catalogs of this world."""


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """The cluster and what clients do to it."""

    log: Log
    topics: Topics
    created: ClusterCreated
    clock: StillClock = field(default_factory=StillClock)

    async def submit(self, *commands: CatalogCommand) -> int:
        """Send commands as the gateway does; the offset of the first."""
        return await self.submit_values(*map(encode, commands))

    async def submit_values(self, *values: bytes | None) -> int:
        """Write anything to the catalog's commands."""
        return await self._send(self.topics.catalog_commands, [(b"", value) for value in values])

    async def upload(self, content: bytes, upload_id: str, chunk_bytes: int = limits.CHUNK_BYTES_MAX) -> PackageRef:
        """Upload an archive as the gateway does."""
        pieces = [content[start : start + chunk_bytes] for start in range(0, len(content), chunk_bytes)]
        first = await self.put_chunks(upload_id, dict(enumerate(pieces)))
        return PackageRef(
            upload_id=upload_id,
            first_offset=first,
            last_offset=first + len(pieces) - 1,
            chunks=len(pieces),
            archive_bytes=len(content),
            archive_digest=blake3(content).hexdigest(),
            wakes_itself=False,
        )

    async def put_chunks(self, upload_id: str, pieces: Mapping[int, bytes]) -> int:
        """Write single chunks; the offset of the first."""
        records = [
            (
                f"chunk/{upload_id}/{index}".encode(),
                encode(PackageChunk(upload_id=upload_id, index=index, content=piece)),
            )
            for index, piece in pieces.items()
        ]
        return await self._send(self.topics.packages, records)

    async def publish_schema(self, text: str) -> None:
        """Publish a schema as services do."""
        await self._send(self.topics.schemas, [(b"fingerprint", text.encode())])

    async def replies(self, count: int) -> list[Reply]:
        """The first replies to partition 5, once there are so many."""
        return await self.read(self.topics.replies, REPLY_PARTITION, count)

    async def events(self) -> list[CatalogEvent]:
        """The catalog's history, without the cluster's creation."""
        records: list[CatalogRecord] = await self.everything(self.topics.catalog, 0)
        return [record.event for record in records[1:]]

    async def everything(self, topic: str, partition: int) -> list[Any]:
        """Every committed record of a partition as it is now."""
        end = await self.log.end_offset(topic, partition)
        return await self._read(topic, partition, end=end)

    async def read(self, topic: str, partition: int, count: int) -> list[Any]:
        """The first records of a partition, once there are so many."""
        return await self._read(topic, partition, count=count)

    async def _read(self, topic: str, partition: int, *, end: int | None = None, count: int | None = None) -> list[Any]:
        reader = await self.log.reader(topic)
        found: list[Any] = []
        try:
            reader.assign({partition: 0})
            while (count is not None and len(found) < count) or (end is not None and reader.position(partition) < end):
                read = await reader.read(wait_ms=100, records_max=1_000)
                found += [decode(record.value) for record in read.get(partition, ())]
        finally:
            await reader.close()
        return found

    async def _send(self, topic: str, records: Sequence[tuple[bytes | None, bytes | None]]) -> int:
        sender = await self.log.sender()
        try:
            return await sender.send(topic, 0, records)
        finally:
            await sender.close()


async def created_world(log: Log, topics: Topics, table: Sequence[Topic]) -> World:
    """The topics of this table, and the first record of `aion.catalog`."""
    await log.create_topics(table)
    commands = next(topic for topic in table if topic.name == topics.commands)
    created = ClusterCreated(
        partitions=commands.partitions,
        partitioner=PARTITIONER,
        topics=tuple(TopicCreated(name=topic.name, partitions=topic.partitions) for topic in table),
    )
    world = World(log=log, topics=topics, created=created)
    value = encode(CatalogRecord(recorded_at=world.clock.now_ms(), event=created))
    sender = await log.sender()
    try:
        await sender.send(topics.catalog, 0, [(None, value)])
    finally:
        await sender.close()
    return world


def table_of(topics: Topics, partitions: int) -> Sequence[Topic]:
    """The topics of a small cluster."""
    return wanted(topics, partitions=partitions, replication=1, insync_min=1)


def surroundings(world: World, check: CheckPackage, log: Log | None = None) -> Surroundings:
    """What a catalog on this world works with."""
    return Surroundings(
        log=log or world.log,
        topics=world.topics,
        cluster=world.created,
        clock=world.clock,
        check=check,
        reply_partition=REPORT_PARTITION,
    )


def verdicts(**by_upload: Checked | Refused) -> CheckPackage:
    """Checks whose outcome is known before: by upload id."""

    async def check(ref: PackageRef) -> Checked | Refused:
        return by_upload[ref.upload_id]

    return check


@asynccontextmanager
async def catalog(around: Surroundings, member_id: str = "catalog-1", session_ms: int = 6_000) -> AsyncIterator[None]:
    """A catalog that runs inside the block and is stopped behind it."""
    stop = asyncio.Event()
    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        tasks.create_task(serve_until(stop, around, member_id=member_id, session_ms=session_ms))
        try:
            yield
        finally:
            stop.set()


def newer_schema(record: type) -> ResolvedSchema:
    """The schema of a later release: as ours, with one more field at its end, an int."""
    ours = json.loads(resolved()[full_name(record)].text)
    return resolve({**ours, "fields": [*ours["fields"], {"name": "added_later", "type": "int"}]})
