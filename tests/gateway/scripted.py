"""Scripted doubles of what stands behind a gateway: an executor that owns partitions, and the catalog.

They read the real topics and write real records, with only as much sense as the gateway can see: first answers are kept,
runs are open until told otherwise. A workflow type `refused/<code>` is refused with that code, every field of a rejection
set; so is an archive `refused/<code>`.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import httpx
from blake3 import blake3

from aion_common.ids import CommandId, RunId, Version, WorkflowId, WorkflowType, run_id_of, workflow_key
from aion_common.kafka.api import Log, Reader, Sender
from aion_common.kafka.topics import Topics
from aion_common.problems import problem
from aion_common.records.catalog import (
    CatalogCommand,
    CatalogEvent,
    CatalogRecord,
    LoadPackage,
    RouteType,
    TypesRouted,
    UnloadVersion,
    VersionLoaded,
    VersionRemoved,
)
from aion_common.records.commands import CancelRun, Command, IdConflict, SignalRun, StartRun, TerminateRun
from aion_common.records.owners import Owner
from aion_common.records.replies import (
    Answer,
    CancelAccepted,
    LoadedType,
    PackageAccepted,
    Pin,
    PinKind,
    Rejection,
    RejectionCode,
    Reply,
    RouteAccepted,
    SignalAccepted,
    StartAccepted,
    TerminateAccepted,
    UnloadAccepted,
)
from aion_common.wire import decode, encode

ROUTED = Version("a" * 64)
REFUSED = "refused/"
DEPLOYED_AT = 1_700_000_000_000


def rejection(code: str) -> Rejection:
    """A refusal with every field set: only those of its code may come out."""
    return Rejection(
        code=RejectionCode(code),
        reason=f"scripted {code}",
        field="scripted_field",
        run_id=RunId("b" * 32),
        status="completed",
        loaded=(ROUTED,),
        limit_bytes=7,
        workflow_type=WorkflowType("order"),
        version=ROUTED,
        pins_total=101,
        pins=(Pin(kind=PinKind.LIVE_RUN, workflow_id=WorkflowId("one"), run_id=RunId("b" * 32)),),
    )


@dataclass(slots=True)
class ScriptedRun:
    """`result`: JSON text of the members that a closed run's result has beside its status."""

    run_id: RunId
    started_by: Command
    inputs: list[Command] = field(default_factory=list)
    status: str = "running"
    result: str = ""
    closed: asyncio.Event = field(default_factory=asyncio.Event)

    def close(self, status: str, result: str) -> None:
        """End the run, for whoever asks or waits."""
        self.status, self.result = status, result
        self.closed.set()

    @property
    def result_body(self) -> str:
        """The body of the answer to `/result`."""
        ids = f'"workflow_id":{json.dumps(self.started_by.workflow_id)},"run_id":"{self.run_id}"'
        return f'{{{ids},"status":"{self.status}"{self.result and "," + self.result}}}'


@asynccontextmanager
async def connections(log: Log, topic: str) -> AsyncIterator[tuple[Reader, Sender]]:
    """A reader of the topic and a sender, closed in the end."""
    async with AsyncExitStack() as stack:
        reader = await log.reader(topic)
        stack.push_async_callback(reader.close)
        sender = await log.sender()
        stack.push_async_callback(sender.close)
        yield reader, sender


