"""One Erlang VM: the operating system process, its socket, requests and pings.

Records leave as one frame for each turn of the event loop. The VM's death is seen when its socket closes, within
milliseconds, and is told once. The VM in turn ends when the socket closes on this side, however this process ends. Called
by the pool and the deploy check; knows nothing of packages or runs.
"""

import asyncio
import functools
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import cast

import structlog

from aion_beam.frame_codec import PROTOCOL, FrameReader, encode_frames, encode_record
from aion_beam.frames import Answer, Outcome, Ping, Pong, Queried, Ready, ToVm
from aion_beam.host_build import Host
from aion_common import limits
from aion_common.errors import BadRecord, Unavailable, VmDied
from aion_common.metrics import VM_BYTES_WAITING
from aion_common.processes import send_signal

_log = structlog.get_logger(__name__)

_SOCKET_BUFFER_BYTES = limits.MIB
"""So that a burst of frames needs few wake-ups on either side."""

_LOG_LINE_BYTES_MAX = 4 * limits.KIB
"""A longer line of the VM's stderr is logged in pieces."""

_LOWEST_DESCRIPTOR = 3
"""The VM uses 0 to 2 itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VmLimits:
    """What a VM is started with; tests choose smaller ones."""

    ready_ms: int = limits.VM_READY_MS
    ping_ms: int = limits.VM_PING_MS
    pings_missed_max: int = limits.VM_PINGS_MISSED_MAX
    memory_bytes_max: int = limits.VM_MEMORY_BYTES_MAX
    heap_bytes_max: int = limits.RUN_HEAP_BYTES_MAX
    result_bytes_max: int = limits.PAYLOAD_BYTES_MAX
    text_bytes_max: int = limits.REASON_BYTES_MAX
    query_ms_max: int = limits.QUERY_MS_MAX
    turn_requests_max: int = limits.TURN_REQUESTS_MAX
    turn_requests_bytes_max: int = limits.TURN_REQUESTS_BYTES_MAX


@dataclass(frozen=True, slots=True, kw_only=True)
class VmListener:
    """Called from the event loop: with outcomes in the order in which they happened, with answers to queries, and once when the
    VM is gone."""

    on_outcomes: Callable[[Sequence[Outcome]], None] = field(default=lambda _outcomes: None)
    on_queried: Callable[[Queried], None] = field(default=lambda _queried: None)
    on_gone: Callable[[str], None] = field(default=lambda _reason: None)


class Vm:
    """A VM that said it is ready. `start` makes one; `watch` must run as long as it is used; `close` ends it."""

    def __init__(self, process: asyncio.subprocess.Process, connection: "_Connection", vm_limits: VmLimits) -> None:
        self._process = process
        self._connection = connection
        self._limits = vm_limits
        self.otp_release = ""

    @classmethod
    async def start(cls, host: Host, listener: VmListener, vm_limits: VmLimits | None = None) -> "Vm":
        """A VM that is ready. Raises Unavailable when it did not become so in time; nothing is left behind then."""
        vm_limits = vm_limits or VmLimits()
        ours, theirs = _sockets()
        connection = _Connection(listener)
        try:
            process = await _spawn(host, theirs.fileno(), vm_limits)
        except OSError as error:
            ours.close()
            raise Unavailable(f"the Erlang VM does not start: {error}") from error
        finally:
            theirs.close()
        vm = cls(process, connection, vm_limits)
        try:
            await asyncio.get_running_loop().create_unix_connection(lambda: connection, sock=ours)
            async with asyncio.timeout(vm_limits.ready_ms / 1000):
                ready = await connection.ready
        except (TimeoutError, VmDied) as error:
            said = await vm._end()
            raise Unavailable(f"the Erlang VM did not become ready ({str(error) or 'time-out'}): {said}") from error
        except BaseException:
            await vm._end()
            raise
        assert ready.protocol == PROTOCOL, "the host was built from the sources beside this module"
        vm.otp_release = ready.otp_release
        return vm

    @property
    def pid(self) -> int:
        """The operating system's id of the VM."""
        return self._process.pid

    def send(self, records: Iterable[ToVm]) -> None:
        """Takes the records, in order; they leave at the end of this turn of the event loop. Nothing after its death."""
        self._connection.send(records)

    async def request(self, build: Callable[[int], Iterable[ToVm]]) -> Answer:
        """Sends what `build` makes of a fresh request number, and returns the answer. Raises VmDied."""
        return await self._connection.request(build)

    def kill(self) -> None:
        """Ends the VM at once; `on_gone` follows. Harmless to repeat."""
        send_signal(self._process, signal.SIGKILL)

    async def watch(self) -> str:
        """Logs what the VM prints and pings it, killing it when it does not answer. Returns when it is gone: why."""
        async with asyncio.TaskGroup() as group:
            printed = group.create_task(self._log_lines(), name=f"log of VM {self.pid}")
            pings = group.create_task(self._ping(), name=f"pings of VM {self.pid}")
            reason = await self._connection.gone
            pings.cancel()
            self.kill()
            await self._process.wait()
            await printed
        return reason

    async def close(self) -> None:
        """Kills the VM and waits until nothing of it is left."""
        await self._end()

    async def _end(self) -> str:
        """What it said last. A killed process ends within moments: who is cancelled meanwhile stays until then."""
        self.kill()
        self._connection.close()
        try:
            return await self._last_words()
        except asyncio.CancelledError:
            await self._last_words()
            raise

    async def _last_words(self) -> str:
        out = b""
        if self._process.stderr is not None:
            out = await self._process.stderr.read(_LOG_LINE_BYTES_MAX)
            while await self._process.stderr.read(_LOG_LINE_BYTES_MAX):
                pass
        await self._process.wait()
        return out.decode(errors="replace").strip()

    async def _ping(self) -> None:
        missed = 0
        while missed < self._limits.pings_missed_max:
            answered = self._connection.ping()
            try:
                async with asyncio.timeout(self._limits.ping_ms / 1000):
                    await answered
            except TimeoutError:
                # This process may have been the one that slept: what has arrived by now counts.
                missed = 0 if answered.done() and not answered.cancelled() else missed + 1
            else:
                missed = 0
                if (resident_bytes := _resident_bytes(self.pid)) > self._limits.memory_bytes_max:
                    _log.warning("VM takes too much memory", pid=self.pid, resident_bytes=resident_bytes)
                    break
                await asyncio.sleep(self._limits.ping_ms / 1000)
        _log.warning("VM is killed", pid=self.pid, pings_missed=missed)
        self.kill()

    async def _log_lines(self) -> None:
        stream = self._process.stderr
        assert stream is not None, "stderr is a pipe"
        rest = b""
        while data := await stream.read(_LOG_LINE_BYTES_MAX):
            *lines, rest = (rest + data).split(b"\n")
            if len(rest) >= _LOG_LINE_BYTES_MAX:
                lines, rest = [*lines, rest], b""
            for line in lines:
                self._log_line(line)
        self._log_line(rest)

    def _log_line(self, line: bytes) -> None:
        if text := line.decode(errors="replace").rstrip():
            _log.info("VM printed", pid=self.pid, line=text)


