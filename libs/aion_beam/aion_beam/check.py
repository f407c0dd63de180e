"""The deploy check: a package's modules are loaded and inspected in a VM that is thrown away. Called by the catalog."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from aion_beam.frame_codec import parts_of
from aion_beam.frames import Answer, Check, ToVm
from aion_beam.host_build import Host
from aion_beam.port import Vm, VmLimits, VmListener
from aion_common.errors import BadPackage, Unavailable, VmDied

CHECK_MS = 30_000
"""Inspecting the modules of the largest package takes some seconds on a busy machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """`wakes_itself`: some module has a time-out of its own. `warnings`: as sentences, what is not the same on
    replay, and calls of modules that no VM has."""

    otp_release: str
    wakes_itself: bool
    warnings: tuple[str, ...]


async def check_modules(host: Host, modules: Sequence[tuple[str, bytes]], *, vm_limits: VmLimits | None = None) -> CheckReport:
    """Checks `(name, beam)` of all modules of a package.

    Raises BadPackage with a sentence that names the module (and both Erlang/OTP releases when it does not load here),
    Unavailable when no VM could be started or it took too long.
    """
    vm = await Vm.start(host, VmListener(), vm_limits)
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(vm.watch(), name=f"watch of VM {vm.pid}")
            answer = await _ask(vm, list(parts_of(modules)))
            vm.kill()
    finally:
        await vm.close()
    if not isinstance(answer, Answer):
        raise answer
    return _report(answer)


async def _ask(vm: Vm, parts: Sequence[tuple[str, bytes]]) -> Answer | BadPackage | Unavailable:
    def records(request: int) -> list[ToVm]:
        return [Check(request=request, modules=(part,), more=index < len(parts)) for index, part in enumerate(parts, 1)]

    try:
        async with asyncio.timeout(CHECK_MS / 1000):
            return await vm.request(records)
    except TimeoutError:
        return Unavailable(f"the check of the modules took longer than {CHECK_MS} ms")
    except VmDied:
        return BadPackage("the Erlang VM died of loading the modules")


def _report(answer: Answer) -> CheckReport:
    if not answer.ok:
        raise BadPackage(str(answer.value))
    match answer.value:
        case [str(release), bool(wakes_itself), list(warnings)]:
            return CheckReport(otp_release=release, wakes_itself=wakes_itself, warnings=tuple(str(w) for w in warnings))
        case _:
            raise AssertionError("the host answers a check with its three values")
