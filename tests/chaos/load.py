"""Clients that repeat every call with its own key until they have an answer, and write down what they were told.

A conversation: start a run that wants some signals, give them one after the other, ask for it, look for it in the list, and
read its result, which must name each signal once and a version that was routed when the run was started; or cancel or
terminate it, which must be how it ends. A loader replaces the version meanwhile, and unloads old ones.
"""

import asyncio
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from acceptance.packages import fixture_source, packed
from aion_common.clock import SystemClock
from aion_common.ids import CommandId, Namespace, WorkflowId, http_command_id
from chaos.calls import Calls, Refused
from support import paced

NAMESPACE = Namespace("default")
TYPE = "collects"
SIGNALS_MAX = 4
REPEAT_CHANCE = 0.1
QUERY_CHANCE = 0.2
LIST_CHANCE = 0.1
OLD_VERSION_CHANCE = 0.1
ENDS = ("completed", "completed", "completed", "completed", "cancelled", "terminated")
"""How conversations end, each as likely as the other."""

BETWEEN_CONVERSATIONS_MS = 20
RESULT_WAIT_MS = 2_000
LISTED_BEFORE_MS = 1_000
"""A list is asked for runs since so long before the start of the one that must be in it: clocks differ a little."""


@dataclass(slots=True)
class Notes:
    """What all clients were told. `acknowledged`: the commands that were accepted. The lists of sentences are of broken
    promises: lost and doubled things, refusals that nobody should get, and what was told that is not so any more (`stale`)."""

    acknowledged: list[CommandId] = field(default_factory=list)
    starts: int = 0
    signals: int = 0
    queries: int = 0
    lists: int = 0
    endings: int = 0
    loads: int = 0
    unloads: int = 0
    pinned: int = 0
    gone: int = 0
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    stale: list[str] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class Load:
    """The clients' side of one system. `routed`: the newest number whose load was acknowledged; `standing`: version -> number
    of those that were loaded and for all we know still are, in order; `closing`: versions that somebody asked to unload;
    `gone`: those that a start was told to be unknown."""

    calls: Calls
    seed: int
    notes: Notes = field(default_factory=Notes)
    routed: int = 0
    standing: dict[str, int] = field(default_factory=dict)
    closing: set[str] = field(default_factory=set)
    gone: set[str] = field(default_factory=set)
    _loading: int = 0
    _unloading: int = 0

    async def converse(self, client: int, round_number: int, done: asyncio.Event) -> None:
        """Conversations, one after the other, until `done`; every one is finished."""
        newest = 0
        async for number in paced(range(1_000_000), every_ms=BETWEEN_CONVERSATIONS_MS):
            if done.is_set():
                return
            workflow_id = f"r{round_number}-c{client}-{number}"
            talk = _Talk(load=self, workflow_id=workflow_id, dice=random.Random(f"{self.seed}/{workflow_id}"))
            try:
                newest = max(newest, await talk.hold(newest))
            except Refused as refusal:
                self.notes.refused.append(f"{workflow_id}: {refusal}")

    async def load(self) -> None:
        """The next version, loaded and routed."""
        self._loading += 1
        number = self._loading
        source = fixture_source(TYPE).replace("version_number() -> 0", f"version_number() -> {number}")
        archive = await asyncio.to_thread(packed, TYPE, source, "run")
        try:
            told = await self.calls.answered(number, "POST", "/v1/packages", f"load-{number}", content=archive)
        except Refused as refusal:
            self.notes.refused.append(f"load {number}: {refusal}")
        else:
            self.notes.loads += 1
            self.routed = number
            self.standing[told["records"][0]["version"]] = number

    async def replace(self) -> None:
        """The next version, and an old one less if nothing needs it."""
        await self.load()
        await self.unload()

    async def settle(self) -> None:
        """No conversation goes on: nothing pins an old version, and what was told to be gone is."""
        pinned = self.notes.pinned
        await self.unload()
        if self.notes.pinned > pinned:
            self.notes.stale.append("a version is pinned although no run is open")
        self.notes.stale += [
            f"version {self.standing[version]} was said to be gone" for version in self.gone & self.standing.keys()
        ]

    async def unload(self) -> None:
        """Try to unload the oldest version that stands, unless it is the newest, too. Runs may pin it; if they do not, there is
        none of it, and nobody can start one."""
        version, number = next(iter(self.standing.items()))
        if len(self.standing) == 1:
            return
        self._unloading += 1
        self.closing.add(version)
        try:
            await self.calls.answered(self._unloading, "DELETE", f"/v1/versions/{version}", f"unload-{self._unloading}")
        except Refused as refusal:
            if refusal.code == "version_pinned":
                self.notes.pinned += 1
            else:
                self.notes.refused.append(f"unload {number}: {refusal}")
            return
        self.notes.unloads += 1
        del self.standing[version]
        await self._is_gone(version, number)

    async def listed(self, first: int, **wanted: str | int) -> list[Mapping[str, Any]]:
        """All runs that agree with the filters, page by page."""
        found: list[Mapping[str, Any]] = []
        following: Mapping[str, str] = {}
        while True:
            params = {"workflow_type": TYPE, **wanted, **following}
            page = await self.calls.answered(first, "GET", "/v1/workflows", params=params)
            found += page["workflows"]
            if page.get("next_cursor") is None:
                self.notes.lists += 1
                return found
            following = {"cursor": page["next_cursor"]}

    async def _is_gone(self, version: str, number: int) -> None:
        open_runs = await self.listed(self._unloading, version=version, status="running")
        self.notes.stale += [f"{run['workflow_id']} is open on version {number} after its unload" for run in open_runs]
        body = {"workflow_type": TYPE, "workflow_id": f"after-unload-{number}", "input": 0, "version": version}
        try:
            await self.calls.answered(self._unloading, "POST", "/v1/workflows", f"after-unload-{number}", json=body)
        except Refused as refusal:
            if refusal.code == "unknown_version":
                return
            self.notes.refused.append(str(refusal))
        else:
            self.notes.starts += 1
            self.notes.stale.append(f"a run was started on version {number} after its unload")


