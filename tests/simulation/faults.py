"""What goes wrong in the simulated cluster, and how often. A fault acts at once, wherever its victim happens to be.

Also what only shortens the way to rare states: time that jumps, rooms for few residents, VMs that are killed. `heal` undoes
whatever of it is lasting.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aion_common.testing.memory_cluster import Fault
from aion_executor.core.run import RunStatus
from aion_executor.shell.partition import RenewalDue
from simulation.actors import Disk, Service
from simulation.network import Death
from simulation.programs import EARLY, LATE

if TYPE_CHECKING:
    from simulation.world import World

CLOCK_SKEW_MS = 900
"""Clocks of two machines differ by twice as much at most: that is within what owners accept."""

WRONG_CLOCK_MS = 60_000

LONG_S = 8 * 24 * 3_600


@dataclass(slots=True)
class Machine:
    """Where one member runs, or did. `comes_back_at`: tick at which somebody starts it again; `is_lost`: its session is over,
    and it does not know."""

    member: str
    is_catalog: bool
    service: Service | None = None
    disk: Disk = field(default_factory=Disk)
    comes_back_at: int = 0
    resumes_at: int | None = None
    reconnects_at: int | None = None
    is_lost: bool = False


Act = Callable[["World"], str]


def crash(world: "World") -> str:
    """A process dies, between any two of its awaits."""
    machine = world.some_machine()
    if machine.service is None:
        return ""
    world.end(machine)
    lost = world.random.random()
    if lost < 0.15:
        machine.disk = Disk()
    elif lost < 0.3:
        machine.disk.lose_newest(world.random.randrange(1, 8))
    elif lost < 0.33:
        machine.disk.swap()
    if world.random.random() < 0.5:
        world.lose_session(machine)
    return f"{machine.member} dies"


def doom(world: "World") -> str:
    """A process will die right before or after its next append, send, commit or store write."""
    machine = world.some_machine()
    if machine.service is None:
        return ""
    topics = world.topics
    places = (
        ("commit", topics.replies)
        if machine.is_catalog
        else (topics.history, topics.history, topics.replies, topics.tasks(EARLY), "store")
    )
    place = world.random.choice(places)
    moments = (Death.BEFORE, Death.WITHIN, Death.AFTER) if place == "commit" else (Death.BEFORE, Death.AFTER)
    machine.service.link.doom = (place, world.random.choice(moments))
    return f"{machine.member} will die {machine.service.link.doom}"


def pause(world: "World") -> str:
    """A process stands still; mostly its session ends, and it will go on as if nothing had happened."""
    machine = world.some_machine()
    if machine.service is None or machine.resumes_at is not None:
        return ""
    machine.service.process.is_paused = True
    machine.resumes_at = world.tick + world.random.randrange(2, 25)
    if world.random.random() < 0.8:
        world.lose_session(machine)
    return f"{machine.member} stands still"


def stop(world: "World") -> str:
    """A process is told to end, and ends in good order."""
    machine = world.some_machine()
    if machine.service is not None:
        world.loop.stop(machine.service.process)
    return f"{machine.member} is stopped"


def lose_session(world: "World") -> str:
    """The group forgets a member that is alive."""
    machine = world.some_machine()
    if machine.service is not None:
        world.lose_session(machine)
    return f"{machine.member} loses its session"


def cut(world: "World") -> str:
    """A process does not reach the brokers for a while."""
    machine = world.some_machine()
    if machine.service is None:
        return ""
    machine.service.link.is_cut = True
    machine.reconnects_at = world.tick + world.random.randrange(1, 12)
    return f"{machine.member} is cut off"


def silence(world: "World") -> str:
    """Nobody reaches the brokers for a while."""
    world.cluster.reachable = False
    world.speaks_at = world.tick + world.random.randrange(1, 5)
    return "the brokers are silent"


def confuse(world: "World") -> str:
    """The next append or send to a partition, or the next commit, has an unknown outcome."""
    topics, draw = world.topics, world.random
    written = (topics.replies, topics.commands, topics.results, topics.tasks(EARLY), topics.catalog)
    topic = draw.choice((topics.history, topics.history, *written))
    partition = 0 if topic == topics.catalog else draw.randrange(world.partitions)
    fault = draw.choice(tuple(Fault))
    world.cluster.fail_next_append(topic, partition, fault)
    return f"the next write to {topic}/{partition} fails: {fault.name}"


def forget(world: "World") -> str:
    """The brokers forget the producer id of a partition's owners, now and again for a while."""
    partition = world.random.randrange(world.partitions)
    world.forgetful[partition] = world.tick + world.random.randrange(25)
    world.forget(partition)
    return f"the producer id of partition {partition} is forgotten"