class ScriptedExecutor:
    """Owns all partitions of `aion.commands`. `on_start` may close runs at once; `replies_dropped` answers get lost."""

    def __init__(self, log: Log, topics: Topics, partitions: int) -> None:
        self._log = log
        self._topics = topics
        self._partitions = partitions
        self.runs: dict[bytes, ScriptedRun] = {}
        self.answers: dict[CommandId, Answer] = {}
        self.commands: list[Command] = []
        self.replies_dropped = 0
        self.has_taken = asyncio.Event()
        self.on_start: Callable[[ScriptedRun], None] = lambda _run: None

    async def run(self) -> None:
        """Decide commands for ever."""
        async with connections(self._log, self._topics.commands) as (reader, sender):
            reader.assign(dict.fromkeys(range(self._partitions), 0))
            while True:
                for records in (await reader.read(wait_ms=1000, records_max=100)).values():
                    for record in records:
                        command = decode(record.value)
                        assert isinstance(command, Command)
                        assert record.key == workflow_key(command.namespace, command.workflow_id)
                        await self._take(sender, command)

    async def _take(self, sender: Sender, command: Command) -> None:
        self.commands.append(command)
        self.has_taken.set()
        if command.command_id not in self.answers:
            self.answers[command.command_id] = self._decide(command)
        if self.replies_dropped:
            self.replies_dropped -= 1
            return
        await reply(sender, self._topics, command, self.answers[command.command_id])

    async def repeat_answers(self) -> None:
        """Send the answers to all commands once more: to those who wait it is as if they were late."""
        sender = await self._log.sender()
        for command in self.commands:
            await reply(sender, self._topics, command, self.answers[command.command_id])
        await sender.close()

    def _decide(self, command: Command) -> Answer:
        key = workflow_key(command.namespace, command.workflow_id)
        run = self.runs.get(key)
        match command.body:
            case StartRun() as start:
                return self._start(command, start, key, run)
            case SignalRun() | CancelRun() | TerminateRun() as wish:
                if run is None or wish.run_id not in {None, run.run_id}:
                    return Rejection(code=RejectionCode.NOT_FOUND, reason="there is no such run")
                if run.status != "running":
                    return Rejection(code=RejectionCode.CLOSED, reason="the run is closed", status=run.status)
                return self._given(command, wish, run)

    @staticmethod
    def _given(command: Command, wish: SignalRun | CancelRun | TerminateRun, run: ScriptedRun) -> Answer:
        run.inputs.append(command)
        seq = len(run.inputs) + 1
        match wish:
            case SignalRun():
                return SignalAccepted(run_id=run.run_id, seq=seq)
            case CancelRun():
                return CancelAccepted(run_id=run.run_id, seq=seq)
            case TerminateRun():
                run.close("terminated", "")
                return TerminateAccepted(run_id=run.run_id, seq=seq)

    def _start(self, command: Command, start: StartRun, key: bytes, run: ScriptedRun | None) -> Answer:
        if start.workflow_type.startswith(REFUSED):
            return rejection(start.workflow_type.removeprefix(REFUSED))
        if run is not None and run.status == "running":
            if start.id_conflict is IdConflict.USE_EXISTING:
                return StartAccepted(run_id=run.run_id, version=ROUTED, created=False)
            if start.id_conflict is IdConflict.TERMINATE_EXISTING:
                run.close("terminated", "")
                return self._open(command, start, key)
            return Rejection(code=RejectionCode.ALREADY_STARTED, reason="a run is open", run_id=run.run_id)
        return self._open(command, start, key)

    def _open(self, command: Command, start: StartRun, key: bytes) -> Answer:
        run_id = run_id_of(command.namespace, command.workflow_id, command.command_id)
        run = self.runs[key] = ScriptedRun(run_id, command)
        self.on_start(run)
        return StartAccepted(run_id=run_id, version=start.version or ROUTED, created=True)


