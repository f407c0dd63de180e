"""The whole system as a user runs it: `aion-server dev` as a child process, spoken to by HTTP; killed piece by piece."""

import asyncio
import json
import os
import shutil
import signal
import sys
from collections.abc import Collection, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from aion_common.kafka.client import connect
from aion_common.kafka.reading import records_between
from aion_common.kafka.topics import Topics
from aion_common.records.owners import Owner
from aion_common.wire import decode
from aion_server.broker import free_port
from aion_server.check import Report, check_cluster
from support import eventually

READY_S = 60.0
CALL_S = 60.0


@dataclass(slots=True)
class Stack:
    """A running system over a folder. `http` speaks to its gateway."""

    folder: Path
    executors: int = 1
    partitions: int = 4
    http_port: int = field(default_factory=free_port)
    kafka_port: int = field(default_factory=free_port)
    _process: asyncio.subprocess.Process | None = None
    _http: httpx.AsyncClient | None = None

    @property
    def http(self) -> httpx.AsyncClient:
        """The gateway."""
        assert self._http is not None, "a stack is started first"
        return self._http

    async def start(self) -> None:
        """Start it and wait until it is ready."""
        with (self.folder / "dev.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "aion_server",
                "dev",
                *("--data-dir", str(self.folder / "data")),
                *("--http-port", str(self.http_port)),
                *("--kafka-port", str(self.kafka_port)),
                *("--executors", str(self.executors)),
                *("--partitions", str(self.partitions)),
                stdout=log,
                stderr=log,
                env={key: value for key, value in os.environ.items() if not key.startswith("AION_")},
            )
        self._http = httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.http_port}", timeout=CALL_S, trust_env=False)
        await self.ready()

    async def ready(self) -> None:
        """Wait until a start would work. Fails with the end of the log when `dev` has ended."""
        assert self._process is not None

        async def is_ready() -> bool:
            assert self._process is not None
            assert self._process.returncode is None, (self.folder / "dev.log").read_text()[-4000:]
            try:
                return (await self.http.get("/readyz")).status_code == httpx.codes.OK
            except httpx.TransportError:
                return False

        await eventually(is_ready, within_s=READY_S)

    async def stop(self) -> int:
        """SIGTERM to `dev`; its exit code."""
        assert self._process is not None
        if self._process.returncode is None:
            self._process.terminate()
        code = await self._process.wait()
        await self.http.aclose()
        return code

    def pids(self) -> Mapping[str, int]:
        """The services' processes as `dev` knows them, by name."""
        stated = json.loads((self.folder / "data" / "stack.json").read_text(encoding="utf-8"))
        return {name: service["pid"] for name, service in stated.items()}

    def vms(self) -> list[int]:
        """The Erlang VMs of all executors."""
        return vms_of([pid for name, pid in self.pids().items() if name.startswith("executor")])

    async def kill(self, service: str) -> None:
        """kill -9, then wait until another process has its place and a start would work."""
        pid = self.pids()[service]
        os.kill(pid, signal.SIGKILL)
        await eventually(lambda: self.pids().get(service, pid) != pid, within_s=READY_S)
        await self.ready()

    async def kill_all(self, services: Collection[str] | None = None) -> None:
        """kill -9 of these services, or of every one and the broker, at once; then wait until others have their places and a
        start would work."""
        before = {name: pid for name, pid in self.pids().items() if services is None or name in services}
        for pid in before.values():
            os.kill(pid, signal.SIGKILL)
        await eventually(lambda: all(self.pids().get(name, pid) != pid for name, pid in before.items()), within_s=READY_S)
        await self.ready()

    async def check(self) -> Report:
        """Read all histories; fail if one breaks a promise."""
        log = await connect(f"127.0.0.1:{self.kafka_port}")
        try:
            report = await check_cluster(log, Topics("aion."))
        finally:
            await log.close()
        assert not report.broken, report.broken
        return report

    async def metrics(self) -> str:
        """What all executors tell."""
        addresses = set(await self._owners())
        async with httpx.AsyncClient(trust_env=False) as client:
            return "".join([(await client.get(f"http://{address}/metrics")).text for address in addresses])

    async def _owners(self) -> list[str]:
        log = await connect(f"127.0.0.1:{self.kafka_port}")
        topics = Topics("aion.")
        try:
            end = await log.end_offset(topics.owners, 0)
            newest: dict[int, Owner] = {}
            async with aclosing(records_between(log, topics.owners, 0, end)) as portions:
                async for records in portions:
                    for owner in (decode(record.value) for record in records):
                        newest[owner.partition] = max(owner, newest.get(owner.partition, owner), key=_epoch)
            return [owner.address for owner in newest.values()]
        finally:
            await log.close()

    async def kill_vms(self) -> None:
        """kill -9 of every VM."""
        for pid in self.vms():
            os.kill(pid, signal.SIGKILL)
        await self.ready()

    async def wipe_stores(self) -> None:
        """Stop everything, delete every store, start again."""
        await self.stop()
        stores = list((self.folder / "data").glob("executor-*/store"))
        assert stores, "executors keep their stores in their folders"
        for store in stores:
            shutil.rmtree(store)
        await self.start()


