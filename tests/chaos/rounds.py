"""The kill loop: rounds of load and faults; after each, all is answered, every run is closed and every history is read.

One seed decides every fault and what each client does; only the operating system's scheduling is not in its hands.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from aion_common.clock import SystemClock
from aion_common.kafka.client import connect
from aion_common.kafka.topics import Topics
from aion_common.limits import STOP_WAIT_MS
from aion_server.broker import ENDED_AS_ASKED
from aion_server.check import Report, check_cluster
from chaos.brokers import named
from chaos.calls import GIVEN_UP_S, TRY_S, Calls
from chaos.effects import Asked, Effect, effects_in
from chaos.errands import load_chores, run_errands
from chaos.faults import BROKER, VMS, Fault, FaultKind, plan
from chaos.load import Load
from chaos.system import Size, System, running
from chaos.takeovers import read_ownerships, summary_ms, take_overs
from chaos.tasks import all_finished
from support import eventually

CLIENTS = 8
ERRANDS = 6
"""Further clients, whose runs need workers."""

ANSWERS_AROUND = 20
"""So many answers before the fault and after it has healed: the load was there, and is there again."""

SENTENCES_MAX = 100

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Struck:
    """A fault, and when it came and had healed (ms since the epoch). `wrong`: how a victim that was asked to end did not."""

    fault: Fault
    at_ms: int
    until_ms: int
    wrong: str | None


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What all rounds found. `broken`: of the checker's promises, in sentences; `asked`: what the histories say of activities;
    `effects`: what the workers did."""

    seed: int
    rounds: int
    load: Load
    died: list[str]
    broken: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    fallen_over: list[str] = field(default_factory=list)
    wrong_ends: list[str] = field(default_factory=list)
    asked: Asked = field(default_factory=Asked)
    effects: list[Effect] = field(default_factory=list)
    runs: int = 0
    void: int = 0
    stood_still_ms: dict[FaultKind, list[int]] = field(default_factory=lambda: {kind: [] for kind in FaultKind})

    def document(self) -> dict[str, object]:
        """As JSON."""
        notes, calls = self.load.notes, self.load.calls
        lost = [*notes.lost, *self.missing, *self.asked.lost(self.effects)]
        doubled = [*notes.doubled, *self.asked.doubled(self.effects)]
        found = (lost, doubled, notes.wrong, notes.refused, notes.stale, self.broken, self.fallen_over, self.wrong_ends)
        sentences = [sentence for sentences in found for sentence in sentences]
        return {
            "seed": self.seed,
            "rounds": self.rounds,
            "lost": len(lost),
            "doubled": len(doubled),
            "wrong": len(notes.wrong),
            "refused": len(notes.refused),
            "stale": len(notes.stale),
            "broken": len(self.broken),
            "fallen_over": len(self.fallen_over),
            "wrong_ends": len(self.wrong_ends),
            "sentences": sentences[:SENTENCES_MAX],
            "starts": notes.starts,
            "signals": notes.signals,
            "queries": notes.queries,
            "lists": notes.lists,
            "endings": notes.endings,
            "errands": notes.errands,
            "activities": len(self.asked.completed),
            "attempts": len(self.asked.tasks),
            "timed_out": self.asked.timed_out,
            "effects_again": len(self.effects) - len({effect.key for effect in self.effects}),
            "loads": notes.loads,
            "unloads": notes.unloads,
            "unloads_pinned": notes.pinned,
            "starts_on_gone_versions": notes.gone,
            "repeats": calls.repeats,
            "repeated_after": calls.refusals,
            "runs": self.runs,
            "void_records": self.void,
            "longest_answer_ms": calls.longest_ms,
            "died_by_themselves": Counter(self.died),
            "take_over_ms": {f"after {kind}": summary_ms(times) for kind, times in self.stood_still_ms.items()},
        }

    @property
    def is_clean(self) -> bool:
        """Whether every promise was kept."""
        return not self.document()["sentences"]


async def kill_loop(folder: Path, seed: int, rounds: int, tell: Tell, size: Size) -> Outcome:
    """Rounds of faults that the seed draws. Fails only when something hangs: what was found wrong stands in the outcome."""
    async with running(folder, size) as system:
        return await survive(system, plan(seed, rounds, [*system.parts, VMS]), seed, tell)


async def survive(system: System, planned: Sequence[tuple[Fault, ...]], seed: int, tell: Tell) -> Outcome:
    """As `kill_loop`, with these faults, a round for each."""
    async with clients(system) as gateways:
        load = Load(calls=Calls(gateways=gateways), seed=seed)
        outcome = Outcome(seed=seed, rounds=len(planned), load=load, died=system.died)
        await load.load()
        if system.workers:
            await load_chores(load)
        for number, faults in enumerate(planned, start=1):
            tell(f"round {number}: {' and '.join(map(str, faults))}")
            struck = await _round(system, load, number, faults)
            await look(system, outcome, struck)
            tell(
                f"  {load.notes.starts} starts, {load.notes.signals} signals, {load.notes.loads} loads, "
                f"{load.notes.unloads} unloads, {load.notes.errands} errands; longest answer {load.calls.longest_ms} ms so far"
            )
            if not outcome.is_clean:
                tell(f"  broken: {outcome.document()['sentences']}")
                break
        if system.workers:
            await _finish(system)
        return outcome


