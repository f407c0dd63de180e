"""The clients: what they wish for, and what they may expect of the answers.

A client works one wish after the other; it repeats a command under its id until it is answered, sometimes although it was,
sometimes much later. One of them is thorough: it sees to it that every kind of command succeeds in every seed.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from typing import TypeVar

from msgspec.structs import replace

from aion_common.errors import Unavailable
from aion_common.ids import CommandId, Namespace, RunId, Version, WorkflowId, WorkflowType, ingress_command_id, workflow_key
from aion_common.kafka.api import Sender
from aion_common.kafka.partitioner import partition_of
from aion_common.kafka.topics import Topics
from aion_common.records.catalog import CatalogCommand, CatalogCommandBody, LoadPackage, RouteType, UnloadVersion
from aion_common.records.commands import CancelRun, Command, CommandBody, IdConflict, SignalRun, StartRun, TerminateRun
from aion_common.records.common import PackageRef, json_payload
from aion_common.records.replies import (
    Answer,
    CancelAccepted,
    PackageAccepted,
    Rejection,
    RejectionCode,
    RouteAccepted,
    SignalAccepted,
    StartAccepted,
    TerminateAccepted,
)
from aion_common.wire import encode
from simulation.ledger import TRANSIENT, Broken, Ledger, SeenRun
from simulation.network import SlowLog
from simulation.programs import OFTEN, RELEASES, SHARED, Release
from simulation.scheduler import Process, VirtualLoop

NAMESPACE = Namespace("default")
Wish = Command | CatalogCommand

CLIENTS_REPLIES = 3
"""Partitions of the replies that clients read."""

REPEAT_MS_MIN = 300
REPEAT_MS_MAX = 5_000

SOLO = WorkflowType("solo")
SIGNALS = ("a", "b", "c")


def package_of(upload_id: str) -> PackageRef:
    """An uploaded archive."""
    return PackageRef(
        upload_id=upload_id,
        first_offset=0,
        last_offset=0,
        chunks=1,
        archive_bytes=1,
        archive_digest="d" * 64,
        wakes_itself=False,
    )


@dataclass(slots=True)
class Clients:
    """All clients: what they have sent, and who waits for which answer."""

    loop: VirtualLoop
    topics: Topics
    partitions: int
    log: SlowLog
    ledger: Ledger
    wishes: int
    process: Process | None = None
    waiting: dict[CommandId, asyncio.Future[Answer]] = field(default_factory=dict)
    sent: list[Wish] = field(default_factory=list)
    first_answers: dict[CommandId, Answer] = field(default_factory=dict)
    workflow_ids: list[WorkflowId] = field(default_factory=list)
    run_ids: list[tuple[WorkflowId, RunId]] = field(default_factory=list)
    returned: dict[WorkflowType, int] = field(default_factory=dict)
    """Of each type the newest route epoch that a deploy has returned to anybody."""
    forwarded: int = 0
    """Records of `aion.ingress` so far."""
    are_calm: bool = False

    def heard(self, command_id: CommandId, answer: Answer) -> None:
        """A reply is in the topic; it may never reach who waits for it."""
        waiter = self.waiting.get(command_id)
        if waiter is not None and not waiter.done() and (self.are_calm or self.loop.random.random() > 0.1):
            waiter.set_result(answer)

    async def run(self, process: Process, clients: int) -> None:
        """The main task of the clients' process."""
        self.process = process
        sender = await self.sender()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(Client(self, sender, "thorough").be_thorough())
            for number in range(clients):
                tasks.create_task(Client(self, sender, f"client {number}").wish_for(self.wishes))

    async def sender(self) -> Sender:
        """One that is there, however long it takes."""
        while True:
            try:
                return await self.log.sender()
            except Unavailable:
                await self.loop.passes(100)


