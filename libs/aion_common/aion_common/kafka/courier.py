"""Carries record batches to their partitions' leaders: one produce request per broker is on its way, and all that is ready when
its answer comes leaves with the next one.

So under load a turn of an executor costs one request, whatever the number of its partitions. A batch is asked for only when its
request leaves: what comes while another is on its way still gets into it.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass

from aiokafka.structs import TopicPartition

from aion_common import limits
from aion_common.errors import Unavailable
from aion_common.kafka.brokers import Brokers, Retry
from aion_common.kafka.connection import close_client
from aion_common.kafka.produce import Outcome, produce

Take = Callable[[], bytes | None]
"""The sealed batch, at the moment when it leaves; None: there is none any more."""

_RETRY_PAUSE_S = 0.05
_CLOSED = "the connection to the cluster is closed"


@dataclass(frozen=True, slots=True)
class _Load:
    place: TopicPartition
    take: Take
    answer: asyncio.Future[Outcome]


class Courier:
    """Tells what became of each batch, and tries nothing twice. It owns the client."""

    def __init__(self, client: Brokers) -> None:
        self.client = client
        self._waiting: list[_Load] = []
        self._busy: set[int] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._is_pump_due = False
        self._is_closed = False

    def carry(self, place: TopicPartition, take: Take) -> asyncio.Future[Outcome]:
        """The outcome of one batch; Retry comes after a pause, with a fresh picture of the cluster. Cancelled, when there was
        nothing to take. Whoever cancels it before the request leaves is not asked for a batch."""
        answer: asyncio.Future[Outcome] = self._loop.create_future()
        if self._is_closed:
            answer.set_result(Unavailable(_CLOSED))
            return answer
        self._waiting.append(_Load(place, take, answer))
        self._pump_soon()
        return answer

    async def close(self) -> None:
        """Bounded in time: what is on its way has limits.KAFKA_CLOSE_MS to arrive. A repeat is harmless."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=limits.KAFKA_CLOSE_MS / 1000)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        for load in self._waiting:
            _answer(load, Unavailable(_CLOSED))
        self._waiting.clear()
        await close_client(self.client)

    def _pump_soon(self) -> None:
        if not self._is_pump_due and not self._is_closed:
            self._is_pump_due = True
            self._loop.call_soon(self._pump)

    def _pump(self) -> None:
        """One request for each broker that has none: as much as it may carry of what waits for that broker."""
        self._is_pump_due = False
        if self._is_closed:
            return
        requests: dict[int, dict[TopicPartition, _Load]] = {}
        homeless: list[_Load] = []
        waiting: list[_Load] = []
        for load in self._waiting:
            if load.answer.done():
                continue
            leader = self.client.picture.leader(load.place)
            if leader is None:
                homeless.append(load)
            elif leader in self._busy or not _has_room(requests.setdefault(leader, {}), load.place):
                waiting.append(load)
            else:
                requests[leader][load.place] = load
        self._waiting = waiting
        if homeless:
            self._start(self._look_for_leaders(homeless))
        for node, loads in requests.items():
            batches = {place: content for place, load in loads.items() if (content := _taken(load)) is not None}
            if batches:
                self._busy.add(node)
                self._start(self._deliver(node, batches, loads))
            elif self._waiting:
                self._pump_soon()

    async def _deliver(self, node: int, batches: dict[TopicPartition, bytes], loads: dict[TopicPartition, _Load]) -> None:
        outcomes: dict[TopicPartition, Outcome] = {}
        try:
            outcomes = await produce(self.client, node, batches)
        except Exception as bug:  # whatever it is, nobody must wait for ever
            outcomes = dict.fromkeys(batches, Unavailable(f"a defect in the courier: {bug!r}"))
            raise
        finally:
            self._busy.discard(node)
            self._pump_soon()
            again: list[tuple[_Load, Outcome]] = []
            for place in batches:
                outcome = outcomes.get(place, Unavailable(_CLOSED))
                if isinstance(outcome, Retry):
                    again.append((loads[place], outcome))
                else:
                    _answer(loads[place], outcome)
        if again:
            await self._pause(again)

    async def _look_for_leaders(self, loads: list[_Load]) -> None:
        outcome: Outcome = Unavailable(_CLOSED)
        try:
            with suppress(Retry):
                for topic in {load.place.topic for load in loads}:
                    await self.client.follow(topic)
            found = [load for load in loads if self.client.picture.leader(load.place) is not None]
            if not self._is_closed:
                self._waiting.extend(found)
                self._pump_soon()
                loads = [load for load in loads if load not in found]
            if loads:
                await asyncio.sleep(_RETRY_PAUSE_S)
                with suppress(Retry):
                    await self.client.refresh()
                outcome = Retry(f"{loads[0].place.topic} partition {loads[0].place.partition} has no leader")
        finally:
            for load in loads:
                _answer(load, outcome)

    async def _pause(self, loads: list[tuple[_Load, Outcome]]) -> None:
        try:
            await asyncio.sleep(_RETRY_PAUSE_S)
            with suppress(Retry):
                await self.client.refresh()
        finally:
            for load, outcome in loads:
                _answer(load, outcome)

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _has_room(request: dict[TopicPartition, _Load], place: TopicPartition) -> bool:
    """A request carries one batch of a partition: an owner that lost it and its successor may want to send one each."""
    return place not in request and len(request) < limits.BATCHES_PER_REQUEST_MAX


def _taken(load: _Load) -> bytes | None:
    """None: there is none, and whoever waits for the outcome knows."""
    try:
        content = load.take()
    except Exception as bug:  # one caller's bug must not keep the others' batches
        load.answer.set_exception(bug)
        return None
    if content is None:
        load.answer.cancel()
    return content


def _answer(load: _Load, outcome: Outcome) -> None:
    if not load.answer.done():
        load.answer.set_result(outcome)