async def _finish(system: System) -> None:
    log = await connect(system.bootstrap)
    try:
        await all_finished(system.bootstrap, log, Topics("aion."))
    finally:
        await log.close()


async def _round(system: System, load: Load, number: int, faults: tuple[Fault, ...]) -> list[Struck]:
    """Returns once everything that was asked is answered."""
    done, healed = asyncio.Event(), asyncio.Event()
    async with asyncio.TaskGroup() as clients:
        for client in range(CLIENTS):
            clients.create_task(load.converse(client, number, done))
        for client in range(ERRANDS if system.workers else 0):
            clients.create_task(run_errands(load, client, number, healed))
        try:
            await more_answers(load)
            loading = clients.create_task(load.replace())
            async with asyncio.TaskGroup() as striking:
                strokes = [striking.create_task(_strike(system, fault)) for fault in faults]
            await loading
            await more_answers(load)
            healed.set()
            await load.replace()
        finally:
            healed.set()
            done.set()
    await load.settle()
    return [stroke.result() for stroke in strokes]


async def more_answers(load: Load) -> None:
    """Wait until the load has gone on for a while."""
    notes = load.notes
    wanted = len(notes.acknowledged) + ANSWERS_AROUND
    await eventually(lambda: len(notes.acknowledged) >= wanted, within_s=GIVEN_UP_S)


async def _strike(system: System, fault: Fault) -> Struck:
    """Do it and let it heal."""
    clock, victim, wrong = SystemClock(), await named(system, fault.victim), None
    at_ms = clock.now_ms()
    if fault.kind is FaultKind.STOP:
        with system.stopped(victim):
            await _pass(fault.for_ms)
    else:
        system.hold_down(victim)
        try:
            if fault.kind is FaultKind.KILL:
                system.kill(victim)
            else:
                wrong = _wrong(victim, *await system.end(victim))
            await _pass(fault.for_ms)
        finally:
            system.let_go(victim)
    return Struck(fault=fault, at_ms=at_ms, until_ms=clock.now_ms(), wrong=wrong)


def _wrong(victim: str, code: int, took_ms: int) -> str | None:
    good = ENDED_AS_ASKED if victim.startswith(BROKER) else 0
    if code != good:
        return f"{victim} was asked to end and ended with {code}"
    return f"{victim} was asked to end and took {took_ms} ms" if took_ms > STOP_WAIT_MS else None


async def _pass(for_ms: int) -> None:
    """The time that a fault lasts."""
    over = asyncio.Event()
    asyncio.get_running_loop().call_later(for_ms / 1000, over.set)
    await over.wait()


async def look(system: System, outcome: Outcome, struck: list[Struck]) -> None:
    """Read every history, and compare it with what the clients were told."""
    now_ms = SystemClock().now_ms()
    log = await connect(system.bootstrap)
    try:
        report = await check_cluster(log, Topics("aion."))
        ownerships = await read_ownerships(log, Topics("aion."), system.size.partitions)
        await outcome.asked.read_on(log, Topics("aion."), system.size.partitions)
    finally:
        await log.close()
    _judge(outcome, report)
    outcome.effects = effects_in(system.ledger)
    outcome.fallen_over = [f"{name} fell over a defect, see its log" for name in system.fallen_over()]
    outcome.wrong_ends += [one.wrong for one in struck if one.wrong is not None]
    if any(one.fault.victim.startswith(BROKER) for one in struck):
        # What stood still then stood still with the broker.
        return
    for one in struck:
        for take_over in take_overs(ownerships, one.fault.victim, one.at_ms, now_ms):
            outcome.stood_still_ms[one.fault.kind].append(take_over.stood_still_ms)


def _judge(outcome: Outcome, report: Report) -> None:
    notes = outcome.load.notes
    outcome.broken = report.broken
    outcome.missing = [f"{command_id} was acknowledged" for command_id in report.missing(notes.acknowledged)]
    outcome.runs, outcome.void = report.runs, report.void
    if report.runs != report.closed:
        outcome.broken.append(f"{report.runs - report.closed} runs are open although they were answered")
    if report.runs != notes.starts:
        notes.doubled.append(f"{report.runs} runs of {notes.starts} starts")


@asynccontextmanager
async def clients(system: System) -> AsyncIterator[list[httpx.AsyncClient]]:
    """One of each gateway."""
    async with AsyncExitStack() as clients:
        yield [
            await clients.enter_async_context(httpx.AsyncClient(base_url=url, timeout=TRY_S, trust_env=False))
            for url in system.gateways
        ]