class _Connection(asyncio.Protocol):
    """The socket's side of a VM: frames in and out, requests that wait for their answer."""

    def __init__(self, listener: VmListener) -> None:
        loop = asyncio.get_running_loop()
        self.ready: asyncio.Future[Ready] = loop.create_future()
        self.gone: asyncio.Future[str] = loop.create_future()
        self._listener = listener
        self._reader = FrameReader()
        self._transport: asyncio.Transport | None = None
        self._out: list[bytes] = []
        self._requests = count(1)
        self._answers: dict[int, asyncio.Future[Answer]] = {}
        self._pong: tuple[int, asyncio.Future[None]] | None = None
        self._bytes_waiting = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Those of uvloop are of no common class.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self.gone.done():
            return
        try:
            records = self._reader.feed(data)
        except BadRecord as error:
            self._lost(str(error))
            return
        outcomes: list[Outcome] = []
        for record in records:
            if isinstance(record, Outcome):
                outcomes.append(record)
            else:
                self._take(record)
        if outcomes:
            self._listener.on_outcomes(outcomes)

    def _take(self, record: Ready | Answer | Pong | Queried) -> None:
        match record:
            case Ready():
                self.ready.set_result(record)
            case Answer():
                answer = self._answers.pop(record.request, None)
                if answer is not None and not answer.done():
                    answer.set_result(record)
            case Pong():
                if self._pong is not None and self._pong[0] == record.request and not self._pong[1].done():
                    self._pong[1].set_result(None)
            case Queried():
                self._listener.on_queried(record)

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost("the VM ended" if exc is None else f"the VM ended: {exc}")

    def _lost(self, reason: str) -> None:
        if self.gone.done():
            return
        self.gone.set_result(reason)
        if not self.ready.done():
            self.ready.set_exception(VmDied(reason))
            self.ready.exception()
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(VmDied(reason))
        self.close()
        self._count_waiting(0)
        self._listener.on_gone(reason)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def send(self, records: Iterable[ToVm]) -> None:
        if self.gone.done():
            return
        if not self._out:
            asyncio.get_running_loop().call_soon(self._flush)
        self._out += map(encode_record, records)

    def _flush(self) -> None:
        out, self._out = self._out, []
        if self._transport is not None and not self.gone.done():
            self._transport.write(encode_frames(out))
            self._count_waiting(self._transport.get_write_buffer_size())

    def _count_waiting(self, size: int) -> None:
        """At every frame, so with every ping."""
        VM_BYTES_WAITING.inc(size - self._bytes_waiting)
        self._bytes_waiting = size

    async def request(self, build: Callable[[int], Iterable[ToVm]]) -> Answer:
        if self.gone.done():
            raise VmDied(self.gone.result())
        number = next(self._requests)
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        try:
            self.send(build(number))
            return await answer
        finally:
            self._answers.pop(number, None)

    def ping(self) -> asyncio.Future[None]:
        number = next(self._requests)
        answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pong = (number, answered)
        self.send([Ping(request=number)])
        return answered


