"""A built host, compiled workflows and a running pool, for the tests against real VMs."""

import asyncio
import contextlib
import subprocess
from collections.abc import AsyncIterator, Callable

import pytest
import uvloop

from aion_beam.host_build import Host, build_host
from aion_beam.pool import VmPool
from aion_beam.port import VmLimits
from aion_common.limits import MIB, QUERY_MS_MAX, VM_IDLE_MS, VM_MEMORY_BYTES_MAX
from beam.bench import FIXTURES, Bench, Listener, Shelf, package_of


def pytest_asyncio_loop_factories(item: pytest.Item) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """What the tests run on: those of a VM as a process on both event loops, all others on asyncio's own."""
    own = {"asyncio": asyncio.new_event_loop}
    return own | {"uvloop": uvloop.new_event_loop} if item.path.name == "test_port.py" else own


@pytest.fixture(scope="session")
def host(pytestconfig: pytest.Config) -> Host:
    assert pytestconfig.cache is not None
    return build_host(pytestconfig.cache.mkdir("aion_host"))


@pytest.fixture(scope="session")
def beams(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The compiled fixture modules by name."""
    out = tmp_path_factory.mktemp("beams")
    sources = [str(source) for source in sorted(FIXTURES.glob("*.erl"))]
    subprocess.run(["erlc", "+deterministic", "-o", str(out), *sources], check=True)
    return {beam.stem: beam.read_bytes() for beam in out.glob("*.beam")}


@contextlib.asynccontextmanager
async def running_bench(
    host: Host,
    beams: dict[str, bytes],
    idle_ms: int,
    memory_bytes_max: int = VM_MEMORY_BYTES_MAX,
    query_ms_max: int = QUERY_MS_MAX,
) -> AsyncIterator[Bench]:
    """A pool that runs until the block is left."""
    shelf = Shelf(package_of(beams, "steps", "flows"))
    listener = Listener()
    vm_limits = VmLimits(heap_bytes_max=8 * MIB, ping_ms=200, memory_bytes_max=memory_bytes_max, query_ms_max=query_ms_max)
    pool = VmPool(host, shelf, listener, vm_limits=vm_limits, idle_ms=idle_ms)
    running = asyncio.create_task(pool.run())
    yield Bench(pool, listener, shelf)
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running


@pytest.fixture
async def bench(host: Host, beams: dict[str, bytes]) -> AsyncIterator[Bench]:
    async with running_bench(host, beams, VM_IDLE_MS) as bench:
        yield bench


@pytest.fixture
async def impatient_bench(host: Host, beams: dict[str, bytes]) -> AsyncIterator[Bench]:
    """Stops VMs as soon as no run is resident."""
    async with running_bench(host, beams, 0) as bench:
        yield bench


@pytest.fixture
async def tight_bench(host: Host, beams: dict[str, bytes]) -> AsyncIterator[Bench]:
    """Kills VMs that hold more than 200 MiB."""
    async with running_bench(host, beams, VM_IDLE_MS, 200 * MIB) as bench:
        yield bench


@pytest.fixture
async def hasty_bench(host: Host, beams: dict[str, bytes]) -> AsyncIterator[Bench]:
    """Gives queries up after half a second."""
    async with running_bench(host, beams, VM_IDLE_MS, query_ms_max=500) as bench:
        yield bench
