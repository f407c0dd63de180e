"""From uploaded chunks to a verdict: what is fetched is what was sent, and every flaw is a refusal in words."""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from msgspec.structs import replace

from aion_catalog.core.decision import Checked, Refused
from aion_catalog.shell.packages import check_package
from aion_common import limits
from aion_common.errors import BadPackage, Unavailable, VmDied
from aion_common.ids import WorkflowType
from aion_common.kafka.topics import Topics
from aion_common.package.archive import build_archive, write_archive
from aion_common.package.chunks import fetch_archive
from aion_common.package.manifest import Json
from aion_common.records.common import PackageRef, RunTimeout
from aion_common.testing.memory_cluster import MemoryCluster
from aion_common.testing.memory_log import MemoryLog
from aion_common.wire import encode
from catalog.given import load
from catalog.world import World, created_world, table_of

TOPICS = Topics("test.")
CONTENT = bytes(range(256)) * 5


@pytest.fixture
async def world() -> World:
    return await created_world(MemoryLog(MemoryCluster()), TOPICS, table_of(TOPICS, 1))


@dataclass(frozen=True, slots=True)
class Loaded:
    """A report of modules that load."""

    wakes_itself: bool = False
    warnings: Sequence[str] = ()


async def all_load(modules: Sequence[tuple[str, bytes]]) -> Loaded:
    return Loaded()


async def test_an_archive_comes_back_from_between_other_uploads(world: World) -> None:
    await world.upload(b"other", "before")
    mine = await world.put_chunks("mine", {0: CONTENT[:1000]})
    await world.put_chunks("mine-too", {0: b"x", 1: b"y"})
    last = await world.put_chunks("mine", {1: CONTENT[1000:]})
    await world.upload(b"other", "behind")
    whole = await world.upload(CONTENT, "whole", chunk_bytes=1000)
    ref = replace(whole, upload_id="mine", first_offset=mine, last_offset=last)

    assert await fetch_archive(world.log, TOPICS, ref) == CONTENT
    assert await fetch_archive(world.log, TOPICS, whole) == CONTENT


async def test_a_chunk_that_was_sent_twice_counts_once(world: World) -> None:
    whole = await world.upload(CONTENT, "whole", chunk_bytes=1000)
    last = await world.put_chunks("whole", {1: CONTENT[1000:]})

    assert await fetch_archive(world.log, TOPICS, replace(whole, last_offset=last)) == CONTENT


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"chunks": 3}, "2 of the archive's 3 uploaded chunks"),
        ({"chunks": 1}, "chunk 1 stands among the archive's 1"),
        ({"chunks": limits.PACKAGE_CHUNKS_MAX + 1}, "the archive has 1001 chunks"),
        ({"chunks": 0}, "the archive has 0 chunks"),
        ({"upload_id": "unknown"}, "0 of the archive's 2"),
        ({"first_offset": 1}, "1 of the archive's 2"),
        ({"first_offset": -5, "last_offset": 2**40, "upload_id": "unknown"}, "0 of the archive's 2"),
        ({"first_offset": 90, "last_offset": 99}, "0 of the archive's 2"),
        ({"first_offset": 1, "last_offset": 0}, "0 of the archive's 2"),
        ({"archive_digest": "0" * 64}, "are not the archive that was sent"),
        ({"archive_bytes": 2000}, "are not the archive that was sent"),
        ({"archive_bytes": 1279}, "hold more than the archive"),
        ({"archive_bytes": 0}, "the archive has 0 bytes"),
        ({"archive_bytes": limits.ARCHIVE_BYTES_MAX + 1}, "are allowed"),
    ],
)
async def test_chunks_that_are_not_what_the_reference_says_are_refused(
    world: World, wrong: dict[str, int | str], sentence: str
) -> None:
    whole = await world.upload(CONTENT, "whole", chunk_bytes=1000)

    with pytest.raises(BadPackage, match=sentence):
        await fetch_archive(world.log, TOPICS, replace(whole, **wrong))


@pytest.mark.parametrize(
    ("value", "sentence"),
    [(b"garbage", "cannot be read"), (None, "cannot be read"), (encode(load("c")), "not a chunk")],
)
async def test_a_strange_record_among_the_chunks_is_refused(world: World, value: bytes | None, sentence: str) -> None:
    whole = await world.upload(CONTENT, "whole", chunk_bytes=1000)
    sender = await world.log.sender()
    last = await sender.send(TOPICS.packages, 0, [(b"chunk/whole/2", value)])

    with pytest.raises(BadPackage, match=sentence):
        await fetch_archive(world.log, TOPICS, replace(whole, last_offset=last))


async def test_what_is_no_archive_is_refused_in_words(world: World) -> None:
    ref = await world.upload(b"no archive", "text")

    verdict = await check_package(world.log, TOPICS, all_load, ref)

    assert isinstance(verdict, Refused)
    assert "not a ZIP" in verdict.reason


