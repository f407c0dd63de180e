"""Histories for the checker: sound ones, made by the real loop, and the same with one record changed."""

from collections.abc import Callable

from msgspec.structs import replace

from aion_common.clock import SystemClock
from aion_common.kafka.topics import Topics
from aion_common.records.events import HistoryRecord
from aion_common.settings import Settings
from aion_common.testing.memory_cluster import MemoryCluster
from aion_common.testing.memory_log import MemoryLog
from aion_common.wire import decode, encode
from aion_common.wire.history import CHAIN_START, seal
from aion_server.check import Report, check_cluster
from aion_server.init import create
from executor.world import World

TOPICS = Topics("aion.")

Change = Callable[[HistoryRecord], HistoryRecord]


async def checked(history: list[bytes], world: World) -> Report:
    """What the checker says of a history and the commands behind it."""
    log = MemoryLog(MemoryCluster(SystemClock()))
    await create(log, Settings(partitions=1), SystemClock())
    sender = await log.sender()
    wishes = [getattr(given, "command", None) or getattr(given, "marker", None) for given in world.commands]
    values = [b"garbage" if wish is None else encode(wish) for wish in wishes]
    if values:
        await sender.send(TOPICS.commands, 0, [(b"", value) for value in values])
    await sender.send(TOPICS.history, 0, [(b"", value) for value in history])
    await sender.close()
    try:
        return await check_cluster(log, TOPICS)
    finally:
        await log.close()


def place_of(history: list[bytes], kind: type, number: int = 0) -> int:
    """The offset of the first event of this kind, or of a later one."""
    return [offset for offset, value in enumerate(history) if isinstance(decode(value).event, kind)][number]


def changed(world: World, kind: type, change: Change, number: int = 0) -> list[bytes]:
    """The world's history with one event of this kind changed, and the chains made to fit again: only the promise is broken."""
    history = list(world.history)
    at = place_of(history, kind, number)
    history[at] = encode(change(decode(history[at])))
    return chained(history)


def chained(history: list[bytes]) -> list[bytes]:
    """The history with every chain computed anew, over the records as they stand."""
    chains: dict[str, bytes] = {}
    sealed: list[bytes] = []
    for value in history:
        record = decode(value)
        made = seal(record, chains.get(record.run_id, CHAIN_START) if record.run_id else None)
        chains[record.run_id] = made.record.chain
        sealed.append(made.value)
    return sealed


def with_event(**fields: object) -> Change:
    """A change of some fields of the event."""
    return lambda record: replace(record, event=replace(record.event, **fields))


def assert_named(report: Report, sentence: str) -> None:
    """Fail unless the checker says so of some record."""
    assert any(sentence in broken for broken in report.broken), report.broken
