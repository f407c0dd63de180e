"""Replaces workflow code under running workflows, on a real Kafka broker and real Erlang VMs.

Orders wait for a signal on version 1, version 2 is deployed under them, more orders start, the executor is killed with -9, and
everything is released. Each order must answer with the code it began on. Runs in a folder of its own, on free ports, and leaves
nothing behind; ends with 0 if all that was true.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.table import Table

from aion_client import Client, Json
from aion_client.problem import Unreachable

HERE = Path(__file__).resolve().parent
ORDERS_PER_VERSION = 3
START_S = 120.0
STOP_S = 30.0
POLL_S = 0.1
T = TypeVar("T")
# Twelve pieces at 250: version 2 gives a tenth off from ten pieces on.
ORDER: Mapping[str, Json] = {"item": "tea", "quantity": 12, "unit_price": 250}
TOTALS: Mapping[str, int] = {"v1": 3_000, "v2": 2_700}


class DemoFailed(Exception):
    """Something was not as promised; the message says what."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A started order, and the label of the version that must answer it."""

    workflow_id: str
    run_id: str
    label: str
    version: str


def main() -> int:
    """The whole demo; the exit code."""
    console = Console(highlight=False, soft_wrap=True)
    began = time.monotonic()
    try:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
        with (
            tempfile.TemporaryDirectory(prefix="aion-demo-", ignore_cleanup_errors=True) as folder,
            server(Path(folder), console) as url,
        ):
            show(Path(folder), url, console)
    except DemoFailed as failure:
        console.print(f"[red]{failure}[/]")
        return 1
    except KeyboardInterrupt:
        return 130
    console.print(f"\nEvery order answered with the code it began on. {time.monotonic() - began:.0f} s, nothing left behind.")
    console.print("The code is in examples/order_release. To try it by hand: the five minutes in README.md.")
    return 0


def show(folder: Path, url: str, console: Console) -> None:
    """The story, told as it happens. Raises `DemoFailed`."""
    with Client(url) as client:
        orders = start_orders(client, "v1", deploy(url, "v1", console))
        console.print(f"{len(orders)} orders started; they wait for the signal [b]release[/]")
        later = start_orders(client, "v2", deploy(url, "v2", console))
        console.print(f"{len(later)} more orders started, on the new code; the first ones were left alone")
        orders += later
        killed = kill_executor(folder)
        console.print(f"executor killed with -9 (pid {killed}), and nobody waits for its return")
        for order in orders:
            client.signal(order.workflow_id, "release", {"by": "ada"})
        console.print("all orders released\n")
        console.print(answers(client, orders))
        versions = {(event["type"], event["data"].get("version")) for event in client.history(orders[0].workflow_id)["events"]}
        if ("RunStarted", orders[0].version) not in versions:
            raise DemoFailed("the history of the first order does not name its version")


def deploy(url: str, label: str, console: Console) -> str:
    """`aion deploy` of one version's source, as a user would type it; the version's hash."""
    source = HERE / label / "order.erl"
    command = [str(Path(sys.executable).with_name("aion")), "--json", "deploy", str(source)]
    done = subprocess.run(command, env={**os.environ, "AION_URL": url}, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise DemoFailed(f"aion deploy {source.name} failed: {done.stderr.strip()}")
    version = str(json.loads(done.stdout)["records"][0]["version"])
    console.print(f"[b]$ aion deploy {label}/order.erl[/]    version {version[:12]}")
    return version


def start_orders(client: Client, label: str, version: str) -> list[Order]:
    """Some orders, which must run on the version that was just deployed."""
    orders = []
    for number in range(1, ORDERS_PER_VERSION + 1):
        started = client.start("order", workflow_id=f"order-{label}-{number}", input=ORDER)
        if started["version"] != version:
            raise DemoFailed(f"{started['workflow_id']} started on {started['version']}, not on {version}")
        orders.append(
            Order(workflow_id=started["workflow_id"], run_id=started["run_id"], label=label, version=started["version"])
        )
    return orders


def kill_executor(folder: Path) -> int:
    """kill -9 of the only executor; its pid."""
    pid = int(json.loads((folder / "stack.json").read_text())["executor-1"]["pid"])
    os.kill(pid, signal.SIGKILL)
    return pid


def answers(client: Client, orders: list[Order]) -> Table:
    """Run, version and answer of each order. Raises `DemoFailed` when one answered with other code than it began on."""
    table = Table("run", "version", "answer")
    for order in orders:
        ended = client.wait(order.workflow_id)
        result = ended.get("result")
        if not isinstance(result, Mapping) or result.get("total") != TOTALS[order.label]:
            raise DemoFailed(f"{order.workflow_id} of {order.label} ended as {json.dumps(ended)}")
        table.add_row(order.workflow_id, f"{order.label}  {order.version[:12]}", json.dumps(result))
    return table


@contextmanager
def server(folder: Path, console: Console) -> Iterator[str]:
    """The whole system in child processes, ready; the gateway's address. Stopped at the end, however it comes."""
    console.print("starting a Kafka broker, catalog, executor and gateway in a temporary folder ...")
    output = folder / "dev.log"
    command = [sys.executable, "-m", "aion_server", "dev", "--data-dir", str(folder), "--http-port", "0", "--kafka-port", "0"]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("AION_")}
    environment["AION_PARENT_PID"] = str(os.getpid())
    with output.open("wb") as log:
        dev = subprocess.Popen([*command, "--partitions", "4"], stdout=log, stderr=log, env=environment, start_new_session=True)
    try:
        yield until_ready(folder, dev)
    finally:
        dev.terminate()
        try:
            dev.wait(STOP_S)
        except subprocess.TimeoutExpired:
            dev.kill()
            dev.wait()


def until_ready(folder: Path, dev: "subprocess.Popen[bytes]") -> str:
    """Wait for the gateway; its address. Raises `DemoFailed` with the server's own words."""
    url = poll(lambda: gateway_url(folder), dev, folder)
    with Client(url) as client:
        poll(lambda: is_ready(client), dev, folder)
    return url


def gateway_url(folder: Path) -> str | None:
    """Once the gateway was started."""
    stack = folder / "stack.json"
    gateway = json.loads(stack.read_text()).get("gateway") if stack.exists() else None
    return f"http://{gateway['address']}" if gateway else None


def is_ready(client: Client) -> bool:
    """Whether a start would work now."""
    try:
        return client.ready()["ready"]
    except Unreachable:
        return False


def poll(condition: Callable[[], T | None], dev: "subprocess.Popen[bytes]", folder: Path) -> T:
    """The condition's first true value."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if value := condition():
            return value
        if dev.poll() is not None:
            break
        time.sleep(POLL_S)
    words = (folder / "dev.log").read_text(errors="replace")[-2_000:].strip()
    raise DemoFailed(f"the server did not become ready; it said:\n{words}")


if __name__ == "__main__":
    sys.exit(main())
