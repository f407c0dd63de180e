"""One seed: a cluster in a box that lives through faults, is healed, and must then come to rest with every run closed.

Chosen: the real services run as they are, in processes of a virtual event loop (`scheduler`), instead of hand-made copies of
what their shells do. So the order of their steps is theirs, a crash may come at any `await`, and two owners at once are two
real executors. Twins stand only where the real thing lies outside: brokers, VMs, disks, clocks, clients.
"""

import asyncio
import re
import sys
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from types import MappingProxyType
from typing import Any, NoReturn

import structlog
from blake3 import blake3

from aion_common.checking import Report, check_cluster
from aion_common.cluster import PARTITIONER
from aion_common.errors import AionError, Fenced, VmDied
from aion_common.ids import ingress_place_of
from aion_common.kafka.api import Topic
from aion_common.kafka.topics import Topics, wanted
from aion_common.limits import CANCEL_GRACE_MS
from aion_common.records.catalog import CatalogRecord, ClusterCreated, TopicCreated
from aion_common.records.commands import Command
from aion_common.records.events import HistoryRecord
from aion_common.records.replies import Rejection
from aion_common.testing.memory_cluster import MemoryCluster
from aion_common.wire import decode, encode
from aion_executor.core.run import Run, RunStatus
from aion_executor.shell.partition import OwnedPartition
from simulation.actors import Machines, Service, SkewedClock
from simulation.faults import CLOCK_SKEW_MS, FAULTS, WRONG_CLOCK_MS, Machine
from simulation.ledger import COMMANDS, INGRESS, Broken, Ledger, SeenRun
from simulation.programs import EARLY, LATE
from simulation.rebuild import check_rebuild
from simulation.scheduler import Process, VirtualLoop
from simulation.workers import Group, Worker
from simulation.workload import CLIENTS_REPLIES, Client, Clients

TICKS = 90
STEPS_PER_TICK = 120
TICK_MS = 60
HEAL_MS_MAX = 600_000
RECORDS_SHOWN = 30
REBUILDS = 0.01
"""Of all ticks; rebuilding a store takes as long as ten of them."""

REPORTS_TO: Mapping[str, int] = MappingProxyType({"catalog-0": 14, "catalog-1": 15})
"""Where owners report to each catalog."""
REPLIES_TO = (*range(CLIENTS_REPLIES), *REPORTS_TO.values())
LEGEND = "offset | owner epoch | workflow id, run, seq | event"
LINE_MAX = 260
VERSIONS = re.compile(r"([0-9a-f])\1{63}")


@dataclass(slots=True)
class Ending:
    """What became of a seed. `broken`: the sentence that is not true, `story`: what went before it. `digest`: of everything
    that was written."""

    seed: int
    broken: str | None
    story: str
    digest: str
    steps: int
    counts: dict[str, int]


