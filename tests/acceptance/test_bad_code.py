"""Code that harms its VM: its run is blocked, its neighbours answer."""

import pytest

from acceptance.packages import fixture_source, packed
from acceptance.stack import Api
from support import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_run_that_ends_its_vm_is_blocked_and_its_neighbours_are_not(api: Api) -> None:
    types = {"halts_later": "halts_later", "neighbour": "neighbour"}
    await api.deploy(packed("killers", fixture_source("killers"), "neighbour", types))
    neighbours = [f"neighbour-{number}" for number in range(4)]
    for workflow_id in neighbours:
        await api.start("neighbour", workflow_id=workflow_id)
    await api.start("halts_later", workflow_id="killer")

    async def is_blocked() -> bool:
        return bool((await api.describe("killer"))["status"] == "blocked")

    await eventually(is_blocked, within_s=60)
    assert "died" in (await api.describe("killer"))["blocked"]["found"]
    for workflow_id in neighbours:
        await api.signal(workflow_id, "go", workflow_id)
        assert (await api.result(workflow_id))["result"] == workflow_id
