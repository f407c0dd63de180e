"""A real Kafka broker (KRaft) as a child process: for development and tests, never for production.

A folder holds one broker: its settings, data and log. Any number of brokers may run side by side, each in a folder of its
own: alone, or as members of one cluster (`seats`). On Linux a broker dies with the process that started it. Where Java and
the jars come from: `java`.
"""

import asyncio
import base64
import contextlib
import os
import shutil
import signal
import socket
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path

from aion_common.errors import Unavailable
from aion_common.kafka import client
from aion_common.processes import send_signal
from aion_server.java import BrokerFailed, classes_file, find_jars, find_java

KAFKA_VERSION = "4.4.0"
OLDER_KAFKA_VERSIONS = ("3.9.1", "4.0.0")
"""The oldest release that is supported, and the first without ZooKeeper: fencing and flips are tested with them."""

START_MS = 60_000
"""Longest wait for a started broker to answer."""

STOP_MS = 15_000
"""A broker asked to stop has so long before it is killed; its data survive either."""

SESSION_MS = 3_000
"""A broker that was not heard of for so long loses what it leads. Kafka's own default is 9 s."""

_PORT_TRIES = 3
ENDED_AS_ASKED = 128 + signal.SIGTERM
"""The exit code of a broker that was asked to stop."""

_CLASSES = "classes.jsa"
"""Java's archive of loaded classes: the first broker that is stopped on a machine leaves it, and the next ones start in
half the time."""

_POLL_S = 0.05
_JAVA_OPTIONS = ("-Xms64m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData")

_PROPERTIES = """\
process.roles=broker,controller
node.id={node_id}
controller.quorum.voters={voters}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs={data}
auto.create.topics.enable=false
default.replication.factor={copies}
min.insync.replicas={copies_in_sync}
unclean.leader.election.enable=false
offsets.topic.num.partitions=1
offsets.topic.replication.factor={copies}
offsets.topic.segment.bytes=1048576
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor={copies}
transaction.state.log.min.isr={copies_in_sync}
transaction.state.log.segment.bytes=1048576
transaction.abort.timed.out.transaction.cleanup.interval.ms=1000
share.coordinator.state.topic.replication.factor={copies}
share.coordinator.state.topic.min.isr={copies_in_sync}
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=500
broker.heartbeat.interval.ms=500
broker.session.timeout.ms={session_ms}
log.cleaner.dedupe.buffer.size=4194304
log.index.size.max.bytes=1048576
num.network.threads=2
num.io.threads=4
background.threads=2
"""

_LOG4J = """\
rootLogger.level=INFO
rootLogger.appenderRef.stdout.ref=STDOUT
appender.stdout.type=Console
appender.stdout.name=STDOUT
appender.stdout.layout.type=PatternLayout
appender.stdout.layout.pattern=%d %p %m (%c)%n
logger.kafka.name=org.apache.kafka
logger.kafka.level=WARN
logger.server.name=kafka
logger.server.level=WARN
logger.state.name=state.change.logger
logger.state.level=WARN
"""