@dataclass(slots=True, kw_only=True)
class _Talk:
    """One conversation. `first`: the gateway that it begins every call with."""

    load: Load
    workflow_id: str
    dice: random.Random
    first: int = field(init=False)

    def __post_init__(self) -> None:
        self.first = self.dice.randrange(len(self.load.calls.gateways))

    async def hold(self, newest: int) -> int:
        """Returns the number of the version that the run was on, if it was the routed one; else 0. `newest`: what this client
        was told before."""
        load, notes = self.load, self.load.notes
        wanted, end = self.dice.randrange(SIGNALS_MAX), self.dice.choice(ENDS)
        routed = max(newest, load.routed)
        old = self.dice.choice(list(load.standing)) if self.dice.random() < OLD_VERSION_CHANCE else None
        number = None if old is None else load.standing[old]
        taken = wanted if end == "completed" else wanted + 1
        if not await self._start(taken, old):
            return 0
        for item in range(wanted):
            await self._accepted(f"{self._path}/signals/item", f"item-{item}", item)
            notes.signals += 1
            if item + 1 < taken and self.dice.random() < QUERY_CHANCE:
                await self._query(item + 1)
        if end != "completed":
            await self._accepted(f"{self._path}/{'cancel' if end == 'cancelled' else 'terminate'}", end, {"reason": "enough"})
            notes.endings += 1
        told = await load.calls.answered(self.first, "GET", f"{self._path}/result", params={"wait_ms": RESULT_WAIT_MS})
        if told["status"] != end:
            notes.lost.append(f"{self.workflow_id} is {told['status']} and should be {end}")
        if told["status"] != "completed":
            return 0
        ran, items = told["result"]
        self._judge(wanted, items)
        if number is not None and ran != number:
            notes.stale.append(f"{self.workflow_id} ran version {ran} and was started on {number}")
        if number is None and ran < routed:
            notes.stale.append(f"{self.workflow_id} ran version {ran} after {routed} was routed")
        return 0 if number is not None else int(ran)

    @property
    def _path(self) -> str:
        return f"/v1/workflows/{self.workflow_id}"

    async def _start(self, wanted: int, version: str | None) -> bool:
        """False: the version is gone."""
        body = {"workflow_type": TYPE, "workflow_id": self.workflow_id, "input": wanted, "version": version}
        before_ms = SystemClock().now_ms()
        try:
            started = await self._accepted("/v1/workflows", "start", body)
        except Refused as refusal:
            if refusal.code != "unknown_version" or version not in self.load.closing:
                raise
            self.load.notes.gone += 1
            self.load.gone.add(version)
            return False
        self.load.notes.starts += 1
        if self.dice.random() < LIST_CHANCE:
            listed = await self.load.listed(self.first, started_after=before_ms - LISTED_BEFORE_MS)
            times = sum(run["run_id"] == started["run_id"] for run in listed)
            if times != 1:
                told = self.load.notes.lost if times == 0 else self.load.notes.doubled
                told.append(f"{self.workflow_id} is {times} times in the list of {len(listed)}")
        return True

    async def _query(self, given: int) -> None:
        """The run has taken some of the signals that it was given, in order."""
        items = await self.load.calls.answered(self.first, "POST", f"{self._path}/queries/items")
        self.load.notes.queries += 1
        if items != list(range(len(items))) or len(items) > given:
            self.load.notes.doubled.append(f"{self.workflow_id} answers {items} after {given} signals")

    def _judge(self, wanted: int, items: Sequence[int]) -> None:
        notes = self.load.notes
        notes.lost += [f"signal {item} of {self.workflow_id}" for item in range(wanted) if item not in items]
        notes.doubled += [f"signal {item} of {self.workflow_id}" for item in range(wanted) if items.count(item) > 1]

    async def _accepted(self, path: str, what: str, body: object) -> Mapping[str, Any]:
        """A command, answered; now and then repeated although it was."""
        key = f"{self.workflow_id}-{what}"
        answer: Mapping[str, Any] = await self.load.calls.answered(self.first, "POST", path, key, json=body)
        self.load.notes.acknowledged.append(http_command_id(NAMESPACE, key, WorkflowId(self.workflow_id)))
        if self.dice.random() < REPEAT_CHANCE:
            again = await self.load.calls.answered(self.first + 1, "POST", path, key, json=body)
            told = [{name: one.get(name) for name in ("run_id", "seq", "version")} for one in (answer, again)]
            if told[0] != told[1]:
                self.load.notes.doubled.append(f"{key} was answered {told[0]}, then {told[1]}")
        return answer
