"""Between VMs and a partition: a turn that names a task queue nobody knows ends when the queues have been looked at again.

Its activity would fail for good if it has one attempt, and the queue may be a second old. Until then its run is in the turn, as
with a slow VM; the turns of others pass.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

from aion_common.turns import ScheduleActivity
from aion_executor.shell.queues import Queues
from aion_executor.shell.residents import Activation, TurnEnd, TurnTaker


@dataclass(slots=True)
class QueueCheck:
    """See `TurnTaker`; `taker` is told everything, in the order of each activation."""

    taker: TurnTaker
    queues: Queues
    _held: dict[Activation, list[TurnEnd | None]] = field(default_factory=dict)
    _waiting: dict[Activation, list[asyncio.Future[bool]]] = field(default_factory=dict)

    def outcome(self, activation: Activation, ended: TurnEnd | None) -> None:
        """See `TurnTaker`."""
        if (held := self._held.get(activation)) is not None:
            held.append(ended)
        elif ended is not None and self._seeks(ended):
            self._held[activation] = [ended]
            self.queues.when_looked(partial(self._looked, activation))
        else:
            self.taker.outcome(activation, ended)

    def gone(self, activations: Sequence[Activation]) -> None:
        """See `TurnTaker`. A turn that is held has not ended: the replay comes to it again."""
        for activation in activations:
            self._held.pop(activation, None)
            self._tell(activation, False)
        self.taker.gone(activations)

    async def passed(self, activation: Activation) -> bool:
        """Return once no turn of it is held; False: it has gone with its VM, and what it showed may be of a turn that is not
        told."""
        if activation not in self._held:
            return True
        waiter: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(activation, []).append(waiter)
        return await waiter

    def give_up(self) -> None:
        """The ownership has ended: nobody waits any more."""
        for activation in tuple(self._waiting):
            self._tell(activation, False)

    def _tell(self, activation: Activation, has_passed: bool) -> None:
        for waiter in self._waiting.pop(activation, ()):
            if not waiter.done():
                waiter.set_result(has_passed)

    def _seeks(self, ended: TurnEnd) -> bool:
        return any(isinstance(request, ScheduleActivity) and request.queue not in self.queues for request in ended.requests)

    def _looked(self, activation: Activation) -> None:
        if (held := self._held.pop(activation, None)) is None:
            return
        self.taker.outcome(activation, held[0])
        for ended in held[1:]:
            self.outcome(activation, ended)
        if activation not in self._held:
            self._tell(activation, True)
