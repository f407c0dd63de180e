"""The example with activities: its demo, and its orders while everything under them is killed in the middle."""

import asyncio
import os
import sqlite3
import sys
from contextlib import AsyncExitStack, closing
from functools import partial
from pathlib import Path

import pytest

from acceptance.packages import packed
from acceptance.stack import Api, Stack
from support import eventually
from worker.processes import WorkerProcess, running

pytestmark = pytest.mark.asyncio(loop_scope="session")

EXAMPLE = Path(__file__).parents[2] / "examples" / "order_fulfillment"
LONG_MS = 600_000


class Shop:
    """What the activities have noted, and the workers that execute them."""

    def __init__(self, stack: Stack, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._bootstrap = f"127.0.0.1:{stack.kafka_port}"
        self._file = folder / "shop.db"
        self._folder = folder
        self._workers = 0
        monkeypatch.setenv("SHOP_DB", str(self._file))
        monkeypatch.syspath_prepend(str(EXAMPLE))

    async def worker(self, closing_last: AsyncExitStack) -> WorkerProcess:
        """Another one, killed at the end."""
        self._workers += 1
        command = [sys.executable, "-c", "from aion_cli.app import main; main()", "worker", "activities"]
        log = self._folder / f"worker-{self._workers}.log"
        return await closing_last.enter_async_context(running([*command, "--bootstrap", self._bootstrap], log))

    def happened(self, workflow_id: str) -> list[str]:
        """What was done for an order, in order."""
        return self._column("SELECT what FROM happened WHERE workflow = ? ORDER BY number", workflow_id)

    def charge_calls(self, workflow_id: str) -> list[str]:
        """The idempotency key of every attempt to charge it."""
        return self._column("SELECT key FROM calls WHERE activity = 'charge' AND workflow = ?", workflow_id)

    def _column(self, query: str, workflow_id: str) -> list[str]:
        with closing(sqlite3.connect(self._file, timeout=30)) as db:
            return [row[0] for row in db.execute(query, [workflow_id])]


async def order(api: Api, workflow_id: str, *, card: str = "good", pack_within_ms: int = LONG_MS, quantity: object = 1) -> None:
    """Start one."""
    given = {"item": "tea", "quantity": quantity, "cents": 250, "card": card, "pack_within_ms": pack_within_ms}
    await api.start("fulfillment", workflow_id=workflow_id, input=given)


async def stage(api: Api, workflow_id: str) -> object:
    """Its answer to the query; None while it has none."""
    answer = await api.call("POST", f"/v1/workflows/{workflow_id}/queries/stage")
    return answer.json() if answer.status_code == 200 else None


async def test_orders_survive_the_death_of_everything_and_are_charged_once(
    own_stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    api, shop = Api(own_stack, "default"), Shop(own_stack, tmp_path, monkeypatch)
    source = (EXAMPLE / "v1" / "fulfillment.erl").read_text(encoding="utf-8")
    await api.deploy(packed("fulfillment", source, "run"))
    async with AsyncExitStack() as closing_last:
        worker = await shop.worker(closing_last)
        await worker.ready()
        await order(api, "slow", card="slow")
        await order(api, "declined", card="declined")
        await order(api, "cancelled")
        await order(api, "forgotten", pack_within_ms=5_000)
        await eventually(lambda: "charge" in shop.happened("slow"))
        await worker.kill()
        await own_stack.kill_vms()
        await own_stack.kill("executor-1")
        await own_stack.kill("gateway")
        await shop.worker(closing_last)
        for waiting in ("slow", "cancelled"):
            await eventually(partial(is_at, api, waiting, "pack"), within_s=60)
        await own_stack.kill_all(["executor-1", "gateway"])
        await api.signal("slow", "packed", {"by": "ada"})
        assert (await api.call("POST", "/v1/workflows/cancelled/cancel", json={"reason": "changed my mind"})).status_code == 202
        assert (await api.result("slow"))["result"].keys() == {"reserve", "charge", "pack", "ship"}
        ended = {workflow_id: await api.result(workflow_id) for workflow_id in ("declined", "forgotten", "cancelled")}
    assert {workflow_id: end["status"] for workflow_id, end in ended.items()} == {
        "declined": "failed",
        "forgotten": "failed",
        "cancelled": "cancelled",
    }
    assert shop.happened("slow") == ["reserve", "charge", "ship"]
    assert shop.happened("declined") == ["reserve", "refund", "release"]
    assert shop.happened("forgotten") == shop.happened("cancelled") == ["reserve", "charge", "refund", "release"]
    assert len(shop.charge_calls("slow")) >= 2
    assert len(set(shop.charge_calls("slow"))) == 1
    for workflow_id in ("slow", *ended):
        assert len(await api.terminal_events(workflow_id)) == 1


async def test_an_order_that_is_no_order_names_the_field_and_undoes_nothing(
    own_stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    api, shop = Api(own_stack, "default"), Shop(own_stack, tmp_path, monkeypatch)
    source = (EXAMPLE / "v2" / "fulfillment.erl").read_text(encoding="utf-8")
    await api.deploy(packed("fulfillment", source, "run"))
    async with AsyncExitStack() as closing_last:
        await (await shop.worker(closing_last)).ready()
        await order(api, "many", quantity="many")
        ended = await api.result("many")
    assert ended["status"] == "failed"
    told = ended["failure"]["details"]
    assert (told["failed"], told["undone"], told["why"]["kind"]) == ("reserve", [], "bad_input")
    assert told["why"]["message"].startswith("order.quantity: ")


async def is_at(api: Api, workflow_id: str, wanted: str) -> bool:
    """Whether the order is at this step."""
    return await stage(api, workflow_id) == wanted


async def test_the_demo_keeps_its_word_and_leaves_nothing_behind(tmp_path: Path) -> None:
    demo = await asyncio.create_subprocess_exec(
        sys.executable,
        str(EXAMPLE / "demo.py"),
        env={**os.environ, "PYTHONPATH": ":".join(sys.path), "TMPDIR": str(tmp_path)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        said, _ = await demo.communicate()
    finally:
        if demo.returncode is None:
            demo.terminate()
            await demo.wait()
    assert demo.returncode == 0, said.decode()
    assert "no card was charged twice" in said.decode()
    assert left_in(tmp_path) == []


def left_in(folder: Path) -> list[str]:
    """What is in the folder, and the command lines of the processes that name it there or in their environment."""
    found = [str(path) for path in folder.iterdir()]
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command, surroundings = (process / "cmdline").read_bytes(), (process / "environ").read_bytes()
        except OSError:
            continue
        if str(folder).encode() in command + surroundings:
            found.append(command.replace(b"\0", b" ").decode(errors="replace"))
    return found