_WITH_PARENT = """\
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL)
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""
"""Runs in the child: asks for SIGKILL when the parent dies (the question closes the race before it), becomes Java."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    """A broker's place in a cluster whose members are brokers and controllers at once. `ports`: of all members, by node id
    from 1, first that for clients, then that of the controller. `session_ms`: broker.session.timeout.ms."""

    cluster_id: str
    node_id: int
    ports: tuple[tuple[int, int], ...]
    session_ms: int = SESSION_MS

    @property
    def port(self) -> int:
        """Its own, for clients."""
        return self.ports[self.node_id - 1][0]


def seats(members: int, session_ms: int = SESSION_MS) -> list[Seat]:
    """The places of a new cluster; every topic has a copy at each member, and all but one must be in sync. No member answers
    before most of them run, so start them together."""
    cluster_id = _new_cluster_id()
    ports = tuple((free_port(), free_port()) for _ in range(members))
    return [
        Seat(cluster_id=cluster_id, node_id=node_id, ports=ports, session_ms=session_ms) for node_id in range(1, members + 1)
    ]


class Broker:
    """One broker in one folder. Start, stop and kill may follow one another any number of times on the same data.

    The process belongs to the thread that starts it: on Linux it dies with that thread."""

    def __init__(
        self, folder: Path, port: int = 0, *, version: str = KAFKA_VERSION, heap_mb: int = 512, seat: Seat | None = None
    ) -> None:
        """`port` 0: that of its seat, or the one it had in this folder, or any free one. Without a seat it is alone."""
        self._folder = folder.resolve()
        self._seat = seat
        self._port = port if seat is None else seat.port
        self._version = version
        self._heap_mb = heap_mb
        self._process: asyncio.subprocess.Process | None = None
        self._classes: Path | None = None

    @property
    def bootstrap(self) -> str:
        """host:port, known once it was started."""
        assert self._port, "the port is chosen at the first start"
        return f"127.0.0.1:{self._port}"

    @property
    def pid(self) -> int | None:
        """Of the running process."""
        return None if self._process is None else self._process.pid

    @property
    def log(self) -> Path:
        """What the broker says."""
        return self._folder / "broker.log"

    async def start(self) -> None:
        """Returns once the broker answers requests. Raises BrokerFailed."""
        assert self._process is None, "a broker is started once at a time"
        java = await find_java()
        jars = await find_jars(self._version)
        command = [java, f"-Xmx{self._heap_mb}m", *_JAVA_OPTIONS, "-cp", ":".join(jars)]
        self._classes = await classes_file(java, jars)
        if self._classes.exists():
            command.insert(1, f"-XX:SharedArchiveFile={self._classes}")
        port_file = self._folder / "port"
        is_new = not port_file.exists()
        is_port_ours = is_new and not self._port
        if not is_new:
            self._port = self._port or int(port_file.read_text())
        for tries_left in reversed(range(_PORT_TRIES)):
            self._port = free_port() if is_port_ours else self._port
            if not _is_free(self._port):
                raise BrokerFailed(f"port {self._port} of 127.0.0.1 is in use")
            try:
                if is_new:
                    await self._format(command)
                    is_new = False
                await self._run(command)
            except BrokerFailed:
                # Another process may have taken a port between the choice and the start.
                if not tries_left or "Address already in use" not in self._last_words():
                    raise
            else:
                port_file.write_text(str(self._port))
                return

    async def stop(self, *, wait_ms: int = STOP_MS) -> None:
        """Ask it to end, wait, and kill it if it does not. Harmless when it does not run."""
        if self._process is None:
            return
        send_signal(self._process, signal.SIGTERM)
        try:
            async with asyncio.timeout(wait_ms / 1000):
                code = await self._process.wait()
        except TimeoutError:
            await self.kill()
        else:
            if code == ENDED_AS_ASKED:
                self._keep_classes()
        self._process = None

    async def kill(self) -> None:
        """SIGKILL, as a crash. Harmless when it does not run."""
        if self._process is None:
            return
        send_signal(self._process, signal.SIGKILL)
        await self._process.wait()
        self._process = None

    async def ended(self) -> int:
        """Wait for its end, however it comes; the exit code (negative: the signal)."""
        assert self._process is not None, "the broker runs"
        return await self._process.wait()

    def _keep_classes(self) -> None:
        new = self._folder / _CLASSES
        if self._classes is not None and new.exists():
            # Only speed is lost where the cache cannot be written.
            with contextlib.suppress(OSError):
                self._classes.parent.mkdir(parents=True, exist_ok=True)
                beside = self._classes.with_suffix(f".{os.getpid()}")
                shutil.move(new, beside)
                beside.replace(self._classes)

    async def _format(self, java: list[str]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(self._folder / "data", ignore_errors=True)
        (self._folder / "log4j2.properties").write_text(_LOG4J)
        settings = self._write_settings()
        cluster_id = _new_cluster_id() if self._seat is None else self._seat.cluster_id
        arguments = ["kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", str(settings)]
        with self.log.open("ab") as output:
            formatting = await asyncio.create_subprocess_exec(
                *java, *arguments, stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output
            )
            code = await formatting.wait()
        if code != 0:
            raise BrokerFailed(f"the broker's folder could not be formatted ({code}); see {self.log}")

    def _write_settings(self) -> Path:
        settings = self._folder / "server.properties"
        seat = self._seat or Seat(cluster_id="", node_id=1, ports=((self._port, free_port()),))
        copies = len(seat.ports)
        text = _PROPERTIES.format(
            node_id=seat.node_id,
            voters=",".join(f"{node_id}@127.0.0.1:{port}" for node_id, (_, port) in enumerate(seat.ports, start=1)),
            port=self._port,
            controller_port=seat.ports[seat.node_id - 1][1],
            data=self._folder / "data",
            copies=copies,
            copies_in_sync=max(copies - 1, 1),
            session_ms=seat.session_ms,
        )
        settings.write_text(text)
        return settings

    async def _run(self, java: list[str]) -> None:
        settings = self._write_settings()
        options = [f"-Dlog4j2.configurationFile={self._folder / 'log4j2.properties'}"]
        if self._classes is not None and not self._classes.exists():
            options.append(f"-XX:ArchiveClassesAtExit={self._folder / _CLASSES}")
        command = [*java[:1], *options, *java[1:], "kafka.Kafka", str(settings)]
        if sys.platform == "linux":
            command = [sys.executable, "-I", "-S", "-c", _WITH_PARENT, str(os.getpid()), *command]
        with self.log.open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                *command, stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
        try:
            async with asyncio.timeout(START_MS / 1000):
                await self._answers()
        except TimeoutError:
            await self.kill()
            raise BrokerFailed(f"the broker did not answer within {START_MS} ms; see {self.log}") from None
        except BaseException:
            await self.kill()
            raise

    async def _answers(self) -> None:
        assert self._process is not None, "the broker was just started"
        while True:
            if self._process.returncode is not None:
                raise BrokerFailed(f"the broker ended with {self._process.returncode}; see {self.log}")
            if await _listens(self._port):
                try:
                    log = await client.connect(self.bootstrap, client_id="aion-broker-watch")
                    await log.close()
                except Unavailable:
                    pass
                else:
                    return
            await asyncio.sleep(_POLL_S)

    def _last_words(self) -> str:
        return self.log.read_text(errors="replace")[-4000:]


def _new_cluster_id() -> str:
    return base64.urlsafe_b64encode(b"aion" + uuid.uuid4().bytes[4:]).decode().rstrip("=")


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True