def _resident_bytes(pid: int) -> int:
    """Memory that a process holds; 0 where the operating system does not tell it in /proc."""
    try:
        pages = Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]
    except OSError:
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def _sockets() -> tuple[socket.socket, socket.socket]:
    ours, theirs = socket.socketpair()
    for end in (ours, theirs):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BUFFER_BYTES)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SOCKET_BUFFER_BYTES)
    ours.setblocking(False)
    if theirs.fileno() < _LOWEST_DESCRIPTOR:
        import fcntl  # noqa: PLC0415 - only a process without standard streams gets here

        high = socket.socket(fileno=fcntl.fcntl(theirs.fileno(), fcntl.F_DUPFD_CLOEXEC, _LOWEST_DESCRIPTOR))
        theirs.close()
        theirs = high
    return ours, theirs


async def _spawn(host: Host, descriptor: int, vm_limits: VmLimits) -> asyncio.subprocess.Process:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ERL_")}
    environment |= {
        "ROOTDIR": str(host.root),
        "BINDIR": str(host.emulator_directory),
        "EMU": "beam",
        "PROGNAME": "erl",
        "ERL_CRASH_DUMP_SECONDS": "0",
    }
    return await asyncio.create_subprocess_exec(
        *_ending_with_parent(),
        *_command(host, descriptor, vm_limits),
        env=environment,
        cwd=host.directory,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        pass_fds=(descriptor,),
        start_new_session=True,
    )


def _command(host: Host, descriptor: int, vm_limits: VmLimits) -> list[str]:
    # One scheduler: the host relies on it (aion_host.erl), and VMs are many. No busy waiting: they are mostly idle.
    emulator = ["+S", "1:1", "+SDcpu", "1:1", "+SDio", "1", "+P", "262144"]
    emulator += ["+sbwt", "none", "+sbwtdcpu", "none", "+sbwtdio", "none"]
    numbers = {
        "-aion_fd": descriptor,
        "-aion_heap_bytes": vm_limits.heap_bytes_max,
        "-aion_query_ms": vm_limits.query_ms_max,
        "-aion_result_bytes": vm_limits.result_bytes_max,
        "-aion_text_bytes": vm_limits.text_bytes_max,
        "-aion_turn_bytes": vm_limits.turn_requests_bytes_max,
        "-aion_turn_requests": vm_limits.turn_requests_max,
    }
    boot = ["-boot", str(host.directory / "aion_host"), "-boot_var", "AION", str(host.directory), "-noinput"]
    return [
        str(host.launcher),
        *emulator,
        *boot,
        *(word for pair in numbers.items() for word in map(str, pair)),
    ]


@functools.cache
def _ending_with_parent() -> tuple[str, ...]:
    """A program in front of the VM's that asks the kernel to kill it when this process dies; empty where there is none.

    The VM ends by itself at the end of its socket; this is for one that is stopped or stuck then. util-linux's setpriv
    sets the signal and becomes the VM; doing it in a forked copy of a process with threads would be unsound. The signal
    belongs to the thread that starts the VM, which is the event loop's and lives as long as the process.
    """
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        return ()
    wrapper = (setpriv, "--pdeathsig", signal.Signals(signal.SIGKILL).name.removeprefix("SIG"))
    probe = subprocess.run([*wrapper, "true"], capture_output=True, check=False, timeout=5)
    return wrapper if probe.returncode == 0 else ()
