"""The gateway as a process: connects, verifies the cluster, serves HTTP until it is told to stop."""

import asyncio
import socket

import httpx
from fastapi import FastAPI

from aion_common import limits
from aion_common.cluster import join_cluster
from aion_common.http_server import listening, serve_http
from aion_common.kafka.client import connect
from aion_common.kafka.topics import Topics
from aion_common.settings import Settings
from aion_gateway.gateway import Gateway, Surroundings, open_gateway
from aion_gateway.http import ends, health, lists, openapi, packages, problems, queries, queues, signals, starts, workflows
from aion_gateway.http.edge import edge

API_VERSION = "1"


def create_app(gateway: Gateway) -> FastAPI:
    """The HTTP side of a gateway that is open."""
    app = FastAPI(
        title="Aion",
        version=API_VERSION,
        description="Durable workflows. Times are milliseconds since the epoch.",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    app.state.gateway = gateway
    app.add_middleware(edge, drain=gateway.drain, in_flight_max=gateway.around.in_flight_max)
    for noun in (starts, workflows, lists, signals, queries, ends, packages, queues, health):
        app.router.routes.extend(noun.router.routes)
    problems.install(app)
    openapi.install(app)
    return app


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Run the gateway until `stop` is set; then it drains for `drain_ms`, if it has not done so already. After that
    waits for ends of runs are over, and other requests have limits.LAST_ANSWERS_MS.

    Raises WrongCluster, Unavailable (at start), and AionError if the address cannot be listened on.
    """
    log = await connect(settings.bootstrap)
    try:
        topics = Topics(settings.topic_prefix)
        cluster = await join_cluster(log, topics)
        async with owners_client() as client:
            around = Surroundings(
                log=log,
                topics=topics,
                client=client,
                gateway_id=settings.gateway_id,
                partitions=cluster.partitions,
                session_ms=settings.session_timeout_ms,
            )
            with listening(settings.http_host, settings.http_port) as (listener, _):
                async with open_gateway(around) as gateway:
                    await serve_until_drained(gateway, listener, stop, settings.drain_ms)
    finally:
        await log.close()


async def serve_until_drained(gateway: Gateway, listener: socket.socket, stop: asyncio.Event, drain_ms: int) -> None:
    """Serve until the gateway was told to stop and whoever routes to it could notice that it drains."""
    drained = asyncio.Event()

    async def drain() -> None:
        await stop.wait()
        await gateway.drain.lasted(drain_ms)
        gateway.owners.end_waits()
        gateway.drain.answer_within(limits.LAST_ANSWERS_MS)
        drained.set()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(drain(), name="drain")
        await serve_http(create_app(gateway), listener, drained)


def owners_client() -> httpx.AsyncClient:
    """A pool of connections to executors. The surroundings' proxies are for the outside world, not for them."""
    return httpx.AsyncClient(
        trust_env=False,
        timeout=httpx.Timeout(None, connect=limits.OWNER_READY_MS / 1000),
        limits=httpx.Limits(max_connections=limits.IN_FLIGHT_REQUESTS_MAX, max_keepalive_connections=100),
    )