def interrupt(world: "World") -> str:
    """Who is just taking a partition over stands still, and the brokers forget by what they would fence it."""
    for machine in world.places:
        service = machine.service
        if service is None or service.executor is None or machine.resumes_at is not None:
            continue
        claimed = sorted(service.executor._lives.keys() - service.executor.owned().keys())
        if claimed:
            service.process.is_paused = True
            machine.resumes_at = world.tick + world.random.randrange(5, 30)
            world.lose_session(machine)
            world.forgetful[world.random.choice(claimed)] = machine.resumes_at
            return f"{machine.member} stands still in the middle of taking {claimed} over, and is forgotten"
    return ""


def kill_vm(world: "World") -> str:
    """A VM dies."""
    machine = world.some_machine()
    if machine.service is None or machine.service.pool is None:
        return ""
    vms = machine.service.pool.vms()
    if vms:
        machine.service.process.context.run(machine.service.pool.die, world.random.choice(vms))
    return f"a VM of {machine.member} dies"


def ask(world: "World") -> str:
    """Somebody queries some runs."""
    machine = world.some_machine()
    if machine.service is None or machine.service.executor is None:
        return ""
    open_runs = [run_id for run_id, run in world.ledger.runs.items() if run.ended_by is None]
    asked = 0
    for owned in machine.service.executor.owned().values():
        for run in filter(None, map(owned.loop.store.run, open_runs)):
            if run.status is RunStatus.RUNNING and world.random.random() < 0.5:
                world.ask(machine.service.process, owned, run)
                asked += 1
    return f"{machine.member} is asked about {asked} runs"


def renew(world: "World") -> str:
    """An owner has appended so much that its producer's numbers run out."""
    machine = world.some_machine()
    if machine.service is None or machine.service.executor is None:
        return ""
    for owned in machine.service.executor.owned().values():
        machine.service.process.context.run(owned.fail, RenewalDue())
    return f"{machine.member} renews what it owns"


def leap(world: "World") -> str:
    """Much time passes while nobody looks; once so much that commands are deleted, but never so much that answers are."""
    seconds = world.random.choice((1, 1, 6, 30, 70, 700, LONG_S))
    if seconds == LONG_S and world.loop.now > LONG_S:
        return ""
    world.loop.now += seconds
    return f"{seconds} s pass"


def crowd(world: "World") -> str:
    """There is room for few residents."""
    machine = world.some_machine()
    if machine.service is None or machine.service.executor is None:
        return ""
    room = world.random.choice((1, 2, 3, 1_000))
    for owned in machine.service.executor.owned().values():
        owned.loop.waking.residents_max = room
    return f"{machine.member} has room for {room}"


def kill_worker(world: "World") -> str:
    """A worker dies, with what it works on; somebody starts it again."""
    number = world.random.randrange(world.group.workers)
    if number in world.workers_awake_at:
        return ""
    world.loop.kill(world.workers[number].process)
    world.workers_awake_at[number] = world.tick + world.random.randrange(1, 12)
    return f"worker {number} dies"


def pause_worker(world: "World") -> str:
    """A worker stands still, and will go on as if nothing had happened."""
    number = world.random.randrange(world.group.workers)
    if number in world.workers_awake_at:
        return ""
    world.workers[number].process.is_paused = True
    world.workers_awake_at[number] = world.tick + world.random.randrange(2, 25)
    return f"worker {number} stands still"


def divide_tasks(world: "World") -> str:
    """The group gives tasks to others; who had them goes on with what it has begun."""
    for queue in (EARLY, LATE):
        for part in range(world.partitions):
            world.group.holder[queue, part] = world.random.randrange(world.group.workers)
    return f"tasks are divided anew: {world.group.holder}"


def create_queue(world: "World") -> str:
    """Somebody creates the queue that was missing."""
    world.create_queue(LATE)
    return "the late queue is there"


FAULTS: tuple[tuple[int, Act], ...] = (
    (6, crash),
    (8, doom),
    (5, pause),
    (1, stop),
    (3, lose_session),
    (3, cut),
    (1, silence),
    (6, confuse),
    (8, forget),
    (24, interrupt),
    (6, kill_vm),
    (2, renew),
    (8, ask),
    (3, leap),
    (3, crowd),
    (4, kill_worker),
    (2, pause_worker),
    (2, divide_tasks),
    (1, create_queue),
)