class ScriptedCatalog:
    """Loads whatever bytes it finds as a version with the type `order`; the version is the content's hash."""

    def __init__(self, log: Log, topics: Topics) -> None:
        self._log = log
        self._topics = topics
        self.answers: dict[CommandId, Answer] = {}
        self.archives: list[bytes] = []
        self._loaded: dict[Version, LoadedType] = {}
        self._routed: Version | None = None
        self.is_pinned = False

    async def run(self) -> None:
        """Decide commands for ever."""
        async with connections(self._log, self._topics.catalog_commands) as (reader, sender):
            reader.assign({0: 0})
            while True:
                for record in (await reader.read(wait_ms=1000, records_max=100)).get(0, ()):
                    command = decode(record.value)
                    assert isinstance(command, CatalogCommand)
                    if command.command_id not in self.answers:
                        self.answers[command.command_id] = await self._decide(sender, command)
                    await reply(sender, self._topics, command, self.answers[command.command_id])

    async def _decide(self, sender: Sender, command: CatalogCommand) -> Answer:
        match command.body:
            case RouteType() as wish if wish.version not in self._loaded:
                return Rejection(code=RejectionCode.UNKNOWN_VERSION, reason="not loaded", loaded=tuple(self._loaded))
            case RouteType() as wish:
                previous = self._routed
                await self._route(sender, command, wish.version)
                return RouteAccepted(
                    workflow_type=wish.workflow_type,
                    version=wish.version,
                    previous_version=previous,
                    route_epoch=2,
                    route_changed=previous != wish.version,
                )
            case LoadPackage():
                return await self._load(sender, command, command.body)
            case UnloadVersion() as wish if wish.version not in self._loaded:
                return Rejection(code=RejectionCode.UNKNOWN_VERSION, reason="not loaded", loaded=tuple(self._loaded))
            case UnloadVersion() as wish if wish.version == self._routed:
                return rejection("route_active")
            case UnloadVersion() as wish if self.is_pinned:
                return rejection("version_pinned")
            case UnloadVersion() as wish:
                del self._loaded[wish.version]
                await self._record(sender, VersionRemoved(namespace=command.namespace, version=wish.version, attempt=1))
                return UnloadAccepted(version=wish.version)

    async def _load(self, sender: Sender, command: CatalogCommand, load: LoadPackage) -> Answer:
        archive = await self._archive(load)
        if archive.startswith(REFUSED.encode()):
            return rejection(archive.decode().removeprefix(REFUSED))
        self.archives.append(archive)
        version = Version(load.package.archive_digest)
        is_fresh = version not in self._loaded
        if is_fresh:
            loaded = LoadedType(
                workflow_type=WorkflowType("order"), version=version, manifest_digest="c" * 64, deployed_at=DEPLOYED_AT
            )
            self._loaded[version] = loaded
            await self._record(
                sender,
                VersionLoaded(
                    namespace=command.namespace,
                    version=version,
                    manifest_digest=loaded.manifest_digest,
                    types=(loaded.workflow_type,),
                    package=load.package,
                    deployed_at=DEPLOYED_AT,
                    warnings=(),
                ),
            )
        has_changed = self._routed != version
        await self._route(sender, command, version)
        return PackageAccepted(
            records=(self._loaded[version],), freshly_loaded=is_fresh, route_changed=has_changed, warnings=("scripted",)
        )

    async def _archive(self, load: LoadPackage) -> bytes:
        content: list[bytes] = []
        async with connections(self._log, self._topics.packages) as (reader, _):
            reader.assign({0: load.package.first_offset})
            while reader.position(0) <= load.package.last_offset:
                for record in (await reader.read(wait_ms=1000, records_max=1)).get(0, ()):
                    chunk = decode(record.value)
                    if chunk.upload_id == load.package.upload_id:
                        assert record.key == f"chunk/{chunk.upload_id}/{chunk.index}".encode()
                        assert chunk.index == len(content)
                        content.append(chunk.content)
        archive = b"".join(content)
        assert len(content) == load.package.chunks
        assert len(archive) == load.package.archive_bytes
        assert blake3(archive).hexdigest() == load.package.archive_digest
        assert load.package.wakes_itself is False
        return archive

    async def _route(self, sender: Sender, command: CatalogCommand, version: Version) -> None:
        self._routed = version
        types = (WorkflowType("order"),)
        await self._record(sender, TypesRouted(namespace=command.namespace, types=types, version=version, route_epoch=2))

    async def _record(self, sender: Sender, event: CatalogEvent) -> None:
        value = encode(CatalogRecord(recorded_at=DEPLOYED_AT, event=event))
        await sender.send(self._topics.catalog, 0, [(None, value)])