@dataclass(slots=True)
class World:
    """The cluster of one seed."""

    seed: int
    random: Random = field(init=False)
    loop: VirtualLoop = field(init=False)
    cluster: MemoryCluster = field(init=False)
    ledger: Ledger = field(init=False)
    machines: Machines = field(init=False)
    clients: Clients = field(init=False)
    topics: Topics = field(default_factory=lambda: Topics("aion."))
    partitions: int = 2
    tick: int = 0
    speaks_at: int | None = None
    forgetful: dict[int, int] = field(default_factory=dict)
    """Until which tick the brokers forget the producer ids of a partition's owners."""
    places: list[Machine] = field(default_factory=list)
    group: Group = field(init=False)
    workers: dict[int, Service] = field(default_factory=dict)
    workers_awake_at: dict[int, int] = field(default_factory=dict)
    """At which tick those come back, or go on, that died or stand still."""
    told: deque[str] = field(default_factory=lambda: deque(maxlen=25))

    def __post_init__(self) -> None:
        self.random = Random(self.seed)
        self.partitions = self.random.randrange(1, 4)
        self.loop = VirtualLoop(self.random)
        self.cluster = MemoryCluster(SkewedClock(self.loop))
        table = wanted(self.topics, partitions=self.partitions, replication=1, insync_min=1)
        self.cluster.topics.update({topic.name: topic for topic in table})
        created = ClusterCreated(
            partitions=self.partitions,
            partitioner=PARTITIONER,
            topics=tuple(TopicCreated(name=topic.name, partitions=topic.partitions) for topic in table),
        )
        first = self.cluster.claim("init")
        record = CatalogRecord(recorded_at=self.cluster.clock.now_ms(), event=created)
        self.cluster.append(self.topics.catalog, 0, first, 0, [(None, encode(record))])
        self.ledger = Ledger(self.cluster, self.topics, self.partitions, REPLIES_TO, self._heard)
        self.machines = Machines(self.loop, self.cluster, self.topics, created, self.ledger.overhear)
        for number in range(self.random.randrange(2, 4)):
            self.places.append(Machine(member=f"executor-{number}", is_catalog=False))
        self.places += [Machine(member=member, is_catalog=True) for member in REPORTS_TO]
        self._start_clients()
        self.group = Group(self.topics, self.partitions, self.random.randrange(2, 4))
        self.create_queue(EARLY)
        for number in range(self.group.workers):
            self._start_worker(number)

    def _heard(self, command_id: Any, answer: Any) -> None:
        self.clients.heard(command_id, answer)

    def _start_clients(self) -> None:
        def make(process: Process) -> Any:
            log = self.machines.service(process).log
            wishes = self.random.randrange(4, 16)
            self.clients = Clients(self.loop, self.topics, self.partitions, log, self.ledger, wishes)
            return self.clients.run(process, self.random.randrange(1, 4))

        self.loop.spawn("clients", make)

    def create_queue(self, queue: str) -> None:
        """Somebody does."""
        name = self.topics.tasks(queue)
        self.cluster.topics.setdefault(name, Topic(name=name, partitions=self.partitions, replication=1))

    def _start_worker(self, number: int) -> None:
        def make(process: Process) -> Any:
            service = self.workers[number] = self.machines.service(process)
            return Worker(self.loop, service.log, self.group, number).run((EARLY, LATE))

        self.workers_awake_at.pop(number, None)
        self.loop.spawn(f"worker-{number}", make)

    def _wake_worker(self, number: int) -> None:
        process = self.workers[number].process
        if process.is_plugged:
            process.is_paused = False
            del self.workers_awake_at[number]
        else:
            self._start_worker(number)

    def ask(self, process: Process, owned: OwnedPartition, run: Run) -> None:
        """Query a run where it is owned. What the answer shows must be in the history when it comes."""

        async def query() -> None:
            answer = None
            while answer is None and (owned.loop.store.run(run.run_id) or run).status is RunStatus.RUNNING:
                try:
                    answer = await owned.query(run, "told", b"[]")
                except VmDied:
                    await asyncio.sleep(0)
                except Fenced:
                    return
            if answer is None:
                return
            assert isinstance(answer, bytes)
            self.ledger.overhear()
            seen = self.ledger.runs[run.run_id]
            if seen.ended_by is None and seen.observed < int(answer):
                sentence = f"history {owned.number}: an answer of {run.run_id} shows {int(answer)}, the log {seen.observed}"
                self.ledger.broken = self.ledger.broken or Broken(sentence)
            self.ledger.counts["queries"] += 1

        process.context.run(self.loop.create_task, query())

    # What faults do.

    def some_machine(self) -> Machine:
        """Mostly an executor."""
        return self.random.choice(self.places)

    def end(self, machine: Machine) -> None:
        """Its process dies."""
        assert machine.service is not None
        self.loop.kill(machine.service.process)
        self._is_down(machine)

    def _is_down(self, machine: Machine) -> None:
        machine.service = None
        machine.resumes_at = machine.reconnects_at = None
        machine.comes_back_at = self.tick + self.random.randrange(1, 12)

    def lose_session(self, machine: Machine) -> None:
        """The group gives the member's partitions to others, and tells it nothing."""
        group, topic = self._group_of(machine)
        self.cluster.vanish(group, topic, machine.member)
        machine.is_lost = True

    def forget(self, partition: int) -> None:
        """The brokers do not know by what the partition's owners are fenced."""
        self.cluster.forget_producer(f"{self.topics.prefix}executor.{partition}")

    def _group_of(self, machine: Machine) -> tuple[str, str]:
        topics = self.topics
        if machine.is_catalog:
            return f"{topics.prefix}catalog", topics.catalog_commands
        return f"{topics.prefix}executors", topics.commands

    # Time goes by.

    def live(self) -> None:
        """Through the faults, until all is healed and at rest. Raises Broken."""
        acts = [act for weight, act in FAULTS for _ in range(weight)]
        for self.tick in range(1, TICKS + 1):
            self._attend()
            if self.random.random() < 0.35:
                self._say(self.random.choice(acts)(self))
            self._run(self.random.randrange(1, STEPS_PER_TICK), self.random.random() * TICK_MS)
        self._heal()
        self._close_all()
        self._check_rest()

    def _say(self, what: str) -> None:
        if what:
            self.told.append(f"tick {self.tick}, {self.loop.now:.3f} s: {what}")

    def _run(self, steps: int, ms: float) -> bool:
        goes_on = self.loop.run(steps, ms)
        self.ledger.read()
        if self.random.random() < REBUILDS:
            self._check_stores()
        if self.loop.failures:
            raise Broken(self.loop.failures[0])
        return goes_on

    def _attend(self) -> None:
        """What happens at its time: dead processes come back, those that stood still go on, the network is mended."""
        if self.speaks_at is not None and self.tick >= self.speaks_at:
            self.cluster.reachable, self.speaks_at = True, None
        for partition, until in self.forgetful.items():
            if self.tick <= until:
                self.forget(partition)
        for number in [number for number, tick in self.workers_awake_at.items() if self.tick >= tick]:
            self._wake_worker(number)
        for number, worker in list(self.workers.items()):
            if not worker.process.is_running and worker.process.is_plugged:
                self._examine(worker.process)
                self._start_worker(number)
        for machine in self.places:
            service = machine.service
            if service is not None and not service.process.is_plugged:
                self._say(f"{machine.member} has died")
                self.end(machine)
            elif service is not None and not service.process.is_running:
                self._examine(service.process)
                self._is_down(machine)
            elif service is None and self.tick >= machine.comes_back_at:
                self._start(machine)
            if machine.resumes_at is not None and self.tick >= machine.resumes_at:
                self._resume(machine)
            if machine.reconnects_at is not None and self.tick >= machine.reconnects_at:
                self._reconnect(machine)
            if machine.is_lost and machine.service is not None and self.random.random() < 0.1:
                self._hear_of_loss(machine)

    def _examine(self, process: Process) -> None:
        """A process that ended by itself: by an operating error, or there is a bug."""
        assert process.main is not None
        error = None if process.main.cancelled() else process.main.exception()
        if error is not None and not _is_operating(error):
            raise Broken(f"{process.name} ended with {error!r}") from error

    def _start(self, machine: Machine) -> None:
        skew_ms = self.random.randrange(-CLOCK_SKEW_MS, CLOCK_SKEW_MS)
        if machine.is_catalog:
            machine.service = self.machines.catalog(machine.member, REPORTS_TO[machine.member], skew_ms)
        else:
            if self.random.random() < 0.05 and not self.clients.are_calm:
                skew_ms = self.random.choice((-WRONG_CLOCK_MS, WRONG_CLOCK_MS))
            machine.service = self.machines.executor(machine.member, machine.disk, skew_ms)
        machine.is_lost = False

    def _resume(self, machine: Machine) -> None:
        machine.resumes_at = None
        if machine.service is not None:
            machine.service.process.is_paused = False
            self._say(f"{machine.member} goes on")

    def _reconnect(self, machine: Machine) -> None:
        machine.reconnects_at = None
        if machine.service is not None:
            machine.service.link.is_cut = False
            self._say(f"{machine.member} is connected again")

    def _hear_of_loss(self, machine: Machine) -> None:
        assert machine.service is not None
        place = machine.service.log.places.get(self._group_of(machine))
        if place is not None and machine.service.process.is_plugged:
            machine.service.process.context.run(place.told_lost)
            machine.is_lost = False

    # The end.

    def _heal(self) -> None:
        """Everything that can be mended is mended, and clients have what they wished for."""
        self._say("all is healed")
        self.clients.are_calm = True
        self.cluster.heal()
        self.forgetful.clear()
        self.group.are_calm = True
        self.create_queue(LATE)
        for number in list(self.workers_awake_at):
            self._wake_worker(number)
        for machine in self.places:
            machine.comes_back_at = 0
            service = machine.service
            if service is not None:
                service.link.doom = None
                if abs(service.clock.skew_ms) > CLOCK_SKEW_MS:
                    service.clock.skew_ms = 0
            self._resume(machine)
            self._reconnect(machine)
        for _ in range(3):
            self.tick += 12
            self._attend()
            for machine in self.places:
                if machine.is_lost and machine.service is not None:
                    self._hear_of_loss(machine)
            self._run(2_000, 200)
        self._until(lambda: not self._clients_run(), "clients were not answered", lambda: str(self.clients.waiting.keys()))

    def _clients_run(self) -> bool:
        process = self.clients.process
        if process is None or process.is_running:
            return True
        assert process.main is not None
        error = process.main.exception()
        if error is not None:
            raise Broken(str(_first(error))) from error
        return False

    def _until(self, is_reached: Any, complaint: str, details: Any) -> None:
        end = self.loop.now + HEAL_MS_MAX / 1000
        while not is_reached():
            if self.loop.now > end:
                raise Broken(f"{complaint}: {details()}")
            self._attend()
            self._run(400, 400)

    def _close_all(self) -> None:
        """Runs take the turns that they owe by themselves; then each open one is given what it may wait for."""
        self._until_runs_rest()
        for is_last in (False, True):
            self._spawn_closer(is_last)
            self._until(lambda: not self._clients_run(), "closers were not answered", lambda: str(list(self.clients.waiting)))
            self._until_runs_rest()
        self.loop.now += CANCEL_GRACE_MS / 1000
        self._until(lambda: not self._open(), "runs did not close", lambda: str([vars_of(run) for run in self._open()]))

    def _open(self) -> list[SeenRun]:
        return [self.ledger.runs[run_id] for run_id in self.ledger.open.values()]

    def _until_runs_rest(self) -> None:
        self._until(lambda: not self._restless(), "runs do not go on", lambda: str(list(map(vars_of, self._restless()))))

    def _restless(self) -> list[SeenRun]:
        waiting = self.ledger.work.by_run
        return [run for run in self._open() if run.is_restless or (waiting[run.run_id] and not run.is_blocked)]

    def _spawn_closer(self, is_last: bool) -> None:
        clients = self.clients

        async def close(process: Process) -> None:
            clients.process = process
            sender = await clients.sender()
            closer = Client(clients, sender, f"closer at {self.loop.steps}")
            async with asyncio.TaskGroup() as tasks:
                for run in self._open():
                    tasks.create_task(closer.end(run, is_last))

        clients.process = self.loop.spawn("closer", close)

    def _check_rest(self) -> None:
        """What must be true at rest."""
        self._run(20_000, 1_200)
        ledger = self.ledger
        for shelf in ledger.shelves:
            for command in shelf.commands.values():
                if command.reply_partition is None:
                    self._check_forwarded(command)
                elif not ledger.replied[command.command_id]:
                    raise Broken(f"{command.command_id} was never answered")
            if shelf.parked:
                raise Broken(f"partition {shelf.number}: starts are still parked: {shelf.parked}")
        if lost := ledger.owed - ledger.replied:
            raise Broken(f"these answers were recorded more often than they were sent: {lost}")
        if never := ledger.work.never_sent():
            raise Broken(f"these tasks were never sent: {never}")
        if ledger.junk != ledger.skipped:
            raise Broken(f"nobody has said that these are no commands: {ledger.junk - ledger.skipped}")
        owed = {place for place in ledger.junk if place[0] in {COMMANDS, INGRESS}} - ledger.letters
        if owed:
            raise Broken(f"no dead letter of {owed}")
        self._check_stores()
        self._ask_the_checker()
        for kind in MUST_SUCCEED:
            if not ledger.counts[kind]:
                raise Broken(f"no {kind} in the whole seed")

    def _check_forwarded(self, command: Command) -> None:
        """Nobody waits for its answer: it is decided, and told if it was refused."""
        answer = self.ledger.answers.get(command.command_id)
        place = ingress_place_of(command.command_id)
        if answer is None or place is None:
            raise Broken(f"{command.command_id} was never decided")
        if isinstance(answer, Rejection) and (INGRESS, *place) not in self.ledger.skipped:
            raise Broken(f"nobody was told that {command.command_id} was refused")

    def _check_stores(self) -> None:
        """Every store is what its history says, as far as it has read it: also of one who is not the owner any more."""
        for machine in self.places:
            if machine.service is not None and machine.service.executor is not None:
                for number, owned in machine.service.executor.owned().items():
                    check_rebuild(number, owned.loop.store, self.cluster.records(self.topics.history, number))

    def _ask_the_checker(self) -> None:
        """`aion-server check` reads the same topics, and knows nothing of this ledger."""
        reports: list[Report] = []

        async def check(process: Process) -> None:
            reports.append(await check_cluster(self.machines.service(process).log, self.topics))

        self.loop.spawn("checker", check)
        self._until(lambda: reports, "the checker did not end", lambda: "")
        if reports[0].broken:
            raise Broken(f"the checker says: {reports[0].broken[0]}")

    def is_fine(self, logged: Mapping[str, Any], error: BaseException | None) -> bool:
        """Whether this error is none. Who is not the owner any more, and does not know, may miss commands that the owner has
        decided and deleted; where brokers forget by what they fence, it learns from the offset of its batch."""
        if str(logged["event"]).startswith("inputs that are still needed are gone"):
            shelf = self.ledger.shelves[logged["partition"]]
            return bool((shelf.commands_next if logged["topic"] == COMMANDS else shelf.results_next) > logged["offset"])
        if error is not None and "the history has one writer" in str(_first(error)):
            self.ledger.counts["second writer"] += 1
            return True
        return False

    def wind_up(self) -> None:
        """End every process, so that nothing is left running."""
        self.loop.end_all()

    def story(self, broken: str) -> str:
        """The newest faults, and the newest records of the history that the sentence names, or of all, one a line."""
        named = [number for number in range(self.partitions) if f"history {number} " in broken]
        lines = list(self.told)
        for number in named or range(self.partitions):
            lines.append(f"history {number}: {LEGEND}")
            for record in self.cluster.records(self.topics.history, number)[-RECORDS_SHOWN:]:
                read: HistoryRecord = decode(record.value)
                run = f"{read.workflow_id} {read.run_id[:6]} {read.seq}" if read.seq else "-"
                line = f"{record.offset:5} | {read.owner_epoch:5} | {run:20} | {read.event}"
                lines.append(VERSIONS.sub(r"\1..", line)[:LINE_MAX])
        return "\n".join(lines)

    def digest(self) -> str:
        """Of everything that was written, and of the steps it took."""
        hashed = blake3(f"{self.loop.steps} {self.loop.now} {self.random.random()}".encode())
        for topic in sorted(self.cluster.topics):
            for partition in range(self.cluster.topics[topic].partitions):
                for record in self.cluster.records(topic, partition):
                    hashed.update(f"{topic} {partition} {record.offset} {record.timestamp_ms}".encode())
                    hashed.update(record.value or b"")
        return hashed.hexdigest(length=8)