@dataclass(slots=True)
class Client:
    """One client. `floors`: of each type the route epoch its last start ran on at least."""

    all: Clients
    sender: Sender
    name: str
    floors: dict[WorkflowType, int] = field(default_factory=dict)
    _asked: int = 0
    _own: int = 0

    @property
    def random(self) -> Random:
        """Of the seed."""
        return self.all.loop.random

    async def wish_for(self, wishes: int) -> None:
        """Wish for this and that."""
        kinds = [
            *([self._start] * 4),
            *([self._start_again] * 2),
            *([self._signal] * 6),
            *([self._end] * 2),
            *([self._deploy] * 2),
            self._unload_some,
            self._send_junk,
            *([self._forward] * 3),
            *([self._repeat] * 2),
        ]
        for _ in range(wishes):
            await self.random.choice(kinds)()
            await self._pause()

    async def _pause(self) -> None:
        if not self.all.are_calm:
            await self.all.loop.passes(self.random.random() * 40)

    async def be_thorough(self) -> None:
        """Every kind of command, until it has succeeded."""
        older, newer = RELEASES[SHARED:]
        await self._load("0")
        await self._load(str(SHARED))
        await self._load(str(SHARED + 1))
        await self._route(older, SOLO)
        await self._route(newer, SOLO)
        pair = self._own_workflow_id()
        started = _accepted(await self._start_of(pair, WorkflowType("pair"), None), StartAccepted)
        existing = await self._start_of(pair, WorkflowType("pair"), None, conflict=IdConflict.USE_EXISTING)
        if existing != replace(started, created=False):
            raise Broken(f"{pair} has an open run, but use_existing was answered {existing}")
        for name in ("a", "b"):
            await self._signal_own(pair, name)
        _accepted(await self._start_of(self._own_workflow_id(), WorkflowType("sure"), newer.version), StartAccepted)
        await self._be_thorough_about_endings(older)
        await self._be_thorough_about_unloading(older)

    async def _be_thorough_about_endings(self, older: Release) -> None:
        cancelled, timed, replaced = (self._own_workflow_id() for _ in range(3))
        _accepted(await self._start_of(cancelled, SOLO, older.version), StartAccepted)
        _accepted(await self.ask(cancelled, CancelRun(run_id=None, reason="enough")), CancelAccepted)
        await self.ask(cancelled, SignalRun(run_id=None, name="b", payload=None))
        _accepted(await self._start_of(timed, SOLO, older.version, run_timeout_ms=500), StartAccepted)
        _accepted(await self._start_of(replaced, SOLO, older.version), StartAccepted)
        conflict = IdConflict.TERMINATE_EXISTING
        _accepted(await self._start_of(replaced, SOLO, older.version, conflict=conflict), StartAccepted)
        _accepted(await self.ask(replaced, TerminateRun(run_id=None, reason=None)), TerminateAccepted)

    async def _be_thorough_about_unloading(self, older: Release) -> None:
        """A version that is pinned stays, one that is not goes; starts that come in between are decided after the verdict."""
        pinning = self._own_workflow_id()
        _accepted(await self._start_of(pinning, SOLO, older.version), StartAccepted)
        refused = await self._unload(older)
        if not isinstance(refused, Rejection) or refused.code is not RejectionCode.VERSION_PINNED:
            raise Broken(f"{older.version[:1]} is pinned by {pinning}, but its unload was answered {refused}")
        _accepted(await self.ask(pinning, TerminateRun(run_id=None, reason=None)), TerminateAccepted)
        while isinstance(unloaded := await self._unload_beside_starts(older), Rejection):
            if unloaded.code is not RejectionCode.VERSION_PINNED:
                raise Broken(f"nothing routes to {older.version[:1]}, but its unload was answered {unloaded}")
            await self.all.loop.passes(500)
        late = await self._start_of(self._own_workflow_id(), SOLO, older.version)
        if not isinstance(late, Rejection) or late.code is not RejectionCode.UNKNOWN_VERSION:
            raise Broken(f"{older.version[:1]} is unloaded, but a start of it was answered {late}")

    async def _unload_beside_starts(self, release: Release) -> Answer:
        """Unload while others start on the version, whose runs are ended at once."""
        answers: list[Answer] = []

        async def unload() -> None:
            answers.append(await self._unload(release))

        async def start(workflow_id: WorkflowId) -> None:
            while not answers and not any(shelf.closing for shelf in self.all.ledger.shelves):
                await self.all.loop.passes(2)
            if isinstance(await self._start_of(workflow_id, SOLO, release.version), StartAccepted):
                await self.ask(workflow_id, TerminateRun(run_id=None, reason=None))

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(unload())
            for _ in range(self.random.randrange(4)):
                tasks.create_task(start(self._own_workflow_id()))
        return answers[0]

    async def _signal_own(self, workflow_id: WorkflowId, name: str) -> None:
        payload = json_payload(b"1")
        _accepted(await self.ask(workflow_id, SignalRun(run_id=None, name=name, payload=payload)), SignalAccepted)

    def _new_workflow_id(self) -> WorkflowId:
        workflow_id = WorkflowId(f"w{len(self.all.workflow_ids)}")
        self.all.workflow_ids.append(workflow_id)
        return workflow_id

    def _own_workflow_id(self) -> WorkflowId:
        """One that nobody else meddles with."""
        self._own += 1
        return WorkflowId(f"{self.name} {self._own}")

    def _command_id(self) -> CommandId:
        self._asked += 1
        return CommandId(f"{self.name}/{self._asked}")

    async def _start(self) -> None:
        release = self.random.choice(RELEASES[:SHARED])
        version = release.version if self.random.random() < 0.3 else None
        timeout_ms = self.random.randrange(50, 2_000) if self.random.random() < 0.1 else None
        workflow_id = self._new_workflow_id()
        (workflow_type,) = self.random.choices(release.types, [OFTEN.get(name, 1) for name in release.types])
        await self._start_of(workflow_id, workflow_type, version, run_timeout_ms=timeout_ms)

    async def _start_again(self) -> None:
        if self.all.workflow_ids:
            workflow_id = self.random.choice(self.all.workflow_ids)
            conflict = self.random.choice(tuple(IdConflict))
            await self._start_of(workflow_id, self.random.choice(RELEASES[0].types), None, conflict=conflict)

    async def _start_of(
        self,
        workflow_id: WorkflowId,
        workflow_type: WorkflowType,
        version: Version | None,
        *,
        conflict: IdConflict = IdConflict.REJECT,
        run_timeout_ms: int | None = None,
    ) -> Answer:
        floor = max(self.floors.get(workflow_type, 0), self.all.returned.get(workflow_type, 0))
        given = json_payload(b'"%s"' % self.name.encode())
        start = StartRun(
            workflow_type=workflow_type,
            version=version,
            input=given,
            id_conflict=conflict,
            run_timeout_ms=run_timeout_ms,
        )
        answer = await self.ask(workflow_id, start)
        if isinstance(answer, StartAccepted):
            if workflow_id in self.all.workflow_ids:
                self.all.run_ids.append((workflow_id, answer.run_id))
            if version is None and answer.created:
                self.floors[workflow_type] = self._epoch_of(workflow_type, answer.version, floor)
        return answer

    def _epoch_of(self, workflow_type: WorkflowType, version: Version, floor: int) -> int:
        """The first epoch from `floor` on at which the type was routed to the version."""
        flips = self.all.ledger.flips.get(workflow_type, [])
        for number, (epoch, routed) in enumerate(flips):
            until = flips[number + 1][0] if number + 1 < len(flips) else self.all.ledger.route_epoch + 1
            if routed == version and until > floor:
                return max(epoch, floor)
        raise Broken(
            f"{self.name}: a start of {workflow_type} ran on {version[:1]}, which is older than epoch {floor}: {flips}"
        )

    async def _signal(self) -> None:
        if self.all.run_ids:
            workflow_id, run_id = self.random.choice(self.all.run_ids[-8:])
            named = run_id if self.random.random() < 0.7 else None
            await self.ask(workflow_id, SignalRun(run_id=named, name=self.random.choice(SIGNALS), payload=json_payload(b"2")))

    async def _end(self) -> None:
        """Cancel or terminate a run."""
        if self.all.run_ids:
            workflow_id, run_id = self.random.choice(self.all.run_ids[-8:])
            reason = self.random.choice((None, "because"))
            kind = CancelRun if self.random.random() < 0.7 else TerminateRun
            await self.ask(workflow_id, kind(run_id=run_id if self.random.random() < 0.7 else None, reason=reason))

    async def _unload_some(self) -> None:
        await self._unload(self.random.choice(RELEASES[:SHARED]))

    async def _unload(self, release: Release) -> Answer:
        _, answer = await self._ask_catalog(UnloadVersion(version=release.version))
        return answer

    async def _deploy(self) -> None:
        release = self.random.choice(RELEASES[:SHARED])
        if self.random.random() < 0.3:
            await self._route(release, self.random.choice(release.types))
        elif self.random.random() < 0.1:
            await self._load("no package")
        else:
            await self._load(str(RELEASES.index(release)))

    async def _load(self, upload_id: str) -> None:
        command_id, answer = await self._ask_catalog(LoadPackage(package=package_of(upload_id)))
        if isinstance(answer, PackageAccepted):
            for record in answer.records:
                self._returned(record.workflow_type, command_id)

    async def _route(self, release: Release, workflow_type: WorkflowType) -> None:
        command_id, answer = await self._ask_catalog(RouteType(workflow_type=workflow_type, version=release.version))
        if isinstance(answer, RouteAccepted):
            self._returned(workflow_type, command_id)

    def _returned(self, workflow_type: WorkflowType, command_id: CommandId) -> None:
        epoch = self.all.ledger.epoch_after[command_id]
        self.all.returned[workflow_type] = max(self.all.returned.get(workflow_type, 0), epoch)

    async def end(self, run: SeenRun, is_last: bool) -> None:
        """Give an open run whatever it may wait for, at last a request to cancel, after which its time is limited."""
        workflow_id = WorkflowId(run.workflow[1])
        if is_last:
            await self.ask(workflow_id, CancelRun(run_id=run.run_id, reason="the end"))
        for name in ("a", "b", "a", "b", "c"):
            await self.ask(workflow_id, SignalRun(run_id=run.run_id, name=name, payload=json_payload(b"3")))

    async def _repeat(self) -> None:
        """Send a command of long ago once more; it must get the answer it got."""
        if self.all.sent:
            await self._until_answered(self.random.choice(self.all.sent))

    async def _send_junk(self) -> None:
        """Something that is no command; nobody answers it, but it is not lost."""
        topics = self.all.topics
        places = [(topics.commands, number) for number in range(self.all.partitions)] + [(topics.catalog_commands, 0)]
        with suppress(Unavailable):
            await self.sender.send(*self.random.choice(places), [(b"k", b"junk of %s" % self.name.encode())])

    async def _forward(self) -> None:
        """As a gateway does with a record of `aion.ingress`: until it is acknowledged, perhaps once more; nobody hears the
        answer."""
        if not self.all.workflow_ids:
            return
        self.all.forwarded += 1
        command = Command(
            command_id=ingress_command_id(0, self.all.forwarded),
            namespace=NAMESPACE,
            workflow_id=self.random.choice(self.all.workflow_ids),
            reply_partition=None,
            body=self.random.choice(
                (
                    SignalRun(run_id=None, name=self.random.choice(SIGNALS), payload=json_payload(b"2")),
                    StartRun(
                        workflow_type=self.random.choice(RELEASES[0].types),
                        version=self.random.choice((None, RELEASES[1].version)),
                        input=json_payload(b"1"),
                        id_conflict=self.random.choice(tuple(IdConflict)),
                    ),
                    CancelRun(run_id=None, reason=None),
                )
            ),
        )
        for _ in range(2 if self.random.random() < 0.4 else 1):
            while not await self._is_sent(command):
                await self.all.loop.passes(self.random.random() * REPEAT_MS_MIN)
            await self._pause()

    async def ask(self, workflow_id: WorkflowId, body: CommandBody) -> Answer:
        """Send a command until it is answered."""
        command = Command(
            command_id=self._command_id(),
            namespace=NAMESPACE,
            workflow_id=workflow_id,
            reply_partition=self.random.randrange(CLIENTS_REPLIES),
            body=body,
        )
        self.all.sent.append(command)
        return await self._until_answered(command)

    async def _ask_catalog(self, body: CatalogCommandBody) -> tuple[CommandId, Answer]:
        command = CatalogCommand(
            command_id=self._command_id(),
            namespace=NAMESPACE,
            reply_partition=self.random.randrange(CLIENTS_REPLIES),
            body=body,
        )
        self.all.sent.append(command)
        return command.command_id, await self._until_answered(command)

    async def _until_answered(self, wish: Wish) -> Answer:
        clients = self.all
        wait_ms = REPEAT_MS_MIN
        while True:
            waiter = clients.waiting.setdefault(wish.command_id, clients.loop.create_future())
            for _ in range(2 if self.random.random() < 0.1 else 1):
                await self._send(wish)
            clients.loop.call_later(wait_ms / 1000, _give_up, waiter)
            try:
                answer = await waiter
                if not _is_passing(answer):
                    return answer
                await clients.loop.passes(wait_ms)
            except TimeoutError:
                wait_ms = min(2 * wait_ms, REPEAT_MS_MAX)
            finally:
                if clients.waiting.get(wish.command_id) is waiter:
                    del clients.waiting[wish.command_id]

    async def _send(self, wish: Wish) -> None:
        await self._is_sent(wish)

    async def _is_sent(self, wish: Wish) -> bool:
        topic, partition, key = self._address(wish)
        try:
            await self.sender.send(topic, partition, [(key, encode(wish))])
        except Unavailable:
            return False
        return True

    def _address(self, wish: Wish) -> tuple[str, int, bytes]:
        if isinstance(wish, CatalogCommand):
            return self.all.topics.catalog_commands, 0, b""
        key = workflow_key(wish.namespace, wish.workflow_id)
        return self.all.topics.commands, partition_of(key, self.all.partitions), key


Accepted = TypeVar("Accepted", bound=Answer)


def _accepted(answer: Answer, kind: type[Accepted]) -> Accepted:
    if not isinstance(answer, kind):
        raise Broken(f"{kind.__name__} was due, the answer is {answer}")
    return answer


def _is_passing(answer: Answer) -> bool:
    return isinstance(answer, Rejection) and answer.code in TRANSIENT


def _give_up(waiter: asyncio.Future[Answer]) -> None:
    if not waiter.done():
        waiter.set_exception(TimeoutError())
