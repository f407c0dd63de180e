"""Clients that repeat every call with its own key until they have an answer, and write down what they were told.

A conversation: start a run that wants some signals, give them one after the other, ask for it, look for it in the list, and
read its result, which must name each signal once and a version that was routed when the run was started; or cancel or
terminate it, which must be how it ends. A loader replaces the version meanwhile, and unloads old ones.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from acceptance.packages import fixture_source, packed
from aion_common.clock import SystemClock
from chaos.caller import Caller
from chaos.calls import Calls, Refused
from chaos.notes import Notes
from support import paced

TYPE = "collects"
SIGNALS_MAX = 4
QUERY_CHANCE = 0.2
LIST_CHANCE = 0.1
OLD_VERSION_CHANCE = 0.1
ENDS = ("completed", "completed", "completed", "completed", "cancelled", "terminated")
"""How conversations end, each as likely as the other."""

BETWEEN_CONVERSATIONS_MS = 20
LISTED_BEFORE_MS = 1_000
"""A list is asked for runs since so long before the start of the one that must be in it: clocks differ a little."""


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
            caller = self.caller(f"r{round_number}-c{client}-{number}")
            try:
                newest = max(newest, await _Talk(load=self, caller=caller).hold(newest))
            except Refused as refusal:
                self.notes.refused.append(f"{caller.workflow_id}: {refusal}")

    def caller(self, workflow_id: str) -> Caller:
        """Whoever speaks of this workflow id."""
        return Caller(calls=self.calls, notes=self.notes, seed=self.seed, workflow_id=workflow_id)

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
    """One conversation."""

    load: Load
    caller: Caller

    async def hold(self, newest: int) -> int:
        """Returns the number of the version that the run was on, if it was the routed one; else 0. `newest`: what this client
        was told before."""
        load, caller, dice = self.load, self.caller, self.caller.dice
        wanted, end = dice.randrange(SIGNALS_MAX), dice.choice(ENDS)
        routed = max(newest, load.routed)
        old = dice.choice(list(load.standing)) if dice.random() < OLD_VERSION_CHANCE else None
        number = None if old is None else load.standing[old]
        taken = wanted if end == "completed" else wanted + 1
        if not await self._start(taken, old):
            return 0
        for item in range(wanted):
            await caller.signal("item", item, f"item-{item}")
            if item + 1 < taken and dice.random() < QUERY_CHANCE:
                await self._query(item + 1)
        if end != "completed":
            await caller.end("cancel" if end == "cancelled" else "terminate")
        told = await caller.result()
        if told["status"] != end:
            caller.notes.lost.append(f"{caller.workflow_id} is {told['status']} and should be {end}")
        if told["status"] != "completed":
            return 0
        ran, items = told["result"]
        self._judge(wanted, items)
        if number is not None and ran != number:
            caller.notes.stale.append(f"{caller.workflow_id} ran version {ran} and was started on {number}")
        if number is None and ran < routed:
            caller.notes.stale.append(f"{caller.workflow_id} ran version {ran} after {routed} was routed")
        return 0 if number is not None else int(ran)

    async def _start(self, wanted: int, version: str | None) -> bool:
        """False: the version is gone."""
        caller, notes = self.caller, self.caller.notes
        before_ms = SystemClock().now_ms()
        try:
            started = await caller.start(TYPE, wanted, version)
        except Refused as refusal:
            if refusal.code != "unknown_version" or version not in self.load.closing:
                raise
            notes.gone += 1
            self.load.gone.add(version)
            return False
        if caller.dice.random() < LIST_CHANCE:
            listed = await self.load.listed(caller.first, started_after=before_ms - LISTED_BEFORE_MS)
            times = sum(run["run_id"] == started["run_id"] for run in listed)
            if times != 1:
                told = notes.lost if times == 0 else notes.doubled
                told.append(f"{caller.workflow_id} is {times} times in the list of {len(listed)}")
        return True

    async def _query(self, given: int) -> None:
        """The run has taken some of the signals that it was given, in order."""
        items = await self.caller.query("items")
        if items != list(range(len(items))) or len(items) > given:
            self.caller.notes.doubled.append(f"{self.caller.workflow_id} answers {items} after {given} signals")

    def _judge(self, wanted: int, items: Sequence[int]) -> None:
        notes = self.caller.notes
        notes.lost += [f"signal {item} of {self.caller.workflow_id}" for item in range(wanted) if item not in items]
        notes.doubled += [f"signal {item} of {self.caller.workflow_id}" for item in range(wanted) if items.count(item) > 1]
