"""Closing a connection hides no cancellation: whoever is to let go of a partition while it reads would go on for ever."""

import asyncio

import pytest

from aion_common.kafka.connection import close_client, open_client


async def test_whoever_is_cancelled_while_it_closes_a_connection_is_cancelled(broker_bootstrap: str) -> None:
    client = await open_client(broker_bootstrap, "closes")
    closing = asyncio.create_task(close_client(client))
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing


async def test_whoever_closes_a_connection_because_it_was_cancelled_may_do_more_afterwards(broker_bootstrap: str) -> None:
    opened = asyncio.Event()
    done: list[str] = []

    async def work() -> None:
        client = await open_client(broker_bootstrap, "closes")
        opened.set()
        try:
            await asyncio.Event().wait()
        finally:
            await close_client(client)
            done.append("more")

    working = asyncio.create_task(work())
    await opened.wait()
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    assert done == ["more"]
