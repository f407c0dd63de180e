"""A built host, compiled workflows and a running pool, for the tests against real VMs."""

import asyncio
import contextlib
import subprocess
from collections.abc import AsyncIterator

import pytest

from aion_beam.host_build import Host, build_host
from aion_beam.pool import VmPool
from aion_beam.port import VmLimits
from beam.bench import FIXTURES, Bench, Listener, Shelf, package_of


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


@pytest.fixture
async def bench(host: Host, beams: dict[str, bytes]) -> AsyncIterator[Bench]:
    shelf = Shelf(package_of(beams, "flows"))
    listener = Listener()
    pool = VmPool(host, shelf, listener, vm_limits=VmLimits(heap_bytes_max=8 * 1024 * 1024, ping_ms=200))
    running = asyncio.create_task(pool.run())
    yield Bench(pool, listener, shelf)
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