def _epoch(owner: Owner) -> int:
    return owner.owner_epoch


def vms_of(executors: Collection[int]) -> list[int]:
    """The Erlang VMs that are children of these processes."""
    return [pid for pid in _all_pids() if _parent(pid) in executors and b"beam" in _command(pid)]


def _all_pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]


def _parent(pid: int) -> int:
    try:
        return int((Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return -1


def _command(pid: int) -> bytes:
    try:
        return (Path("/proc") / str(pid) / "cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


@dataclass(frozen=True, slots=True)
class Api:
    """The calls of one namespace, as a user makes them. Each asserts that it succeeded unless it says otherwise."""

    stack: Stack
    namespace: str

    async def call(self, method: str, path: str, **given: Any) -> httpx.Response:
        """Any call."""
        params = {"namespace": self.namespace, **given.pop("params", {})}
        return await self.stack.http.request(method, path, params=params, **given)

    async def deploy(self, archive: bytes) -> dict[str, Any]:
        """Load a package."""
        return _json(await self.call("POST", "/v1/packages", content=archive), 200)

    async def versions(self) -> list[dict[str, Any]]:
        """What is loaded."""
        versions: list[dict[str, Any]] = _json(await self.call("GET", "/v1/versions"), 200)["versions"]
        return versions

    async def start(self, workflow_type: str, *, key: str | None = None, **body: Any) -> dict[str, Any]:
        """Start a run."""
        headers = {} if key is None else {"Idempotency-Key": key}
        answer = await self.call("POST", "/v1/workflows", json={"workflow_type": workflow_type, **body}, headers=headers)
        return _json(answer, 201)

    async def signal(self, workflow_id: str, name: str, payload: Any = None, *, key: str | None = None) -> dict[str, Any]:
        """Signal the newest run."""
        headers = {} if key is None else {"Idempotency-Key": key}
        path = f"/v1/workflows/{workflow_id}/signals/{name}"
        return _json(await self.call("POST", path, json=payload, headers=headers), 202)

    async def result(self, workflow_id: str, wait_ms: int = 30_000) -> dict[str, Any]:
        """The result of the newest run, which must close within the wait."""
        path = f"/v1/workflows/{workflow_id}/result"
        return _json(await self.call("GET", path, params={"wait_ms": wait_ms}), 200)

    async def describe(self, workflow_id: str) -> dict[str, Any]:
        """The newest run."""
        return _json(await self.call("GET", f"/v1/workflows/{workflow_id}"), 200)

    async def history(self, workflow_id: str) -> list[dict[str, Any]]:
        """The newest run's events."""
        events: list[dict[str, Any]] = _json(await self.call("GET", f"/v1/workflows/{workflow_id}/history"), 200)["events"]
        return events

    async def unload(self, version: str) -> httpx.Response:
        """Try to unload a version."""
        return await self.call("DELETE", f"/v1/versions/{version}")

    async def run_once(self, workflow_type: str, workflow_id: str) -> Any:
        """Start, signal, result."""
        await self.start(workflow_type, workflow_id=workflow_id)
        await self.signal(workflow_id, "go")
        return (await self.result(workflow_id))["result"]

    async def terminal_events(self, workflow_id: str) -> list[str]:
        """The names of the newest run's terminal events: one, if all is well."""
        terminal = {"RunCompleted", "RunFailed", "RunCancelled", "RunTerminated", "RunTimedOut"}
        return [event["type"] for event in await self.history(workflow_id) if event["type"] in terminal]

    async def recorded_version(self, workflow_id: str) -> str:
        """The version in the newest run's RunStarted."""
        version: str = (await self.history(workflow_id))[0]["data"]["version"]
        return version


def _json(answer: httpx.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status, f"{answer.status_code} {answer.text}"
    body: dict[str, Any] = answer.json()
    return body
