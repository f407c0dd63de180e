"""How late timers fire: many runs with one each, due within a second or at one instant, and one run with many. Prints JSON.

Milliseconds behind the due moment. `decided`: the time in the TimerFired event, which is when the owner took it up. `in_log`:
when the broker had that event. `gone_on`: when it had what the run recorded next, its end. `early`: timers whose event stands
before their due moment, which must be 0. `due_within_ms`: how far apart the due moments really were.
"""

import argparse
import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from shared import DEFAULT, TOPICS, Deployed, deployed, percentiles, tell

from acceptance.packages import packed
from aion_common.clock import SystemClock
from aion_common.ids import CommandId, WorkflowId, WorkflowType, workflow_key
from aion_common.kafka.api import LogRecord, Reader, Sender
from aion_common.kafka.partitioner import partition_of
from aion_common.records.commands import Command, IdConflict, StartRun
from aion_common.records.common import json_payload
from aion_common.records.events import RunCompleted, TimerFired, TimerStarted
from aion_common.wire import decode, encode
from chaos.system import Size

WAKES, MANY = WorkflowType("wakes"), WorkflowType("wakes_often")
SOURCE = """
-module(wakes).
-export([run/1, often/1]).
run(Due) -> aion_flow:sleep(max(0, aion_flow:decode(Due) - aion_flow:now())).
often(Argument) ->
    #{<<"due">> := Due, <<"timers">> := Timers} = aion_flow:decode(Argument),
    Ms = max(0, Due - aion_flow:now()),
    {ok, _} = aion_flow:all([aion_flow:start_timer(Ms) || _ <- lists:seq(1, Timers)]),
    ok.
"""
OF_ONE_RUN_MAX = 1_000
"""Timers that a run may start between two waits."""
CLOCK = SystemClock()
"""The services read the same."""

SPREAD_MS = 1_000
STARTED_AT_ONCE = 20
"""Few, so that a run's timer is recorded soon after its start, from which the run reckons."""


@dataclass(slots=True)
class Seen:
    """What a history says of one run: when each timer was due, when it was decided and in the log, when the run ended."""

    due: dict[int, int] = field(default_factory=dict)
    fired: dict[int, tuple[int, int]] = field(default_factory=dict)
    ended: int | None = None


