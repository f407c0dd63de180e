"""The frame of every service process, seen from outside: exit codes, signals, logs, end with the parent."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

SERVICE = """
import asyncio, logging, os, sys
import structlog
from aion_common.errors import Unavailable
from aion_common.service import run
from aion_common.settings import Settings

async def fails(error):
    raise error

async def serve(settings, stop):
    print("up", flush=True)
    what = sys.argv[1]
    if what == "logs":
        structlog.get_logger().info("partition owned", partition=3, key=bytes([1, 255]))
        logging.getLogger("aiokafka.consumer").info("chatter")
        logging.getLogger("aiokafka.consumer").warning("lag of %s", 7)
    elif what in ("unavailable", "bug"):
        async with asyncio.TaskGroup() as group:
            group.create_task(fails(Unavailable("no broker") if what == "unavailable" else KeyError("bug")))
    elif what == "loop":
        print(type(asyncio.get_running_loop()).__module__, flush=True)
    elif what == "policy":
        print(os.sched_getscheduler(0), flush=True)
    elif what == "deaf":
        await stop.wait()
        print("asked", flush=True)
        await asyncio.Event().wait()
    else:
        await stop.wait()

if sys.argv[1] == "policy":
    os.sched_setscheduler(0, int(sys.argv[2]), os.sched_param(0))
sys.exit(run(serve, Settings(), service="probe"))
"""


@contextmanager
def started(*arguments: str, flags: Sequence[str] = (), parent: int | None = None) -> Iterator[subprocess.Popen[str]]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("AION_")}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    if parent is not None:
        environment["AION_PARENT_PID"] = str(parent)
    command = [sys.executable, *flags, "-c", SERVICE, *arguments]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def lines_of(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_stops_the_service_with_code_0(number: signal.Signals) -> None:
    with started("waits") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        process.send_signal(number)
        _, errors = process.communicate()
    assert process.returncode == 0
    assert [line["event"] for line in lines_of(errors)] == ["service started", "stopping", "service stopped"]


def test_service_runs_on_uvloop() -> None:
    with started("loop") as process:
        output, _ = process.communicate()
    assert (process.returncode, output.splitlines()) == (0, ["up", "uvloop"])


def test_second_signal_ends_at_once() -> None:
    with started("deaf") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        process.terminate()
        assert process.stdout.readline() == "asked\n"
        process.terminate()
        assert process.wait() == -signal.SIGTERM


def test_operating_error_is_one_line_and_code_1() -> None:
    with started("unavailable") as process:
        _, errors = process.communicate()
    assert process.returncode == 1
    failed = lines_of(errors)[-1]
    assert (failed["event"], failed["error"], failed["reason"]) == ("service failed", "Unavailable", "no broker")
    assert "Traceback" not in errors


def test_bug_shows_its_traceback() -> None:
    with started("bug") as process:
        _, errors = process.communicate()
    assert process.returncode == 1
    assert "KeyError: 'bug'" in errors
    assert "Traceback" in errors


def test_optimised_python_is_refused() -> None:
    with started("waits", flags=["-O"]) as process:
        output, errors = process.communicate()
    assert (process.returncode, output) == (1, "")
    assert "run without -O" in errors


def test_logs_are_json_lines_with_the_service_and_libraries_speak_from_warning_on() -> None:
    with started("logs") as process:
        _, errors = process.communicate()
    own, foreign = lines_of(errors)[1:3]
    assert own | {"timestamp": ""} == {
        "event": "partition owned",
        "partition": 3,
        "key": "01ff",
        "service": "probe",
        "level": "info",
        "timestamp": "",
    }
    assert (foreign["event"], foreign["logger"], foreign["service"]) == ("lag of 7", "aiokafka.consumer", "probe")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no parent-death signal")
def test_child_whose_parent_is_already_gone_ends_at_once() -> None:
    with started("waits", parent=os.getppid()) as process:
        output, _ = process.communicate()
    assert (process.returncode, output) == (-signal.SIGKILL, "")


def test_child_of_the_named_parent_runs() -> None:
    with started("waits", parent=os.getpid()) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        process.terminate()
        assert process.wait() == 0


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such policies")
@pytest.mark.parametrize(("before", "after"), [("SCHED_OTHER", "SCHED_BATCH"), ("SCHED_IDLE", "SCHED_IDLE")])
def test_a_service_runs_in_batches_unless_it_was_started_with_another_policy(before: str, after: str) -> None:
    with started("policy", str(getattr(os, before))) as process:
        output, _ = process.communicate()
    assert (process.returncode, output) == (0, f"up\n{getattr(os, after)}\n")
