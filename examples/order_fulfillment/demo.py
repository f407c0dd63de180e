"""Orders with activities, through everything that can go wrong, on a real Kafka broker, real Erlang VMs and a real worker.

Orders are under way on version 1 when version 2 is deployed. While banks are being asked, the executor and the worker are
killed with -9. Every order must end once, as its card and its packer let it, with the code it began on, and no card may be
charged twice. Runs in a folder of its own, on free ports, and leaves nothing behind; ends with 0 if all that was true.
"""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.table import Table

from aion_client import Client, Json
from aion_client.answers import Result
from aion_client.problem import Problem, Unreachable

HERE = Path(__file__).resolve().parent
PATIENCE_S = 120.0
STOP_S = 30.0
POLL_S = 0.1
LONG_MS, SHORT_MS = 600_000, 6_000
STEPS: Mapping[str, frozenset[str]] = {
    "v1": frozenset({"reserve", "charge", "pack", "ship"}),
    "v2": frozenset({"reserve", "charge", "pack", "ship", "thank"}),
}
Process = subprocess.Popen[bytes]
T = TypeVar("T")


class DemoFailed(Exception):
    """Something was not as promised; the message says what."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """`label`: the version that must fulfil it. `failed`: the step that must fail; `happened`: what the shop must have done for
    it, in order, all of it once."""

    name: str
    label: str
    card: str = "good"
    pack_within_ms: int = LONG_MS
    failed: str | None = None
    happened: tuple[str, ...] = ("reserve", "charge", "ship")

    @property
    def input(self) -> Mapping[str, Json]:
        """As it is started."""
        return {
            "item": "tea",
            "quantity": 12,
            "cents": 3_000,
            "card": self.card,
            "pack_within_ms": self.pack_within_ms,
        }


THANKED = ("reserve", "charge", "ship", "thank")
UNDONE = ("reserve", "charge", "refund", "release")
FIRST = (
    Order(name="plain-1", label="v1"),
    Order(name="plain-2", label="v1"),
    Order(name="mute-bank", label="v1", card="mute"),
    Order(name="declined", label="v1", card="declined", failed="charge", happened=("reserve", "refund", "release")),
)
SECOND = (
    Order(name="plain-3", label="v2", happened=THANKED),
    Order(name="slow-bank-1", label="v2", card="slow", happened=THANKED),
    Order(name="slow-bank-2", label="v2", card="slow", happened=THANKED),
    Order(name="forgotten", label="v2", pack_within_ms=SHORT_MS, failed="pack", happened=UNDONE),
)


@dataclass(frozen=True, slots=True)
class Shop:
    """What activities.py has noted. A file that is not there yet is an empty one."""

    file: Path

    def happened(self, order: Order) -> list[tuple[str, str]]:
        """What was done for an order and under which idempotency key, the first first."""
        return self._rows("SELECT what, key FROM happened WHERE workflow = ? ORDER BY number", order.name)

    def charge_calls(self, order: Order) -> int:
        """How often a worker began to charge it."""
        return len(self._rows("SELECT activity, key FROM calls WHERE activity = 'charge' AND workflow = ?", order.name))

    def is_charged(self, order: Order) -> bool:
        """Whether money was taken."""
        return "charge" in [what for what, _ in self.happened(order)]

    def _rows(self, query: str, name: str) -> list[tuple[str, str]]:
        with closing(sqlite3.connect(self.file, timeout=STOP_S)) as db:
            try:
                return db.execute(query, [name]).fetchall()
            except sqlite3.OperationalError as error:
                if "no such table" in str(error):
                    return []
                raise


def main() -> int:
    """The whole demo; the exit code."""
    console = Console(highlight=False, soft_wrap=True)
    began = time.monotonic()
    try:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
        with (
            tempfile.TemporaryDirectory(prefix="aion-demo-", ignore_cleanup_errors=True) as folder,
            ExitStack() as closing_last,
        ):
            Demo(Path(folder), console, closing_last).show()
    except (DemoFailed, Problem) as failure:
        console.print(f"[red]{failure}[/]")
        return 1
    except KeyboardInterrupt:
        return 130
    console.print("\nEvery order ended once, with the code it began on, and no card was charged twice.")
    console.print(f"{time.monotonic() - began:.0f} s, nothing left behind. The code is in examples/order_fulfillment.")
    return 0


class Demo:
    """The story over one folder. What it starts is stopped by `closing_last`, however it ends."""

    def __init__(self, folder: Path, console: Console, closing_last: ExitStack) -> None:
        self._folder = folder
        self._console = console
        self._closing_last = closing_last
        self._shop = Shop(folder / "shop.db")

    def show(self) -> None:
        """Told as it happens. Raises `DemoFailed`."""
        say = self._console.print
        say("starting a Kafka broker, catalog, executor and gateway in a temporary folder ...")
        url = self._closing_last.enter_context(server(self._folder))
        worker = self._worker("worker-1")
        with Client(url) as client:
            versions = {"v1": self._deploy(url, "v1")}
            start(client, FIRST, versions["v1"])
            say(f"{len(FIRST)} orders started; one card will be declined, one bank takes the money and does not answer")
            waiting = [order for order in FIRST if order.failed is None]
            poll(lambda: all(stage(client, order) == "pack" for order in waiting), "orders wait to be packed")
            say(f"{len(waiting)} of them are charged and wait for the signal [b]packed[/], as the query [b]stage[/] says")
            versions["v2"] = self._deploy(url, "v2")
            start(client, SECOND, versions["v2"])
            say(f"{len(SECOND)} more started, on the new code; the first ones were left alone")
            slow = [order for order in SECOND if order.card == "slow"]
            poll(lambda: all(self._shop.is_charged(order) for order in slow), "banks have taken the money")
            executor = self._pid("executor-1")
            os.kill(executor, signal.SIGKILL)
            worker.kill()
            say(f"two banks have taken the money and not answered yet: executor (pid {executor}) and worker (pid {worker.pid})")
            say("killed with -9; the server starts the executor again, and we another worker")
            self._worker("worker-2")
            orders = (*FIRST, *SECOND)
            for order in orders:
                if order.failed is None:
                    client.signal(order.name, "packed", {"by": "ada"})
            say("all orders packed, except one that was forgotten\n")
            say(self._outcomes(client, orders, versions))
            if not any(self._shop.charge_calls(order) > 1 for order in slow):
                raise DemoFailed("no charge was executed again: the worker was not killed in the middle")

    def _outcomes(self, client: Client, orders: tuple[Order, ...], versions: Mapping[str, str]) -> Table:
        """How each order ended, how often a worker began to charge it, and how often it was charged. Raises `DemoFailed` when
        one is not as it should be."""
        table = Table("order", "code", "ended", "what the shop has done", "calls", "paid", box=None, pad_edge=False)
        for order in orders:
            version = versions[order.label]
            ended = check_end(order, client.wait(order.name))
            check_history(client, order, version)
            happened = self._shop.happened(order)
            if tuple(what for what, _ in happened) != order.happened:
                raise DemoFailed(f"for {order.name} the shop has done {happened}, not {order.happened}")
            keys = [key for what, key in happened if what == "charge"]
            done = " ".join(what for what, _ in happened)
            table.add_row(order.name, order.label, ended, done, str(self._shop.charge_calls(order)), str(len(keys)))
        return table

    def _deploy(self, url: str, label: str) -> str:
        """`aion deploy` of one version's source, as a user would type it; the version's hash."""
        source = HERE / label / "fulfillment.erl"
        done = subprocess.run(
            [str(Path(sys.executable).with_name("aion")), "--json", "deploy", str(source)],
            env={**environment(), "AION_URL": url},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise DemoFailed(f"aion deploy {source.name} failed: {done.stderr.strip()}")
        version = str(json.loads(done.stdout)["records"][0]["version"])
        self._console.print(f"[b]$ aion deploy {label}/fulfillment.erl[/]    version {version[:12]}")
        return version

    def _worker(self, name: str) -> Process:
        """`aion worker activities`, as a user would type it in this folder."""
        broker = json.loads((self._folder / "stack.json").read_text())["broker"]["address"]
        command = [str(Path(sys.executable).with_name("aion")), "worker", "activities", "--bootstrap", broker]
        own = {"AION_PARENT_PID": str(os.getpid()), "SHOP_DB": str(self._shop.file), "PYTHONDONTWRITEBYTECODE": "1"}
        surroundings = {**environment(), **own}
        with (self._folder / f"{name}.log").open("wb") as log:
            worker = subprocess.Popen(
                command, cwd=HERE, env=surroundings, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        self._closing_last.callback(stop, worker)
        self._console.print(f"[b]$ aion worker activities[/]    pid {worker.pid}")
        return worker

    def _pid(self, service: str) -> int:
        return int(json.loads((self._folder / "stack.json").read_text())[service]["pid"])


def start(client: Client, orders: tuple[Order, ...], version: str) -> None:
    """Start them; they must run on the version that was just deployed."""
    for order in orders:
        started = client.start("fulfillment", workflow_id=order.name, input=order.input)
        if started["version"] != version:
            raise DemoFailed(f"{order.name} started on {started['version']}, not on {version}")


def stage(client: Client, order: Order) -> Json:
    """What the order's code answers."""
    return client.query(order.name, "stage")


