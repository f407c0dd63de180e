"""A pool on real VMs, a listener that waits for what it says, and short words for histories."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from aion_beam.frames import Cancel, Input, Outcome, RunInfo, Signal, Turn, Wait
from aion_beam.pool import Activation, Package, PackageKey, StartSpec, VmPool
from aion_beam.replay import Replay
from aion_common.ids import Namespace, Version, WorkflowType
from aion_common.records.events import WaitKind

FIXTURES = Path(__file__).parents[1] / "fixtures" / "erlang"
KEY = PackageKey(namespace=Namespace("default"), version=Version("0" * 64))
WAITS_IN_RECEIVE = Wait(kind=WaitKind.RECEIVE, name=None)


@dataclass
class Shelf:
    """A package source that can be made to fail: the errors are raised first, one for each fetch; after the first package
    comes `then`."""

    package: Package
    errors: list[Exception] = field(default_factory=list)
    then: Package | None = None

    async def fetch(self, key: PackageKey) -> Package:
        if self.errors:
            raise self.errors.pop(0)
        package = self.package
        self.package = self.then or package
        return package


class Listener:
    """Keeps outcomes by activation, and deaths, until somebody asks for them."""

    def __init__(self) -> None:
        self.gone: asyncio.Queue[tuple[list[Activation], str]] = asyncio.Queue()
        self._outcomes: dict[Activation, asyncio.Queue[Outcome]] = {}

    def on_outcome(self, activation: Activation, outcome: Outcome) -> None:
        self._queue(activation).put_nowait(outcome)

    def on_gone(self, activations: Sequence[Activation], reason: str) -> None:
        self.gone.put_nowait((list(activations), reason))

    async def next(self, activation: Activation) -> Outcome:
        return await self._queue(activation).get()

    def is_quiet(self, activation: Activation) -> bool:
        return self._queue(activation).empty()

    def _queue(self, activation: Activation) -> asyncio.Queue[Outcome]:
        return self._outcomes.setdefault(activation, asyncio.Queue())


@dataclass
class Bench:
    """A running pool, its listener, and short ways to use them."""

    pool: VmPool
    listener: Listener
    shelf: Shelf

    def start(self, function: str, argument: bytes = b"null", *turns: Turn) -> Activation:
        return self.pool.start_run(KEY, self.spec(function, argument, *turns))

    def spec(self, function: str, argument: bytes = b"null", *turns: Turn) -> StartSpec:
        """A run from its beginning, or with these turns."""
        replay = Replay(argument=argument, turns=turns or (turn(1),))
        info = RunInfo(
            namespace="default", workflow_id="order-1", run_id="ab" * 16, workflow_type=function, version=KEY.version
        )
        return StartSpec(workflow_type=WorkflowType(function), info=info, replay=replay)

    def signal(self, activation: Activation, seq: int, name: str, payload: bytes = b"null") -> None:
        self.pool.deliver(activation, seq, 1000 * seq, [sig(name, payload)])

    def cancel(self, activation: Activation, seq: int, reason: str | None = "why") -> None:
        self.pool.deliver(activation, seq, 1000 * seq, [Cancel(reason=reason)])

    async def next(self, activation: Activation) -> Outcome:
        return await self.listener.next(activation)

    async def run(self, function: str, argument: bytes = b"null", *turns: Turn) -> Outcome:
        return await self.next(self.start(function, argument, *turns))

    async def settled(self, activation: Activation) -> bool:
        """Whether nothing more was said of the activation when a run that was started after it has ended."""
        await self.run("answer")
        return self.listener.is_quiet(activation)


def turn(seq: int, *inputs: Input, end: Wait | None = None) -> Turn:
    return Turn(observed_seq=seq, now_ms=1000 * seq, inputs=inputs, end=end)


def waits_for(name: str) -> Wait:
    return Wait(kind=WaitKind.SIGNAL, name=name)


def sig(name: str, payload: bytes = b"null") -> Signal:
    return Signal(name=name, payload=payload)


def package_of(beams: dict[str, bytes], *modules: str) -> Package:
    """A package of these modules; every function of them that the tests name is a workflow type."""
    entries = {
        WorkflowType(line.split("(")[0]): (module, line.split("(")[0])
        for module in modules
        for line in (FIXTURES / f"{module}.erl").read_text().splitlines()
        if line[:1].islower() and "->" in line
    }
    return Package(modules=tuple((module, beams[module]) for module in modules), entries=entries)
