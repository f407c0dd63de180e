"""An executor that cannot get one package: its runs wait and say why, all others go on, and they do when it is there."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from blake3 import blake3

from acceptance.packages import RELOAD, packed, reload_package
from acceptance.stack import Api, Stack
from aion_common.ids import Namespace, WorkflowId, workflow_key
from aion_common.kafka.partitioner import partition_of
from support import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")

OTHER = "echoes"
OTHER_SOURCE = "-module(echoes).\n-export([run/1]).\nrun(_) -> receive {aion_signal, _, Payload} -> Payload end.\n"


@pytest_asyncio.fixture(loop_scope="session")
async def stack(tmp_path: Path) -> AsyncIterator[Stack]:
    """Two executors: one loses what it has of a package, the other keeps it."""
    stack = Stack(tmp_path, executors=2)
    await stack.start()
    yield stack
    await stack.check()
    assert await stack.stop() == 0


def spoil(stack: Stack, content: bytes) -> None:
    """Change one byte of what the broker has on disk of this content: the checksum of its batch does not fit any more."""
    (segment,) = (stack.folder / "data" / "broker").glob("**/aion.packages-0/*.log")
    stored = bytearray(segment.read_bytes())
    place = stored.find(content)
    assert place > 0, "chunks are stored as they are"
    stored[place] ^= 0xFF
    segment.write_bytes(stored)


def ids(stack: Stack, name: str) -> list[str]:
    """A workflow id for each partition."""
    found: dict[int, str] = {}
    number = 0
    while len(found) < stack.partitions:
        key = workflow_key(Namespace("default"), WorkflowId(f"{name}-{number}"))
        found.setdefault(partition_of(key, stack.partitions), f"{name}-{number}")
        number += 1
    return list(found.values())


async def test_executor_that_cannot_get_a_package_keeps_all_other_runs_going_and_says_so(stack: Stack) -> None:
    api = Api(stack, "default")
    archive = reload_package(1)
    version = (await api.deploy(archive))["records"][0]["version"]
    await api.deploy(packed(OTHER, OTHER_SOURCE, "run"))
    parked, others = ids(stack, "parked"), ids(stack, "other")
    for workflow_id in parked:
        await api.start(RELOAD, workflow_id=workflow_id)
    for workflow_id in others:
        await api.start(OTHER, workflow_id=workflow_id)
    folders = [stack.folder / "data" / f"executor-{number}" / "packages" for number in (1, 2)]
    await eventually(lambda: all(len(list(folder.glob("*.aion"))) == 2 for folder in folders))

    await stack.stop()
    spoil(stack, archive[:4_000])
    shutil.rmtree(folders[0])
    await stack.start()

    async def hindered() -> list[str]:
        descriptions = [await api.describe(workflow_id) for workflow_id in parked]
        return [told["workflow_id"] for told in descriptions if "not fetched" in told.get("hindered_by", "")]

    async def all_hindered() -> list[str]:
        """Of both partitions of the executor."""
        found = await hindered()
        return found if len(found) == 2 else []

    for workflow_id in (*parked, *others):
        await api.signal(workflow_id, "go", 7)
    waiting = await eventually(all_hindered)
    for workflow_id in sorted({*parked, *others} - {*waiting}):
        await api.result(workflow_id)
    for workflow_id in ids(stack, "new"):
        await api.start(OTHER, workflow_id=workflow_id)
        await api.signal(workflow_id, "go", workflow_id)
        assert (await api.result(workflow_id))["result"] == workflow_id
    await api.deploy(reload_package(2))
    for workflow_id in ids(stack, "next"):
        assert await api.run_once(RELOAD, workflow_id) == 2
    assert await hindered() == waiting
    assert f'aion_versions_in_trouble{{version="{version}"}} 1.0' in await stack.metrics()
    assert (await stack.http.get("/readyz")).status_code == 200
    log = (stack.folder / "data" / "logs" / "executor-1.log").read_text()
    assert all(line in log for line in ("package not fetched", version))

    move_in(folders[1], folders[0], archive)
    for workflow_id in waiting:
        assert (await api.result(workflow_id, wait_ms=60_000))["result"] == 1
        assert "hindered_by" not in await api.describe(workflow_id)
    assert "aion_versions_in_trouble{" not in await stack.metrics()


def move_in(source: Path, target: Path, archive: bytes) -> None:
    """What an operator does: copy the archive from where it is."""
    name = f"{blake3(archive).hexdigest()}.aion"
    shutil.copy(source / name, target / f"{name}.part")
    (target / f"{name}.part").replace(target / name)
