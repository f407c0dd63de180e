"""A request that meets a connection which is lost, and not known to be, on both event loops."""

import asyncio
from collections import deque
from collections.abc import Callable

import pytest
import uvloop
from aiokafka.client import ConnectionGroup
from aiokafka.protocol.metadata import MetadataRequest

from aion_common.kafka.brokers import Retry
from aion_common.kafka.connection import close_client, open_client


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_request_on_a_connection_that_was_just_lost_is_tried_again(
    broker_bootstrap: str, new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(_lost(broker_bootstrap))


async def _lost(bootstrap: str) -> None:
    client = await open_client(bootstrap, "aion-test")
    node = next(iter(client.picture.addresses))
    await client.send(node, MetadataRequest([]))
    connection = client._connections[node, ConnectionGroup.DEFAULT]
    tell_aiokafka = connection._protocol.connection_lost
    requests = deque[asyncio.Task[object]]()
    begun = asyncio.Event()

    def lose(_: Exception | None) -> None:
        tell_aiokafka(ConnectionResetError())
        requests.append(asyncio.get_running_loop().create_task(client.send(node, MetadataRequest([]))))
        begun.set()

    connection._protocol.connection_lost = lose
    connection._writer.transport.abort()
    await begun.wait()
    with pytest.raises(Retry):
        await requests.pop()
    await client.send(node, MetadataRequest([]))
    await close_client(client)