def check_end(order: Order, ended: Result) -> str:
    """How it ended, for people. Raises `DemoFailed` if it should have otherwise."""
    result, details = ended.get("result"), ended.get("failure", {}).get("details")
    if order.failed is None and isinstance(result, Mapping) and result.keys() == STEPS[order.label]:
        return "fulfilled"
    if isinstance(details, Mapping) and details.get("failed") == order.failed:
        why = details["why"]
        return f"failed: {why['kind'] if isinstance(why, Mapping) else why}"
    raise DemoFailed(f"{order.name} of {order.label} ended as {json.dumps(ended)}")


def check_history(client: Client, order: Order, version: str) -> None:
    """It names the version and has one end. Raises `DemoFailed`."""
    events = client.history(order.name)["events"]
    ends = [event["type"] for event in events if event["type"] in ("RunCompleted", "RunFailed")]
    if len(ends) != 1 or events[-1]["type"] != ends[0]:
        raise DemoFailed(f"{order.name} ended with {ends}")
    if events[0]["data"]["version"] != version:
        raise DemoFailed(f"the history of {order.name} names version {events[0]['data']['version']}, not {version}")


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """The whole system in child processes, ready; the gateway's address. Stopped at the end, however it comes."""
    command = [sys.executable, "-m", "aion_server", "dev", "--data-dir", str(folder), "--http-port", "0", "--kafka-port", "0"]
    surroundings = {**environment(), "AION_PARENT_PID": str(os.getpid())}
    with (folder / "dev.log").open("wb") as log:
        dev = subprocess.Popen(
            [*command, "--partitions", "4"], stdout=log, stderr=log, env=surroundings, start_new_session=True
        )
    try:
        yield until_ready(folder, dev)
    finally:
        stop(dev)


