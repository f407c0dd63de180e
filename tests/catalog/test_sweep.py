"""Uploads that nobody loaded are deleted after a day, and nothing else is."""

from collections.abc import AsyncIterator, Sequence

import pytest
from msgspec.structs import replace

from aion_catalog.core.state import CatalogState
from aion_catalog.shell import sweep as sweep_module
from aion_catalog.shell.sweep import Sweep
from aion_common import limits
from aion_common.errors import Unavailable
from aion_common.kafka.api import LogRecord
from aion_common.kafka.topics import Topics
from aion_common.records.common import PackageRef
from aion_common.testing.memory_cluster import MemoryCluster
from aion_common.testing.memory_log import MemoryLog
from catalog.given import DEFAULT, UPLOADED, V1, after_loads, checked, load
from catalog.world import World, catalog, created_world, surroundings, table_of, verdicts
from support import eventually

TOPICS = Topics("test.")
CHECKS = verdicts(loaded=checked(V1))


@pytest.fixture
def cluster() -> MemoryCluster:
    return MemoryCluster()


@pytest.fixture
async def world(cluster: MemoryCluster) -> World:
    world = await created_world(MemoryLog(cluster), TOPICS, table_of(TOPICS, 2))
    cluster.clock = world.clock
    return world


def deleted(cluster: MemoryCluster) -> Sequence[bytes | None]:
    return [record.key for record in cluster.records(TOPICS.packages, 0) if record.value is None]


async def load_it(world: World) -> PackageRef:
    """A version loaded from an upload of two chunks."""
    ref = replace(UPLOADED, upload_id="loaded")
    await world.put_chunks("loaded", {0: b"a", 1: b"b"})
    await world.submit(load("c1", package=ref))
    return ref


async def test_an_upload_that_nobody_loaded_is_deleted_after_a_day(cluster: MemoryCluster, world: World) -> None:
    await load_it(world)
    await world.put_chunks("abandoned", {0: b"x", 1: b"y", 2: b"z"})
    world.clock.time_ms += limits.UPLOAD_KEPT_MS
    await world.put_chunks("abandoned-later", {0: b"x"})
    async with catalog(surroundings(world, CHECKS)):
        await world.replies(1)
        world.clock.time_ms += limits.SWEEP_EVERY_MS
        gone = [f"chunk/abandoned/{index}".encode() for index in range(3)]
        await eventually(lambda: deleted(cluster) == gone)
        world.clock.time_ms += limits.UPLOAD_KEPT_MS
        await eventually(lambda: deleted(cluster) == [*gone, b"chunk/abandoned-later/0"])
    assert len(deleted(cluster)) == 4


async def test_what_is_no_chunk_and_what_is_deleted_already_is_left_alone(cluster: MemoryCluster, world: World) -> None:
    await world.put_chunks("abandoned", {0: b"x"})
    await world.put_chunks("no upload of ours", {0: b"x"})
    world.clock.time_ms += limits.UPLOAD_KEPT_MS + 1
    async with catalog(surroundings(world, CHECKS)):
        await eventually(lambda: deleted(cluster))
        await world.put_chunks("second", {0: b"x"})
        world.clock.time_ms += limits.UPLOAD_KEPT_MS + limits.SWEEP_EVERY_MS
        await eventually(lambda: len(deleted(cluster)) > 1)
    assert deleted(cluster) == [b"chunk/abandoned/0", b"chunk/second/0"]


async def test_an_upload_of_a_day_is_kept_as_long_as_its_newest_chunk_is_younger(cluster: MemoryCluster, world: World) -> None:
    await world.put_chunks("slow", {0: b"x"})
    await world.put_chunks("old", {0: b"x"})
    world.clock.time_ms += limits.UPLOAD_KEPT_MS + 1
    await world.put_chunks("slow", {1: b"y"})
    async with catalog(surroundings(world, CHECKS)):
        await eventually(lambda: deleted(cluster))
    assert deleted(cluster) == [b"chunk/old/0"]


async def test_many_chunks_are_deleted_in_several_transactions(cluster: MemoryCluster, world: World) -> None:
    count = limits.SWEPT_CHUNKS_MAX + 10
    await world.put_chunks("abandoned", dict.fromkeys(range(count), b"x"))
    world.clock.time_ms += limits.UPLOAD_KEPT_MS + 1
    async with catalog(surroundings(world, CHECKS)):
        await eventually(lambda: len(deleted(cluster)) >= count)
    assert len(set(deleted(cluster))) == len(deleted(cluster)) == count
    offsets = [record.offset for record in cluster.records(TOPICS.packages, 0) if record.value is None]
    assert offsets[-1] - offsets[0] == count, "between the two there is the first one's end"


async def test_what_was_loaded_in_the_meantime_is_not_deleted(world: World) -> None:
    await world.put_chunks("upload-1", {0: b"a", 1: b"b"})
    await world.put_chunks("old", {0: b"x"})
    world.clock.time_ms += limits.UPLOAD_KEPT_MS + 1
    sweep = Sweep(world.log, TOPICS, world.clock)
    before, later = CatalogState(), after_loads(checked(V1))
    assert later.versions[DEFAULT, V1].package.upload_id == "upload-1"

    walked = [await sweep.step(before) for _ in range(2)]
    found = [write.key for _ in range(5) for write in await sweep.step(later)]
    await sweep.close()
    assert (walked, found) == ([(), ()], [b"chunk/old/0"])


async def test_a_topic_that_cannot_be_read_is_tried_again_next_time_and_holds_up_nobody(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.put_chunks("abandoned", {0: b"x"})
    sweep = Sweep(world.log, TOPICS, world.clock)

    async def damaged(*_: object) -> AsyncIterator[Sequence[LogRecord]]:
        raise Unavailable("a checksum does not fit")
        yield ()

    with monkeypatch.context() as patched:
        patched.setattr(sweep_module, "records_between", damaged)
        assert await sweep.step(CatalogState()) == ()
    assert await sweep.step(CatalogState()) == ()
    world.clock.time_ms += limits.SWEEP_EVERY_MS + limits.UPLOAD_KEPT_MS
    found = [await sweep.step(CatalogState()) for _ in range(3)]
    assert [write.key for writes in found for write in writes] == [b"chunk/abandoned/0"]
    await sweep.close()
