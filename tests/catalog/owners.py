"""The owners' side of an unload: somebody at every command partition who reports what pins a version when it is closing."""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager

from aion_common.ids import CommandId, RunId, WorkflowId
from aion_common.records.commands import CatalogMarker, VersionClosing
from aion_common.records.replies import Pin, PinCount, PinKind, PinsReported, Reply
from aion_common.wire import decode, encode
from catalog.world import World


def pins_of(number: int, kind: PinKind = PinKind.LIVE_RUN) -> tuple[Pin, ...]:
    """So many runs."""
    return tuple(Pin(kind=kind, workflow_id=WorkflowId(f"w{i}"), run_id=RunId(f"{i:032}")) for i in range(number))


def reported(partition: int, attempt: int, pins: Sequence[Pin] = ()) -> Reply:
    """An owner's report."""
    counts = tuple(
        PinCount(kind=kind, number=sum(pin.kind is kind for pin in pins))
        for kind in PinKind
        if any(pin.kind is kind for pin in pins)
    )
    answer = PinsReported(partition=partition, attempt=attempt, counts=counts, pins=tuple(pins))
    return Reply(command_id=CommandId(f"unload/{attempt}/{partition}"), answer=answer)


async def report(world: World, reply_partition: int, *replies: Reply) -> None:
    """Send them, as owners do."""
    sender = await world.log.sender()
    records = [(reply.command_id.encode(), encode(reply)) for reply in replies]
    await sender.send(world.topics.replies, reply_partition, records)
    await sender.close()


@asynccontextmanager
async def owners(
    world: World, pins: Mapping[int, Sequence[Pin]] | None = None, silent: Collection[int] = ()
) -> AsyncIterator[None]:
    """Owners of all partitions but the silent ones, who answer every attempt from the beginning of the log, while the block
    runs. `pins`: by partition."""
    async with asyncio.TaskGroup() as tasks:
        working = [
            tasks.create_task(_own(world, partition, (pins or {}).get(partition, ())))
            for partition in range(world.created.partitions)
            if partition not in silent
        ]
        yield
        for task in working:
            task.cancel()


async def _own(world: World, partition: int, pins: Sequence[Pin]) -> None:
    reader = await world.log.reader(world.topics.commands)
    try:
        reader.assign({partition: 0})
        while True:
            read = await reader.read(wait_ms=100, records_max=100)
            for marker in (decode(record.value) for record in read.get(partition, ())):
                if isinstance(marker, CatalogMarker) and isinstance(marker.body, VersionClosing):
                    closing = marker.body
                    await report(world, closing.reply_partition, reported(partition, closing.attempt, pins))
    finally:
        await reader.close()
