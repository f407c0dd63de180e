"""Workflows started and signalled by records: a foreign producer writes `aion.ingress`, and the whole system does the rest."""

import asyncio
import json
import os
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from aiokafka import AIOKafkaProducer

from acceptance.packages import RELOAD, fixture_package, reload_package
from acceptance.stack import Api, Stack
from aion_common.ids import CommandId, Namespace, WorkflowId, WorkflowType, ingress_command_id, workflow_id_of
from aion_common.kafka.client import connect
from aion_common.kafka.topics import DEAD_LETTER_PARTITIONS, INGRESS_PARTITIONS
from aion_common.records.common import json_payload
from aion_common.records.ingress import CancelWorkflow, SignalWorkflow, StartWorkflow
from aion_common.wire import encode
from aion_server.broker import free_port
from support import committed, eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")

INGRESS = "aion.ingress"
HEADERS = [("content-type", b"application/json")]


@asynccontextmanager
async def producer_of(stack: Stack, transactional_id: str | None = None) -> AsyncIterator[AIOKafkaProducer]:
    """Somebody else's client."""
    bootstrap = f"127.0.0.1:{stack.kafka_port}"
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, transactional_id=transactional_id, acks="all") as producer:
        yield producer


async def produce(producer: AIOKafkaProducer, partition: int | None = None, **members: Any) -> CommandId:
    """A record in JSON; its command id."""
    value = json.dumps(members).encode()
    written = await producer.send_and_wait(INGRESS, value, partition=partition, headers=HEADERS)
    return ingress_command_id(written.partition, written.offset)


async def closed(api: Api, workflow_id: str) -> Any:
    """The result, also of a run that has yet to start."""

    await eventually(lambda: has_run(api, workflow_id), within_s=60)
    return (await api.result(workflow_id))["result"]


async def has_run(api: Api, workflow_id: str) -> bool:
    """Whether the workflow id has a run, however that goes on."""
    return (await api.call("GET", f"/v1/workflows/{workflow_id}")).status_code == httpx.codes.OK


async def letters(stack: Stack, command_id: CommandId) -> list[tuple[str, bytes | None]]:
    """Reason and key of the dead letters of a record; waits until there is one."""
    _, partition, offset = command_id.split("/")
    log = await connect(f"127.0.0.1:{stack.kafka_port}")

    async def found() -> list[tuple[str, bytes | None]]:
        records = [record for p in range(DEAD_LETTER_PARTITIONS) for record in await committed(log, "aion.deadletter", p)]
        of_place = [
            (dict(record.headers), record.key)
            for record in records
            if dict(record.headers)["aion-topic"] == b"ingress"
            and dict(record.headers)["aion-partition"] == partition.encode()
            and dict(record.headers)["aion-offset"] == offset.encode()
        ]
        return [(headers["aion-reason"].decode(), key) for headers, key in of_place]

    try:
        return await eventually(found)
    finally:
        await log.close()


async def test_records_in_json_start_signal_and_end_runs(api: Api) -> None:
    await api.deploy(fixture_package("two_signals", "run"))
    ns = {"namespace": api.namespace}
    async with producer_of(api.stack) as producer:
        await produce(producer, 3, type="start", workflow_type="two_signals", workflow_id="w", input={"n": 0}, **ns)
        for number, name in enumerate(("first", "second")):
            await produce(producer, 3, type="signal", workflow_id="w", name=name, payload={"n": number}, **ns)
        assert await closed(api, "w") == [{"n": 0}, {"n": 1}]
        unnamed = await produce(producer, 4, type="start", workflow_type="two_signals", **ns)
        await produce(producer, 4, type="terminate", workflow_id=workflow_id_of(unnamed), reason="enough", **ns)
        await eventually(lambda: has_run(api, workflow_id_of(unnamed)))
        assert (await api.result(workflow_id_of(unnamed)))["status"] == "terminated"


async def test_records_in_avro_start_signal_and_end_runs(api: Api) -> None:
    await api.deploy(fixture_package("two_signals", "run"))
    ns, w = Namespace(api.namespace), WorkflowId("w")
    records: list[object] = [
        StartWorkflow(namespace=ns, workflow_type=WorkflowType("two_signals"), workflow_id=w, input=json_payload(b"1")),
        SignalWorkflow(namespace=ns, workflow_id=w, name="first", payload=json_payload(b"1")),
        SignalWorkflow(namespace=ns, workflow_id=w, name="second", payload=json_payload(b"2")),
        StartWorkflow(namespace=ns, workflow_type=WorkflowType("two_signals"), workflow_id=WorkflowId("v")),
        CancelWorkflow(namespace=ns, workflow_id=WorkflowId("v"), reason="enough"),
    ]
    async with producer_of(api.stack) as producer:
        for record in records:
            await producer.send_and_wait(INGRESS, encode(record), key=b"any")
    assert await closed(api, "w") == [1, 2]
    await eventually(lambda: has_run(api, "v"))
    assert [event["type"] for event in await api.history("v")].count("RunStarted") == 1