class Histories:
    """Follows all histories, and knows what became of each run's timers."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self.seen: dict[WorkflowId, Seen] = {}

    async def until_started(self, wanted: Mapping[WorkflowId, int]) -> None:
        """Read until each of these runs has so many timers."""
        while any(len(self._of(one).due) < timers for one, timers in wanted.items()):
            await self._read()

    async def until_ended(self, wanted: Sequence[WorkflowId]) -> None:
        """Read until each of these runs has completed."""
        while any(self._of(one).ended is None for one in wanted):
            await self._read()

    async def _read(self) -> None:
        for records in (await self._reader.read(wait_ms=100, records_max=5_000)).values():
            for record in records:
                self._take(record)

    def _take(self, record: LogRecord) -> None:
        read = decode(record.value)
        match read.event:
            case TimerStarted(timer=timer, fire_at=fire_at):
                self._of(read.workflow_id).due[timer] = fire_at
            case TimerFired(timer=timer):
                self._of(read.workflow_id).fired[timer] = (read.recorded_at, record.timestamp_ms)
            case RunCompleted():
                self._of(read.workflow_id).ended = record.timestamp_ms
            case _:
                pass

    def _of(self, workflow_id: WorkflowId) -> Seen:
        return self.seen.setdefault(workflow_id, Seen())


class Load:
    """Starts runs with timers."""

    def __init__(self, system: Deployed, sender: Sender, histories: Histories) -> None:
        self._system = system
        self._sender = sender
        self._histories = histories

    async def row(self, name: str, dues: Sequence[int]) -> dict[str, object]:
        """A run with a timer for each of these moments."""
        runs = {WorkflowId(f"{name}-{number}"): due for number, due in enumerate(dues)}
        waiting = list(runs)
        for first in range(0, len(waiting), STARTED_AT_ONCE):
            some = waiting[first : first + STARTED_AT_ONCE]
            async with asyncio.TaskGroup() as starts:
                for one in some:
                    starts.create_task(self._start(WAKES, one, runs[one]))
            await self._histories.until_started(dict.fromkeys(some, 1))
        return await self._told(waiting)

    async def row_of_one(self, timers: int, due: int) -> dict[str, object]:
        """One run with so many timers."""
        workflow_id = WorkflowId("one-run")
        await self._start(MANY, workflow_id, {"due": due, "timers": timers})
        await self._histories.until_started({workflow_id: timers})
        return await self._told([workflow_id])

    async def _start(self, workflow_type: WorkflowType, workflow_id: WorkflowId, given: object) -> None:
        body = StartRun(
            workflow_type=workflow_type,
            version=None,
            input=json_payload(json.dumps(given).encode()),
            id_conflict=IdConflict.REJECT,
        )
        command = Command(
            command_id=CommandId(f"bench/{workflow_id}"),
            namespace=DEFAULT,
            workflow_id=workflow_id,
            reply_partition=None,
            body=body,
        )
        key = workflow_key(DEFAULT, workflow_id)
        await self._sender.send(TOPICS.commands, partition_of(key, self._system.partitions), [(key, encode(command))])

    async def _told(self, runs: Sequence[WorkflowId]) -> dict[str, object]:
        left_ms = min(min(self._histories.seen[one].due.values()) for one in runs) - CLOCK.now_ms()
        assert left_ms > 0, "timers were due before the last one was started: give more --ahead"
        cpu = self._system.cpu_ms()
        await self._histories.until_ended(runs)
        used = self._system.cpu_ms()
        seen = [self._histories.seen[one] for one in runs]
        fired = [(due, *one.fired[timer]) for one in seen for timer, due in one.due.items()]
        dues = [due for due, _, _ in fired]
        return {
            "timers": len(fired),
            "due_within_ms": max(dues) - min(dues),
            "early": sum(decided < due for due, decided, _ in fired),
            "decided": percentiles([decided - due for due, decided, _ in fired]),
            "in_log": percentiles([in_log - due for due, _, in_log in fired]),
            "gone_on": percentiles([ended - max(one.due.values()) for one in seen if (ended := one.ended) is not None]),
            "cpu_ms": {part: used[part] - cpu[part] for part in used if part in cpu},
        }


async def measure(timers: int, partitions: int, ahead_ms: int) -> dict[str, object]:
    """All rows."""
    async with deployed(Size(executors=1, gateways=1, catalogs=1, partitions=partitions)) as system:
        archive = packed("wakes", SOURCE, "run", {str(MANY): "often"})
        (await system.http.post("/v1/packages", content=archive)).raise_for_status()
        sender, reader = await system.log.sender(), await system.history_reader()
        load = Load(system, sender, Histories(reader))
        try:
            await load.row("warm-up", [CLOCK.now_ms() + ahead_ms] * (timers // 10))
            first = CLOCK.now_ms() + ahead_ms
            second = await load.row("second", [first + number * SPREAD_MS // timers for number in range(timers)])
            instant = await load.row("instant", [CLOCK.now_ms() + ahead_ms] * timers)
            one_run = await load.row_of_one(min(timers, OF_ONE_RUN_MAX), CLOCK.now_ms() + ahead_ms)
        finally:
            await reader.close()
            await sender.close()
    return {"partitions": partitions, "one_second": second, "one_instant": instant, "one_run": one_run}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--timers", type=int, default=1_000)
    parser.add_argument("--partitions", type=int, default=8)
    parser.add_argument("--ahead", type=int, default=8_000, help="ms from the first start to the first due moment")
    given = parser.parse_args()
    tell(partial(measure, given.timers, given.partitions, given.ahead), "timers")