@pytest.fixture
async def uploaded(world: World, tmp_path: Path) -> PackageRef:
    return await world.upload(write_archive(build_archive(MANIFEST, [("order", beam(tmp_path))])), "order", 100)


REFUND: dict[str, Json] = {
    "workflow_type": "refund",
    "entry_module": "order",
    "entry_function": "park",
    "input_schema": {},
    "output_schema": {},
    "internal": False,
}

MANIFEST: dict[str, Json] = {
    "entry_module": "order",
    "entry_function": "run",
    "input_schema": {},
    "output_schema": {},
    "activities": [],
    "format_version": 1,
    "additional_workflows": [REFUND],
}


def beam(folder: Path) -> bytes:
    source = folder / "order.erl"
    source.write_text("-module(order).\n-export([run/1, park/1]).\nrun(_) -> 1.\npark(_) -> receive _ -> 1 end.\n")
    subprocess.run(["erlc", "+deterministic", source.name], cwd=folder, check=True)
    return (folder / "order.beam").read_bytes()


async def test_a_sound_package_is_described_whole(world: World, uploaded: PackageRef) -> None:
    async def load_modules(modules: Sequence[tuple[str, bytes]]) -> Loaded:
        assert [name for name, _ in modules] == ["order"]
        return Loaded(wakes_itself=True, warnings=("order:run/1 reads the clock",))

    verdict = await check_package(world.log, TOPICS, load_modules, uploaded)

    assert isinstance(verdict, Checked)
    assert verdict.types == ("order", "refund")
    assert (verdict.wakes_itself, verdict.warnings) == (True, ("order:run/1 reads the clock",))
    assert (len(verdict.version), len(verdict.manifest_digest)) == (64, 64)
    assert b'"version"' not in verdict.manifest_json


async def test_time_outs_come_from_the_manifest_rounded_up_and_no_longer_than_permitted(world: World, tmp_path: Path) -> None:
    manifest = MANIFEST | {
        "timeout": {"secs": 1, "nanos": 1},
        "additional_workflows": [
            REFUND,
            REFUND | {"workflow_type": "forever", "timeout": {"secs": 2**60, "nanos": 0}},
        ],
    }
    ref = await world.upload(write_archive(build_archive(manifest, [("order", beam(tmp_path))])), "timed")

    verdict = await check_package(world.log, TOPICS, all_load, ref)

    assert isinstance(verdict, Checked)
    assert verdict.timeouts == (
        RunTimeout(workflow_type=WorkflowType("order"), timeout_ms=1_001),
        RunTimeout(workflow_type=WorkflowType("forever"), timeout_ms=limits.RUN_TIMEOUT_MS_MAX),
    )


async def test_modules_that_do_not_load_are_refused_with_the_reason(world: World, uploaded: PackageRef) -> None:
    async def load_modules(modules: Sequence[tuple[str, bytes]]) -> Loaded:
        raise BadPackage("module 'order' needs OTP 99; this is OTP 25")

    verdict = await check_package(world.log, TOPICS, load_modules, uploaded)

    assert verdict == Refused(reason="module 'order' needs OTP 99; this is OTP 25")


async def test_a_vm_that_died_once_is_not_held_against_the_package(world: World, uploaded: PackageRef) -> None:
    tries: list[None] = []

    async def load_modules(modules: Sequence[tuple[str, bytes]]) -> Loaded:
        tries.append(None)
        if len(tries) == 1:
            raise VmDied("killed")
        return Loaded()

    assert isinstance(await check_package(world.log, TOPICS, load_modules, uploaded), Checked)


@pytest.mark.parametrize("failure", [VmDied("killed"), Unavailable("too slow")])
async def test_a_package_that_can_never_be_checked_is_refused(world: World, uploaded: PackageRef, failure: Exception) -> None:
    async def load_modules(modules: Sequence[tuple[str, bytes]]) -> Loaded:
        raise failure

    verdict = await check_package(world.log, TOPICS, load_modules, uploaded)

    assert isinstance(verdict, Refused)
    assert f"could not be checked ({failure})" in verdict.reason


async def test_warnings_and_reasons_are_bounded(world: World, uploaded: PackageRef) -> None:
    async def warned(modules: Sequence[tuple[str, bytes]]) -> Loaded:
        return Loaded(warnings=["ä" * 1000] * 250)

    async def refused(modules: Sequence[tuple[str, bytes]]) -> Loaded:
        raise BadPackage("ä" * 100_000)

    verdict = await check_package(world.log, TOPICS, warned, uploaded)
    assert isinstance(verdict, Checked)
    assert len(verdict.warnings) == limits.PACKAGE_WARNINGS_MAX
    assert verdict.warnings[0] == "ä" * (limits.PACKAGE_WARNING_BYTES_MAX // 2)
    assert verdict.warnings[-1] == "and 151 more warnings"

    refusal = await check_package(world.log, TOPICS, refused, uploaded)
    assert isinstance(refusal, Refused)
    assert len(refusal.reason.encode()) == limits.REASON_BYTES_MAX
