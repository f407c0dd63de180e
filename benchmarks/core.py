"""What the executor's own part of a step costs: decide, fold, seal, write to RocksDB; no broker, no VM. Prints JSON.

Runs call one activity after the other. `us`: CPU time per step, when so many runs of a partition go on in one batch. Beside
other work on the machine its rows stay comparable with each other, not with another day's.
"""

import argparse
import cProfile
import json
import pstats
import sys
import tempfile
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from shared import PROFILE_LINES

from aion_beam.frames import QueryAnswer
from aion_common.ids import Namespace, Version, WorkflowId
from aion_common.records.common import ActivityTimeouts, Backoff, RetryPolicy, json_payload
from aion_common.records.events import HistoryRecord, WaitKind
from aion_common.records.tasks import Task, TaskCompleted, TaskReport
from aion_common.turns import ScheduleActivity
from aion_common.wire import decode, encode
from aion_executor.core.inputs import Completes, ResultInput, Waits
from aion_executor.core.run import Run
from aion_executor.shell.residents import Activation, TurnEnd
from aion_executor.store.behind import WriteBehind
from aion_executor.store.rocks import RocksTables
from executor.given import V1, routed, start
from executor.world import World

STEPS = 5
TIMEOUTS = ActivityTimeouts(
    schedule_to_start_ms=None, start_to_close_ms=60_000, schedule_to_close_ms=300_000, heartbeat_ms=None
)
RETRY = RetryPolicy(attempts=3, backoff=Backoff.EXPONENTIAL, initial_ms=100, max_ms=1_000, jitter_percent=10, non_retryable=())


@dataclass(slots=True)
class Calling:
    """See `residents.Vms`: every run calls STEPS activities, one after the other, in no time."""

    ready: deque[tuple[Activation, TurnEnd]] = field(default_factory=deque)
    _steps: dict[Activation, int] = field(default_factory=dict)
    _number: int = 0

    def start_run(self, run: Run, records: Sequence[HistoryRecord]) -> Activation:
        """See `residents.Vms`."""
        del run
        self._number += 1
        self._steps[self._number] = 0
        self.deliver(self._number, records)
        return self._number

    def deliver(self, activation: Activation, records: Sequence[HistoryRecord]) -> None:
        """See `residents.Vms`."""
        step = self._steps[activation] = self._steps[activation] + 1
        observed = records[-1].seq
        if step > STEPS:
            ended = TurnEnd(observed_seq=observed, outcome=Completes(result=json_payload(b"1")))
        else:
            call = ScheduleActivity(
                activity=step,
                activity_type="double",
                queue="default",
                input=json_payload(b"[1]"),
                retry=RETRY,
                timeouts=TIMEOUTS,
            )
            waits = Waits(wait=WaitKind.RESULT, name=str(step))
            ended = TurnEnd(observed_seq=observed, outcome=waits, requests=(call,))
        self.ready.append((activation, ended))

    start_alone = start_run

    def kill(self, activation: Activation) -> None:
        """See `residents.Vms`."""
        self._steps.pop(activation, None)

    def warm(self, namespace: Namespace, version: Version) -> None:
        """See `residents.Vms`."""

    def unload(self, namespace: Namespace, version: Version) -> None:
        """See `residents.Vms`."""

    def trouble(self, namespace: Namespace, version: Version) -> str | None:
        """See `residents.Vms`."""
        return None

    async def query(self, activation: Activation, name: str, arguments: bytes) -> QueryAnswer:
        """See `residents.Vms`."""
        raise NotImplementedError


def reports_of(world: World) -> None:
    """What a worker answers to the tasks that have left, as bytes, and what the owner reads of them."""
    given = []
    for task in world.tasks:
        report = TaskReport(
            namespace=task.namespace,
            workflow_id=task.workflow_id,
            run_id=task.run_id,
            activity=task.activity,
            attempt=task.attempt,
            worker="w",
            body=TaskCompleted(result=json_payload(b"2")),
        )
        given.append(encode(report))
    world.tasks.clear()
    world.results.extend(ResultInput(offset=len(world.results), report=decode(value)) for value in given)


def go_on(world: World, vms: Calling) -> None:
    """One batch: everything there is."""
    loop = world.loop
    loop.gather(world.now_ms)
    loop.bring_in(world.now_ms)
    while vms.ready:
        loop.outcome(*vms.ready.popleft(), world.now_ms)
        loop.gather(world.now_ms)
    if loop.is_due(world.now_ms):
        batch = loop.seal(world.now_ms)
        world.owed.append(loop.acknowledged(loop.next_offset))
        del batch
    for owed in world.owed:
        world.tasks.extend(task for send in owed.sends if isinstance(task := decode(send.value), Task))
        loop.sent(owed, world.now_ms)
    world.owed.clear()
    world.now_ms += 1


def measure(at_once: int, runs: int, folder: Path) -> float:
    """CPU microseconds per step, without those of the worker's part."""
    world = World(tables=WriteBehind(RocksTables(folder)))
    vms = Calling()
    world.loop.residents.vms = vms
    world.send(routed(V1, 1))
    go_on(world, vms)
    spent = 0.0
    for first in range(0, runs, at_once):
        world.send(
            *(start(f"c{first}-{number}", "calls", workflow_id=WorkflowId(f"w{first}-{number}")) for number in range(at_once))
        )
        for _ in range(STEPS + 1):
            began = time.process_time()
            go_on(world, vms)
            spent += time.process_time() - began
            reported = len(world.results)
            reports_of(world)
            world.loop.offer_results(world.results[reported:])
    return spent * 1e6 / (runs * STEPS)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=2_000, help="for each row")
    parser.add_argument("--at-once", type=int, nargs="+", default=[1, 3, 10, 60])
    parser.add_argument("--profile", action="store_true", help="tell on standard error where the time goes")
    given = parser.parse_args()
    profile = cProfile.Profile(time.process_time)
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        for number in given.at_once:
            if given.profile:
                profile.enable()
            rows[number] = round(measure(number, given.runs, Path(folder) / str(number)), 1)
            profile.disable()
    print(json.dumps({"benchmark": "core", "us": rows}))
    if given.profile:
        pstats.Stats(profile, stream=sys.stderr).sort_stats("tottime").print_stats(PROFILE_LINES)
