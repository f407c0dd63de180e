"""The VM twin, alive: what its processes do is reported at the next turn of the event loop, as the pool does."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from aion_beam.frames import QueryAnswer
from aion_common.ids import Namespace, Version
from aion_common.records.events import HistoryRecord
from aion_executor.core.run import Run
from aion_executor.shell.residents import TurnTaker
from executor.vm_twin import CODE, VmTwin


@dataclass(slots=True)
class AutoVms:
    """See `residents.Vms`."""

    taker: TurnTaker
    twin: VmTwin = field(default_factory=lambda: VmTwin(CODE))

    def trouble(self, namespace: Namespace, version: Version) -> str | None:
        """See `residents.Vms`."""
        del namespace, version
        return None

    def warm(self, namespace: Namespace, version: Version) -> None:
        """See `residents.Vms`."""
        self.twin.warm(namespace, version)

    def unload(self, namespace: Namespace, version: Version) -> None:
        """See `residents.Vms`."""
        self.twin.unload(namespace, version)

    async def query(self, activation: int, name: str, arguments: bytes) -> QueryAnswer:
        """See `residents.Vms`."""
        return await self.twin.query(activation, name, arguments)

    def start_run(self, run: Run, records: Sequence[HistoryRecord]) -> int:
        """See `residents.Vms`."""
        asyncio.get_running_loop().call_soon(self._report)
        return self.twin.start_run(run, records)

    def start_alone(self, run: Run, records: Sequence[HistoryRecord]) -> int:
        """See `residents.Vms`."""
        asyncio.get_running_loop().call_soon(self._report)
        return self.twin.start_alone(run, records)

    def deliver(self, activation: int, records: Sequence[HistoryRecord]) -> None:
        """See `residents.Vms`."""
        asyncio.get_running_loop().call_soon(self._report)
        self.twin.deliver(activation, records)

    def kill(self, activation: int) -> None:
        """See `residents.Vms`."""
        self.twin.kill(activation)

    def _report(self) -> None:
        while self.twin.ready:
            self.taker.outcome(*self.twin.ready.popleft())
