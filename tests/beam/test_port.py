"""One VM as a process: how it starts, and that it never outlives the process that started it."""

import asyncio
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from aion_beam.frames import Ping
from aion_beam.host_build import Host
from aion_beam.port import Vm, VmLimits, VmListener
from aion_common.errors import Unavailable, VmDied
from support import eventually

STARTER = """
import asyncio, sys
from pathlib import Path
from aion_beam.host_build import build_host
from aion_beam.port import Vm, VmListener
from aion_common.event_loop import loop_factory

async def main():
    vm = await Vm.start(build_host(Path(sys.argv[1])), VmListener())
    print(vm.pid, flush=True)
    await vm.watch()

with asyncio.Runner(loop_factory=loop_factory()) as runner:
    runner.run(main())
"""


async def test_a_vm_says_which_erlang_it_is(host: Host) -> None:
    vm = await Vm.start(host, VmListener())
    assert vm.otp_release == host.otp_release
    await vm.close()
    assert not is_alive(vm.pid)


async def test_a_vm_that_does_not_boot_is_unavailable_with_what_it_said(host: Host, tmp_path: Path) -> None:
    (tmp_path / "aion_host.boot").write_bytes(b"no boot script")
    with pytest.raises(Unavailable, match="did not become ready"):
        await Vm.start(replace(host, directory=tmp_path), VmListener())


async def test_a_vm_that_is_not_ready_in_time_is_unavailable(host: Host) -> None:
    with pytest.raises(Unavailable, match="time-out"):
        await Vm.start(host, VmListener(), VmLimits(ready_ms=1))


async def test_requests_of_a_dead_vm_end(host: Host) -> None:
    gone: list[str] = []
    vm = await Vm.start(host, VmListener(on_gone=gone.append))
    async with asyncio.TaskGroup() as group:
        watch = group.create_task(vm.watch())
        request = group.create_task(refused(vm))
        await asyncio.wait([request], timeout=0)
        vm.kill()
        assert await watch == gone[0]
        assert await request
    assert await refused(vm)
    assert len(gone) == 1
    await vm.close()


@pytest.mark.parametrize("state", ["running", "stopped"])
async def test_a_vm_ends_with_the_process_that_started_it(host: Host, state: str) -> None:
    starter = await asyncio.create_subprocess_exec(
        sys.executable, "-c", STARTER, str(host.directory.parent), stdout=asyncio.subprocess.PIPE
    )
    assert starter.stdout is not None
    pid = int(await starter.stdout.readline())
    if state == "stopped":
        os.kill(pid, signal.SIGSTOP)
    starter.kill()
    await starter.wait()
    await eventually(lambda: not is_alive(pid))
    # Under uvloop the VM has inherited a copy of the pipe's end.
    assert await starter.stdout.read() == b""


async def test_the_end_of_a_vm_is_learned_from_whoever_waits_for_it(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    """A kill that looked for the process's end by itself would take it away from asyncio, which then guesses an exit code."""
    for _ in range(10):
        vm = await Vm.start(host, VmListener())
        vm.kill()
        while is_alive(vm.pid):
            vm.kill()
        await vm.close()
    assert caplog.messages == []


async def test_a_vm_whose_end_is_interrupted_is_gone_all_the_same(host: Host) -> None:
    vm = await Vm.start(host, VmListener())
    async with asyncio.TaskGroup() as group:
        closing = group.create_task(vm.close())
        await asyncio.wait([closing], timeout=0)
        closing.cancel()
    assert closing.cancelled()
    assert is_reaped(vm.pid)


async def refused(vm: Vm) -> bool:
    with pytest.raises(VmDied):
        await vm.request(lambda request: [Ping(request=request)])
    return True


def is_reaped(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except (FileNotFoundError, ProcessLookupError):
        return False
