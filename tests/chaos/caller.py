"""One client's calls about one workflow id, each with a key of its own."""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aion_common.ids import Namespace, WorkflowId, http_command_id
from chaos.calls import Calls
from chaos.notes import Notes

NAMESPACE = Namespace("default")
REPEAT_CHANCE = 0.1
RESULT_WAIT_MS = 2_000


@dataclass(slots=True, kw_only=True)
class Caller:
    """`dice`: for all that the client decides; of the seed and the workflow id. `first`: the gateway that it begins every call
    with."""

    calls: Calls
    notes: Notes
    seed: int
    workflow_id: str
    dice: random.Random = field(init=False)
    first: int = field(init=False)

    def __post_init__(self) -> None:
        self.dice = random.Random(f"{self.seed}/{self.workflow_id}")
        self.first = self.dice.randrange(len(self.calls.gateways))

    async def start(self, workflow_type: str, given: object, version: str | None = None) -> Mapping[str, Any]:
        """A run; the answer. Raises Refused."""
        body = {"workflow_type": workflow_type, "workflow_id": self.workflow_id, "input": given, "version": version}
        answer = await self._accepted("/v1/workflows", "start", body)
        self.notes.starts += 1
        return answer

    async def signal(self, name: str, payload: object, what: str) -> None:
        """`what`: its name among this client's commands. Raises Refused."""
        await self._accepted(f"{self._path}/signals/{name}", what, payload)
        self.notes.signals += 1

    async def end(self, how: str) -> None:
        """`cancel` or `terminate`. Raises Refused."""
        await self._accepted(f"{self._path}/{how}", how, {"reason": "enough"})
        self.notes.endings += 1

    async def query(self, name: str) -> Any:
        """The answer of the run, which must be open. Raises Refused."""
        answer = await self.calls.answered(self.first, "POST", f"{self._path}/queries/{name}")
        self.notes.queries += 1
        return answer

    async def result(self) -> Mapping[str, Any]:
        """How the run ended, once it has. Raises Refused."""
        path = f"{self._path}/result"
        answer: Mapping[str, Any] = await self.calls.answered(self.first, "GET", path, params={"wait_ms": RESULT_WAIT_MS})
        return answer

    @property
    def _path(self) -> str:
        return f"/v1/workflows/{self.workflow_id}"

    async def _accepted(self, path: str, what: str, body: object) -> Mapping[str, Any]:
        """A command, answered; now and then repeated although it was. Raises Refused."""
        key = f"{self.workflow_id}-{what}"
        answer: Mapping[str, Any] = await self.calls.answered(self.first, "POST", path, key, json=body)
        self.notes.acknowledged.append(http_command_id(NAMESPACE, key, WorkflowId(self.workflow_id)))
        if self.dice.random() < REPEAT_CHANCE:
            again = await self.calls.answered(self.first + 1, "POST", path, key, json=body)
            told = [{name: one.get(name) for name in ("run_id", "seq", "version")} for one in (answer, again)]
            if told[0] != told[1]:
                self.notes.doubled.append(f"{key} was answered {told[0]}, then {told[1]}")
        return answer
