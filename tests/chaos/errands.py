"""Clients whose runs need workers: `chores` waits for activities of all kinds, for time, and for a signal that may come.

An errand: start a run, perhaps give it the hint, watch it up to some stage, then let it go and read its result, which can be
foretold; or cancel or terminate it there, while activities and timers are open.
"""

import asyncio
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from acceptance.packages import fixture_package
from chaos.activities import FAILURES
from chaos.caller import Caller
from chaos.calls import GIVEN_UP_S, Refused
from chaos.load import Load
from support import eventually, paced

TYPE = "chores"
STAGES = 9
ENDS = (None, None, None, None, "cancel", "terminate")
"""How errands end, each as likely as the other; None: by themselves."""

BETWEEN_ERRANDS_MS = 50
SOON_MS, NEVER_MS = 200, 3_600_000
"""For how long a run waits for the hint: it may come too late; it comes in time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """The input of one run, see `chores.erl`. `hint`: what the client gives it; None: nothing."""

    value: int
    steps: int
    items: Sequence[int]
    beats: int
    nap_ms: int
    hint_ms: int
    hint: int | None

    @classmethod
    def drawn(cls, dice: random.Random) -> "Wish":
        """Any."""
        hint = dice.choice((None, dice.randrange(1_000)))
        return cls(
            value=dice.randrange(1, 1_000),
            steps=dice.randrange(1, 4),
            items=[dice.randrange(1_000) for _ in range(dice.randrange(9))],
            beats=dice.randrange(1, 13),
            nap_ms=dice.randrange(300),
            hint_ms=SOON_MS if hint is None else dice.choice((SOON_MS, NEVER_MS)),
            hint=hint,
        )

    def input(self) -> Mapping[str, object]:
        """As JSON."""
        told = {name: getattr(self, name) for name in ("value", "steps", "items", "beats", "nap_ms", "hint_ms")}
        return {**told, "items": list(self.items)}

    def results(self) -> list[Mapping[str, Any]]:
        """All that may come of it: either of two activities may be the first one, and the hint may be late."""
        hints = [self.hint] if self.hint_ms == NEVER_MS else [self.hint, "nothing"]
        return [
            {
                "steps": self.value + self.steps,
                "doubles": [2 * item for item in self.items],
                "first": [first, 2 * self.value],
                "stubborn": (FAILURES + 1) * self.value,
                "gave_up": "timeout",
                "in_time": 2 * self.value,
                "slept": True,
                "hint": hint,
                "counted": self.beats,
            }
            for first in ("quick", "slow")
            for hint in hints
        ]


async def load_chores(load: Load) -> None:
    """The package of the runs."""
    archive = await asyncio.to_thread(fixture_package, TYPE, "run")
    await load.calls.answered(0, "POST", "/v1/packages", "load-chores", content=archive)


async def run_errands(load: Load, client: int, round_number: int, done: asyncio.Event) -> None:
    """Errands, one after the other, until `done`; every one is finished."""
    async for number in paced(range(1_000_000), every_ms=BETWEEN_ERRANDS_MS):
        if done.is_set():
            return
        caller = load.caller(f"r{round_number}-e{client}-{number}")
        try:
            await _errand(caller)
        except Refused as refusal:
            load.notes.refused.append(f"{caller.workflow_id}: {refusal}")
        except TimeoutError as hanging:
            hanging.add_note(caller.workflow_id)
            raise


async def _errand(caller: Caller) -> None:
    wish, end, stage = Wish.drawn(caller.dice), caller.dice.choice(ENDS), caller.dice.randrange(STAGES + 1)
    await caller.start(TYPE, wish.input())
    if wish.hint is not None:
        await caller.signal("hint", wish.hint, "hint")
    if end is None:
        await caller.signal("bye", None, "bye")
    else:
        await eventually(lambda: _is_at(caller, stage), within_s=GIVEN_UP_S)
        await caller.end(end)
    told = await caller.result()
    wanted = {None: "completed", "cancel": "cancelled", "terminate": "terminated"}[end]
    if told["status"] != wanted:
        caller.notes.lost.append(f"{caller.workflow_id} is {told['status']} and should be {wanted}")
    elif end is None and told["result"] not in wish.results():
        caller.notes.wrong.append(f"{caller.workflow_id} ended with {told['result']}, not with {wish.results()[0]}")
    caller.notes.errands += 1


async def _is_at(caller: Caller, stage: int) -> bool:
    """Whether so many stages are behind it."""
    told: int = await caller.query("stage")
    return told >= stage
