"""The parts of a running gateway, as the HTTP side sees them, and their common life."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx

from aion_common import limits
from aion_common.kafka.api import Log, Sender
from aion_common.kafka.topics import Topics
from aion_gateway.commands import Commands
from aion_gateway.drain import Drain
from aion_gateway.ingress.bridge import Bridge
from aion_gateway.owners import Owners
from aion_gateway.replies import Replies
from aion_gateway.versions import Versions


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a gateway works with. `client`: to executors; `partitions`: of `aion.commands`; `in_flight_max`: HTTP requests;
    `session_ms`: after so long without a sign of it, its share of `aion.ingress` goes to others."""

    log: Log
    topics: Topics
    client: httpx.AsyncClient
    gateway_id: str
    partitions: int
    reply_wait_ms: int = limits.REPLY_WAIT_MS
    session_ms: int = limits.GROUP_SESSION_MS
    in_flight_max: int = limits.IN_FLIGHT_REQUESTS_MAX


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """Everything that HTTP calls need."""

    around: Surroundings
    sender: Sender
    replies: Replies
    drain: Drain
    commands: Commands
    owners: Owners
    versions: Versions


@asynccontextmanager
async def open_gateway(around: Surroundings) -> AsyncIterator[Gateway]:
    """A gateway whose followers run until the block is left. Raises Unavailable if Kafka does not answer at the start;
    later outages are waited out."""
    log, topics = around.log, around.topics
    sender = await log.sender()
    replies = Replies(log, topics, around.gateway_id)
    drain = Drain()
    commands = Commands(
        sender=sender,
        topics=topics,
        replies=replies,
        drain=drain,
        partitions=around.partitions,
        reply_wait_ms=around.reply_wait_ms,
    )
    owners = Owners(log, topics, around.client)
    versions = Versions(log, topics)
    bridge = Bridge(
        log=log,
        topics=topics,
        gateway_id=around.gateway_id,
        partitions=around.partitions,
        session_ms=around.session_ms,
    )
    try:
        async with asyncio.TaskGroup() as followers:
            following = [
                followers.create_task(replies.run(), name="follow-replies"),
                followers.create_task(owners.run(), name="follow-owners"),
                followers.create_task(versions.run(), name="follow-versions"),
                followers.create_task(bridge.run(drain), name="forward-ingress"),
            ]
            yield Gateway(
                around=around,
                sender=sender,
                replies=replies,
                drain=drain,
                commands=commands,
                owners=owners,
                versions=versions,
            )
            for task in following:
                task.cancel()
    finally:
        await sender.close()
