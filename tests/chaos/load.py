"""Clients that repeat every call with its own key until they have an answer, and write down what they were told.

A conversation: start a run that wants some signals, give them one after the other, read its result, which must name each
signal once and a version that was routed when the run was started. A loader replaces the version meanwhile.
"""

import asyncio
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from acceptance.packages import fixture_source, packed
from aion_common.ids import CommandId, Namespace, WorkflowId, http_command_id
from support import eventually, paced

NAMESPACE = Namespace("default")
TYPE = "collects"
SIGNALS_MAX = 4
REPEAT_CHANCE = 0.1
BETWEEN_CONVERSATIONS_MS = 20
TRY_S = 4.0
"""A call without an answer for so long is made again, at the next gateway."""

RESULT_WAIT_MS = 2_000
GIVEN_UP_S = 180.0
"""Hang guard: nobody waits for so long in a system that works."""

REPEATED_CODES = frozenset({"unavailable", "overloaded", "shutting_down"})


@dataclass(slots=True)
class Notes:
    """What all clients were told. `acknowledged`: the commands that were accepted. The lists of sentences are of broken
    promises; `longest_ms`: the longest that a client waited for the answer of one call, repeats included."""

    acknowledged: list[CommandId] = field(default_factory=list)
    starts: int = 0
    signals: int = 0
    loads: int = 0
    repeats: int = 0
    longest_ms: int = 0
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    stale: list[str] = field(default_factory=list)


class Refused(Exception):
    """An answer that no repeat changes."""


@dataclass(slots=True, kw_only=True)
class Load:
    """The clients' side of one system. `routed`: the newest number whose load was acknowledged."""

    gateways: Sequence[httpx.AsyncClient]
    seed: int
    notes: Notes = field(default_factory=Notes)
    routed: int = 0
    _loading: int = 0

    async def converse(self, client: int, round_number: int, done: asyncio.Event) -> None:
        """Conversations, one after the other, until `done`; every one is finished."""
        dice = random.Random(f"{self.seed}/{round_number}/{client}")
        newest = 0
        async for number in paced(range(1_000_000), every_ms=BETWEEN_CONVERSATIONS_MS):
            if done.is_set():
                return
            workflow_id = f"r{round_number}-c{client}-{number}"
            try:
                newest = await self._conversation(dice, workflow_id, newest)
            except Refused as refusal:
                self.notes.refused.append(f"{workflow_id}: {refusal}")

    async def load(self) -> None:
        """The next version, loaded and routed."""
        self._loading += 1
        number = self._loading
        source = fixture_source(TYPE).replace("version_number() -> 0", f"version_number() -> {number}")
        archive = await asyncio.to_thread(packed, TYPE, source, "run")
        try:
            await self._answered(number, "POST", "/v1/packages", f"load-{number}", content=archive)
        except Refused as refusal:
            self.notes.refused.append(f"load {number}: {refusal}")
        else:
            self.notes.loads += 1
            self.routed = number

    async def _conversation(self, dice: random.Random, workflow_id: str, newest: int) -> int:
        """Returns the number of the version that the run was on."""
        first, wanted = dice.randrange(len(self.gateways)), dice.randrange(SIGNALS_MAX)
        routed = max(newest, self.routed)
        body = {"workflow_type": TYPE, "workflow_id": workflow_id, "input": wanted}
        await self._accepted(dice, first, "/v1/workflows", workflow_id, "start", body)
        self.notes.starts += 1
        path = f"/v1/workflows/{workflow_id}"
        for item in range(wanted):
            await self._accepted(dice, first, f"{path}/signals/item", workflow_id, f"item-{item}", item)
            self.notes.signals += 1
        end = await self._answered(first, "GET", f"{path}/result", None, params={"wait_ms": RESULT_WAIT_MS})
        number, items = end["result"]
        self._judge(workflow_id, wanted, items)
        if number < routed:
            self.notes.stale.append(f"{workflow_id} ran version {number} after {routed} was routed")
        return int(number)

    def _judge(self, workflow_id: str, wanted: int, items: Sequence[int]) -> None:
        self.notes.lost += [f"signal {item} of {workflow_id}" for item in range(wanted) if item not in items]
        self.notes.doubled += [f"signal {item} of {workflow_id}" for item in range(wanted) if items.count(item) > 1]

    async def _accepted(self, dice: random.Random, first: int, path: str, workflow_id: str, what: str, body: object) -> None:
        """A command, answered; now and then repeated although it was."""
        key = f"{workflow_id}-{what}"
        answer = await self._answered(first, "POST", path, key, json=body)
        self.notes.acknowledged.append(http_command_id(NAMESPACE, key, WorkflowId(workflow_id)))
        if dice.random() < REPEAT_CHANCE:
            again = await self._answered(first + 1, "POST", path, key, json=body)
            told = [{name: one.get(name) for name in ("run_id", "seq", "version")} for one in (answer, again)]
            if told[0] != told[1]:
                self.notes.doubled.append(f"{key} was answered {told[0]}, then {told[1]}")

    async def _answered(self, first: int, method: str, path: str, key: str | None, **given: Any) -> Mapping[str, Any]:
        """Repeat the call, with the same key and at one gateway after the other, until it has its answer. Raises Refused."""
        tries = 0
        began = asyncio.get_running_loop().time()

        async def answer() -> Mapping[str, Any] | None:
            nonlocal tries
            tries += 1
            headers = {} if key is None else {"Idempotency-Key": key}
            try:
                response = await self._gateway(first + tries).request(method, path, headers=headers, **given)
            except httpx.TransportError:
                return None
            told: Mapping[str, Any] = response.json()
            if response.is_success:
                return None if method == "GET" and response.status_code == httpx.codes.ACCEPTED else told
            if told["code"] in REPEATED_CODES:
                return None
            raise Refused(f"{method} {path}: {told['code']}: {told['detail']}")

        found = await eventually(answer, within_s=GIVEN_UP_S)
        assert found is not None, "what is waited for is an answer"
        self.notes.repeats += tries - 1
        self.notes.longest_ms = max(self.notes.longest_ms, int((asyncio.get_running_loop().time() - began) * 1000))
        return found

    def _gateway(self, number: int) -> httpx.AsyncClient:
        return self.gateways[number % len(self.gateways)]