def environment() -> Mapping[str, str]:
    """That of this process, without settings that mean another system."""
    return {key: value for key, value in os.environ.items() if not key.startswith("AION_")}


def stop(process: Process) -> None:
    """SIGTERM, then kill -9; nothing if it has ended."""
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def until_ready(folder: Path, dev: Process) -> str:
    """Wait for the gateway; its address. Raises `DemoFailed` with the server's own words."""

    def gateway_url() -> str | None:
        if dev.poll() is not None:
            raise DemoFailed(f"the server ended; it said:\n{(folder / 'dev.log').read_text(errors='replace')[-2_000:].strip()}")
        stack = folder / "stack.json"
        gateway = json.loads(stack.read_text()).get("gateway") if stack.exists() else None
        return f"http://{gateway['address']}" if gateway else None

    url = poll(gateway_url, "the gateway is started")
    with Client(url) as client:
        poll(lambda: gateway_url() and is_ready(client), "the server is ready")
    return url


def is_ready(client: Client) -> bool:
    """Whether a start would work now."""
    try:
        return client.ready()["ready"]
    except Unreachable:
        return False


def poll(condition: Callable[[], T | None], fact: str) -> T:
    """The condition's first true value. Raises `DemoFailed` naming the fact when it does not come."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(POLL_S)
    raise DemoFailed(f"not true after {PATIENCE_S:.0f} s: {fact}")


if __name__ == "__main__":
    sys.exit(main())