MUST_SUCCEED = (
    "StartAccepted",
    "StartAccepted existing",
    "SignalAccepted",
    "CancelAccepted",
    "TerminateAccepted",
    "PackageAccepted",
    "RouteAccepted",
    "UnloadAccepted",
    "refused version_pinned",
    "RunCancelled",
    "RunTerminated",
    "RunTimedOut",
    "TimerFired",
    "ActivityCompleted",
    "Task",
)
"""Replies, and events where no reply tells."""


def vars_of(run: SeenRun) -> str:
    """A run in a line."""
    return f"{run.workflow[1]} {run.workflow_type} seq {run.seq} observed {run.observed}"


def _is_operating(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return all(_is_operating(inner) for inner in error.exceptions)
    return isinstance(error, AionError | asyncio.CancelledError)


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


class Logged(Exception):
    """A service logged an error: in the simulation there is nothing that is one."""


@contextmanager
def errors_are_failures(is_fine: Callable[[Mapping[str, Any], BaseException | None], bool]) -> Iterator[list[str]]:
    """Services keep quiet, except for errors, which are collected: an error that was caught is still a bug."""
    found: list[str] = []

    def collect(_logger: Any, _method: str, event: Any) -> NoReturn:
        error = sys.exc_info()[1]
        if is_fine(event, error):
            raise structlog.DropEvent
        found.append("".join(traceback.format_exception(error))[-5000:] + str(event))
        raise structlog.DropEvent

    before = structlog.get_config()
    structlog.configure(processors=[collect], wrapper_class=structlog.make_filtering_bound_logger(40))
    try:
        yield found
    finally:
        structlog.configure(**before)


def run_seed(seed: int) -> Ending:
    """Live one seed."""
    world = World(seed)
    with errors_are_failures(world.is_fine) as errors:
        broken: str | None = None
        try:
            world.live()
            if errors:
                broken = errors[0]
        except Broken as error:
            broken = str(error) + (f" ({errors[0]})" if errors else "")
        except Exception:  # whatever it is, the seed shows it
            broken = traceback.format_exc()
        story = "" if broken is None else world.story(broken)
        ending = Ending(seed, broken, story, world.digest(), world.loop.steps, dict(world.ledger.counts))
        world.wind_up()
    return ending
