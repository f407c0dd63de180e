"""Runs that kill their VM: found, blocked, and nobody else is harmed."""

import os
import signal

from aion_beam.frames import Completed, Waiting
from beam.bench import KEY, Bench
from support import eventually


async def test_a_run_alone_has_a_vm_of_its_own(bench: Bench) -> None:
    parked = bench.start("park")
    await bench.next(parked)
    alone = bench.pool.start_alone(KEY, bench.spec("park"))
    assert isinstance(await bench.next(alone), Waiting)
    (shared,) = bench.pool.vm_pids().values()
    os.kill(shared, signal.SIGKILL)
    gone, _ = await bench.listener.gone.get()
    assert gone == [parked]
    bench.signal(alone, 2, "any")
    assert isinstance(await bench.next(alone), Completed)


async def test_the_vm_of_a_run_alone_does_not_come_again(bench: Bench) -> None:
    alone = bench.pool.start_alone(KEY, bench.spec("halts"))
    gone, _ = await bench.listener.gone.get()
    assert gone == [alone]
    assert bench.pool.vm_pids() == {}
    assert isinstance(await bench.run("answer"), Completed)


async def test_more_suspects_than_places_wait_for_one(bench: Bench) -> None:
    suspects = [bench.pool.start_alone(KEY, bench.spec("answer")) for _ in range(7)]
    for suspect in suspects:
        assert isinstance(await bench.next(suspect), Completed)


async def test_a_vm_over_its_memory_is_killed(tight_bench: Bench) -> None:
    bench = tight_bench
    hungry = bench.start("hoards")
    gone, _ = await bench.listener.gone.get()
    assert gone == [hungry]
    assert isinstance(await bench.run("answer"), Completed)


async def test_a_version_whose_vm_dies_again_and_again_is_started_with_growing_pauses(bench: Bench) -> None:
    for _ in range(3):
        bench.start("halts")
        await bench.listener.gone.get()
    await eventually(bench.pool.vm_pids)
    assert isinstance(await bench.run("answer"), Completed)
