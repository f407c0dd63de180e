"""VMs come on first use, come again when they die, and nobody waits for an answer that cannot come."""

import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
import structlog.testing
from prometheus_client import REGISTRY

from aion_beam.frames import CaughtUp, Completed
from aion_beam.pool import PackageKey
from aion_common.errors import BadPackage, Unavailable, VmDied
from aion_common.ids import Version
from beam.bench import KEY, Bench, sig, turn, waits_for
from support import eventually


async def test_a_killed_vm_is_told_once_and_comes_again(bench: Bench) -> None:
    runs = [bench.start("two_signals") for _ in range(3)]
    for run in runs:
        await bench.next(run)
    bench.signal(runs[0], 2, "a")
    await bench.next(runs[0])
    (pid,) = bench.pool.vm_pids().values()
    os.kill(pid, signal.SIGKILL)
    lost, reason = await bench.listener.gone.get()
    assert lost == runs
    assert reason
    again = bench.start("two_signals", b"null", turn(1, end=waits_for("a")))
    assert await bench.next(again) == CaughtUp(activation=again)
    assert bench.pool.vm_pids()[KEY] != pid
    assert bench.listener.gone.empty()
    assert all(bench.listener.is_quiet(run) for run in runs)


async def test_what_a_void_activation_is_told_goes_nowhere(bench: Bench) -> None:
    run = bench.start("two_signals")
    await bench.next(run)
    os.kill(bench.pool.vm_pids()[KEY], signal.SIGKILL)
    await bench.listener.gone.get()
    bench.signal(run, 3, "a")
    bench.pool.kill(run)
    assert await bench.settled(run)


async def test_a_vm_that_does_not_answer_is_killed(bench: Bench) -> None:
    run = bench.start("two_signals")
    await bench.next(run)
    os.kill(bench.pool.vm_pids()[KEY], signal.SIGSTOP)
    lost, _ = await bench.listener.gone.get()
    assert lost == [run]
    assert isinstance(await bench.run("answer"), Completed)


async def test_what_a_vm_does_not_take_is_counted_until_it_dies(bench: Bench) -> None:
    run = bench.start("count")
    await bench.next(run)
    os.kill(bench.pool.vm_pids()[KEY], signal.SIGSTOP)
    bench.pool.deliver(run, 42, 42_000, [sig("one", b"x" * 200_000) for _ in range(40)])
    await eventually(lambda: bytes_waiting() > 1_000_000)
    await bench.listener.gone.get()
    assert bytes_waiting() == 0


def bytes_waiting() -> float:
    return REGISTRY.get_sample_value("aion_vm_bytes_waiting") or 0


async def test_a_vm_with_nothing_but_busy_runs_answers_its_pings(bench: Bench) -> None:
    busy = [bench.start("forever") for _ in range(10)]
    assert isinstance(await bench.run("busy"), Completed)
    assert bench.listener.gone.empty()
    assert len(bench.pool.vm_pids()) == 1
    for run in busy:
        bench.pool.kill(run)


async def test_starts_and_deliveries_wait_for_the_vm(bench: Bench) -> None:
    run = bench.start("two_signals")
    bench.signal(run, 2, "b", b"2")
    bench.signal(run, 3, "a", b"1")
    killed = bench.start("two_signals")
    bench.pool.kill(killed)
    assert bench.pool.vm_pids() == {}
    outcomes = [await bench.next(run) for _ in range(3)]
    assert outcomes[-1] == Completed(activation=run, observed_seq=3, json=b"[1,2]")
    assert await bench.settled(killed)


async def test_a_package_that_is_not_reachable_is_asked_for_again(bench: Bench) -> None:
    bench.shelf.errors = [Unavailable("no broker"), Unavailable("no broker")]
    assert isinstance(await bench.run("answer"), Completed)
    assert bench.shelf.errors == []


async def test_a_package_that_is_of_no_use_is_asked_for_again(bench: Bench) -> None:
    bench.shelf.errors = [BadPackage("the archive is torn"), OSError("disk full")]
    assert isinstance(await bench.run("answer"), Completed)
    assert bench.shelf.errors == []


@pytest.mark.parametrize("bad", [("flows", b"not a beam"), ("lists", b"")], ids=["not a beam", "a module of the VM"])
async def test_runs_wait_while_a_module_does_not_load(bench: Bench, bad: tuple[str, bytes]) -> None:
    good = bench.shelf.package
    bench.shelf.package = replace(good, modules=(*good.modules, bad) if bad[0] != "flows" else (bad,))
    bench.shelf.then = good
    assert isinstance(await bench.run("answer"), Completed)


async def test_a_vm_without_residents_is_stopped_and_comes_back(impatient_bench: Bench) -> None:
    for _ in range(2):
        parked = impatient_bench.start("park")
        await impatient_bench.next(parked)
        assert impatient_bench.pool.vm_pids()
        impatient_bench.pool.kill(parked)
        await eventually(lambda: not impatient_bench.pool.vm_pids())


async def test_each_version_has_a_vm_of_its_own(bench: Bench) -> None:
    other = PackageKey(namespace=KEY.namespace, version=Version("1" * 64))
    bench.pool.warm(other)
    await bench.run("answer")
    while len(bench.pool.vm_pids()) < 2:
        await bench.run("answer")
    assert set(bench.pool.vm_pids()) == {KEY, other}


async def test_a_stopped_version_says_nothing_more(bench: Bench) -> None:
    run = bench.start("two_signals")
    await bench.next(run)
    pid = bench.pool.vm_pids()[KEY]
    bench.pool.stop_version(KEY)
    bench.pool.stop_version(KEY)
    bench.signal(run, 3, "a")
    assert await bench.settled(run)
    assert bench.listener.gone.empty()
    assert bench.pool.vm_pids()[KEY] != pid


async def test_a_version_is_stopped_with_its_suspects_and_what_waits(bench: Bench) -> None:
    deaths = REGISTRY.get_sample_value("aion_vm_deaths_total")
    shared = bench.start("park")
    alone = bench.pool.start_alone(KEY, bench.spec("park"))
    for run in (shared, alone):
        await bench.next(run)
    assert vms_of(KEY) == 2
    waiting = bench.pool.start_alone(KEY, bench.spec("answer"))
    question = bench.pool.query(waiting, "stage", b"null")
    bench.pool.stop_version(KEY)
    with pytest.raises(VmDied):
        await question
    await eventually(lambda: vms_of(KEY) is None)
    assert bench.pool.vm_pids() == {}
    assert all(bench.listener.is_quiet(run) for run in (shared, alone, waiting))
    assert bench.listener.gone.empty()
    assert REGISTRY.get_sample_value("aion_vm_deaths_total") == deaths


def vms_of(key: PackageKey) -> float | None:
    return REGISTRY.get_sample_value("aion_vms", {"version": key.version})


async def test_what_a_run_prints_is_logged(bench: Bench) -> None:
    with structlog.testing.capture_logs() as logs:
        await bench.run("prints")
        lines = await eventually(lambda: printed(logs) if len(printed(logs)) == 50 else None)
    assert lines == [f"line {n} of the workflow" for n in range(1, 51)]


def printed(logs: Sequence[Mapping[str, object]]) -> list[object]:
    return [log["line"] for log in logs if log["event"] == "VM printed"]
