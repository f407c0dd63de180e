"""The gateway as a process: connects, verifies the cluster, serves HTTP until it is told to stop."""

import asyncio

import httpx
from fastapi import FastAPI

from aion_common import limits
from aion_common.cluster import join_cluster
from aion_common.http_server import listening, serve_http
from aion_common.kafka.client import connect
from aion_common.kafka.topics import Topics
from aion_common.settings import Settings
from aion_gateway.gateway import Gateway, Surroundings, open_gateway
from aion_gateway.http import health, openapi, packages, problems, signals, workflows
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
    app.add_middleware(edge, in_flight_max=gateway.around.in_flight_max)
    for noun in (packages, workflows, signals, health):
        app.include_router(noun.router)
    problems.install(app)
    openapi.install(app)
    return app


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Run the gateway until `stop` is set; requests that run then have limits.HTTP_STOP_MS to finish.

    Raises WrongCluster, Unavailable (at start), and AionError if the address cannot be listened on.
    """
    log = await connect(settings.bootstrap)
    try:
        topics = Topics(settings.topic_prefix)
        cluster = await join_cluster(log, topics)
        async with owners_client() as client:
            around = Surroundings(
                log=log, topics=topics, client=client, gateway_id=settings.gateway_id, partitions=cluster.partitions
            )
            with listening(settings.http_host, settings.http_port) as (listener, _):
                async with open_gateway(around) as gateway:
                    await serve_http(create_app(gateway), listener, stop)
    finally:
        await log.close()


def owners_client() -> httpx.AsyncClient:
    """A pool of connections to executors. The surroundings' proxies are for the outside world, not for them."""
    return httpx.AsyncClient(
        trust_env=False,
        timeout=httpx.Timeout(None, connect=limits.OWNER_READY_MS / 1000),
        limits=httpx.Limits(max_connections=limits.IN_FLIGHT_REQUESTS_MAX, max_keepalive_connections=100),
    )