async def test_a_transaction_starts_nothing_before_its_commit_and_delays_its_own_partition_alone(api: Api) -> None:
    await api.deploy(reload_package(1, function="run"))
    start = {"type": "start", "workflow_type": RELOAD, "namespace": api.namespace}
    async with producer_of(api.stack, f"{api.namespace}-tx") as transactional, producer_of(api.stack) as plain:
        await transactional.begin_transaction()
        await produce(transactional, 5, **start, workflow_id="aborted")
        await transactional.abort_transaction()
        await transactional.begin_transaction()
        await produce(transactional, 5, **start, workflow_id="committed")
        await produce(plain, 5, **start, workflow_id="behind")
        await produce(plain, 6, **start, workflow_id="beside")
        assert await closed(api, "beside") == 1
        for workflow_id in ("aborted", "committed", "behind"):
            assert not await has_run(api, workflow_id)
        await transactional.commit_transaction()
    assert await closed(api, "committed") == await closed(api, "behind") == 1
    assert [event["type"] for event in await api.history("committed")].count("RunStarted") == 1
    assert not await has_run(api, "aborted")


async def test_what_is_refused_is_in_the_dead_letters_with_the_reason(api: Api) -> None:
    await api.deploy(reload_package(1))
    start = {"type": "start", "workflow_type": RELOAD, "namespace": api.namespace, "workflow_id": "w"}
    async with producer_of(api.stack) as producer:
        first = await produce(producer, 0, **start)
        again = await produce(producer, 0, **start)
        stranger = await produce(producer, 1, **start | {"workflow_type": "nobody", "workflow_id": "v"})
        lost = await produce(producer, 1, type="signal", namespace=api.namespace, workflow_id="nobody", name="go")
        misspelt = await produce(producer, 2, **start, inputs=1)
        no_value = await producer.send_and_wait(INGRESS, None, key=b"k", partition=2)
    key = f"{api.namespace}/w".encode()
    assert await letters(api.stack, again) == [("already_started: workflow id 'w' has an open run", key)]
    ((reason, _),) = await letters(api.stack, stranger)
    assert reason.startswith("unknown_workflow_type: ")
    ((reason, _),) = await letters(api.stack, lost)
    assert reason.startswith("not_found: ")
    assert await letters(api.stack, misspelt) == [("invalid_argument: inputs: there is no such field", None)]
    ((reason, _),) = await letters(api.stack, ingress_command_id(2, no_value.offset))
    assert reason == "invalid_argument: value: there is none"
    assert (await api.history("w"))[0]["data"]["version"]
    assert first != again
    await api.signal("w", "go")
    assert (await api.result("w"))["result"] == 1


@asynccontextmanager
async def second_gateway(stack: Stack) -> AsyncIterator[tuple[Process, str]]:
    """A gateway beside the stack's own, and its URL. It may be killed meanwhile."""
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "aion_server",
        "gateway",
        *("--bootstrap", f"127.0.0.1:{stack.kafka_port}"),
        *("--http-port", str(port)),
        stdin=DEVNULL,
        env={key: value for key, value in os.environ.items() if not key.startswith("AION_")},
    )
    try:
        yield process, f"http://127.0.0.1:{port}"
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def forwards(url: str, partitions: int) -> None:
    """Wait until the gateway has so many partitions."""

    async def has_them() -> bool:
        try:
            async with httpx.AsyncClient(trust_env=False) as client:
                told = (await client.get(f"{url}/metrics")).text
        except httpx.TransportError:
            return False
        return f"aion_ingress_partitions {float(partitions)}" in told.splitlines()

    await eventually(has_them, within_s=60)


async def test_gateways_that_die_in_the_middle_start_everything_once(own_stack: Stack) -> None:
    api = Api(own_stack, "default")
    await api.deploy(reload_package(1, function="run"))
    written: list[CommandId] = []

    async def start(producer: AIOKafkaProducer, number: int) -> None:
        for _ in range(number):
            partition = len(written) % INGRESS_PARTITIONS
            written.append(await produce(producer, partition, type="start", workflow_type=RELOAD))

    async with second_gateway(own_stack) as (other, url), producer_of(own_stack) as producer:
        await forwards(url, INGRESS_PARTITIONS // 2)
        await start(producer, 80)
        other.kill()
        await start(producer, 80)
        await forwards(f"http://127.0.0.1:{own_stack.http_port}", INGRESS_PARTITIONS)
        await start(producer, 50)
        await own_stack.kill("gateway")
        await start(producer, 50)
    for command_id in written:
        assert await closed(api, workflow_id_of(command_id)) == 1
    report = await own_stack.check()
    assert report.missing(written) == []
    assert report.runs == report.closed == len(set(written)) == 260
    assert report.letters == 0