async def reply(sender: Sender, topics: Topics, command: Command | CatalogCommand, answer: Answer) -> None:
    """Write an answer to where the command asks for it."""
    if command.reply_partition is None:
        return
    value = encode(Reply(command_id=command.command_id, answer=answer))
    await sender.send(topics.replies, command.reply_partition, [(command.command_id.encode(), value)])


Answering = Callable[[httpx.Request], Awaitable[httpx.Response]]


class Executors(httpx.AsyncBaseTransport):
    """The network to executors: address -> what answers there. Elsewhere nobody listens."""

    def __init__(self) -> None:
        self.listening: dict[str, Answering] = {}
        self.requests: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """See httpx."""
        self.requests.append(request)
        answer = self.listening.get(f"{request.url.host}:{request.url.port}")
        if answer is None:
            raise httpx.ConnectError("connection refused", request=request)
        return await answer(request)


async def echo(name: str, arguments: bytes, wait_ms: int) -> httpx.Response:
    """A run that answers a query with what it was asked."""
    del wait_ms
    return httpx.Response(200, content=b'{"%s":%s}' % (name.encode(), arguments), headers={"content-type": "application/json"})


async def no_runs(_partition: int, _query: dict[str, str]) -> httpx.Response:
    """The list of an owner that has none."""
    return httpx.Response(200, json={"workflows": [], "position": None})


async def no_pins(_partition: int, _query: dict[str, str]) -> httpx.Response:
    """The pins of an owner that has no runs."""
    return httpx.Response(200, json={"versions": {}})


class ScriptedOwner:
    """An executor's internal HTTP: answers for the partitions in `owned` (partition -> owner epoch), refuses others.

    `lists`: what answers questions that are not about one run, such as `runs`.
    """

    def __init__(self, executor: ScriptedExecutor, member: str) -> None:
        self._executor = executor
        self.member = member
        self.owned: dict[int, int] = {}
        self.lists: dict[str, Callable[[int, dict[str, str]], Awaitable[httpx.Response]]] = {"runs": no_runs, "pins": no_pins}
        self.on_query: Callable[[str, bytes, int], Awaitable[httpx.Response]] = echo

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer one request."""
        if request.url.path == "/ready":
            owned = {str(partition): epoch for partition, epoch in self.owned.items()}
            return httpx.Response(200, json={"member": self.member, "owned": owned})
        _, _, partition, what = request.url.path.split("/")
        if int(partition) not in self.owned:
            return problem_answer("wrong_owner", "the partition is not owned here")
        query = request.url.params
        if what in self.lists:
            return await self.lists[what](int(partition), dict(query))
        run = self._executor.runs.get(f"{query['namespace']}/{query['workflow_id']}".encode())
        if run is None or query.get("run_id", run.run_id) != run.run_id:
            return problem_answer("not_found", "there is no such run")
        if what == "query":
            return await self.on_query(query["name"], request.content, int(query["wait_ms"]))
        if what == "result":
            return await self._result(run, int(query["wait_ms"]))
        return httpx.Response(200, json={"what": what, "answered_by": self.member, "query": dict(query)})

    async def _result(self, run: ScriptedRun, wait_ms: int) -> httpx.Response:
        try:
            async with asyncio.timeout(wait_ms / 1000):
                await run.closed.wait()
        except TimeoutError:
            pass
        status = 200 if run.closed.is_set() else 202
        return httpx.Response(status, content=run.result_body, headers={"content-type": "application/json"})


def owner_record(partition: int, owner_epoch: int, member: str, address: str) -> tuple[bytes, bytes]:
    """Key and value of an announcement in `aion.owners`."""
    owner = Owner(partition=partition, owner_epoch=owner_epoch, member=member, address=address)
    return str(partition).encode(), encode(owner)


def problem_answer(code: str, detail: str) -> httpx.Response:
    """An owner's refusal."""
    status, body = problem(code, detail)
    return httpx.Response(status, content=json.dumps(body), headers={"content-type": "application/problem+json"})
