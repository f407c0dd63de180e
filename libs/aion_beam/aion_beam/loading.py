"""Loading a package's modules into a VM that has just come up. Called by the pool."""

import asyncio
from collections.abc import Sequence

from aion_beam.frame_codec import parts_of
from aion_beam.frames import Answer, Load, ToVm
from aion_beam.port import Vm
from aion_common.errors import VmDied

LOAD_MS = 30_000
"""Loading the modules of the largest package takes a few seconds on a busy machine."""


async def load_modules(vm: Vm, modules: Sequence[tuple[str, bytes]]) -> Answer | None:
    """The VM's answer to `(name, beam)` of all modules; None when it died or took too long."""
    parts = list(parts_of(modules))

    def records(request: int) -> list[ToVm]:
        return [Load(request=request, modules=(part,), more=index < len(parts)) for index, part in enumerate(parts, 1)]

    try:
        async with asyncio.timeout(LOAD_MS / 1000):
            return await vm.request(records)
    except (TimeoutError, VmDied):
        return None
