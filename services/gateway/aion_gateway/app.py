"""The gateway as a process: connects, verifies the cluster, serves HTTP until it is told to stop."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import structlog
import uvicorn
from fastapi import FastAPI

from aion_common import limits
from aion_common.cluster import verify_cluster
from aion_common.errors import AionError
from aion_common.kafka.client import connect
from aion_common.kafka.topics import Topics
from aion_common.settings import Settings
from aion_gateway.gateway import Gateway, Surroundings, open_gateway
from aion_gateway.http import health, openapi, packages, problems, signals, workflows
from aion_gateway.http.edge import edge

logger = structlog.get_logger()

API_VERSION = "1"
BACKLOG = 2048
"""Connections that wait to be accepted; the kernel may hold fewer."""

KEEP_ALIVE_S = 75
"""Longer than clients and load balancers keep idle connections: they should close them, not we while they send."""


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
    """Run the gateway until `stop` is set; requests that run then have limits.GATEWAY_STOP_MS to finish.

    Raises WrongCluster, Unavailable (at start), and AionError if the address cannot be listened on.
    """
    log = await connect(settings.bootstrap)
    try:
        topics = Topics(settings.topic_prefix)
        cluster = await verify_cluster(log, topics)
        async with owners_client() as client:
            around = Surroundings(
                log=log, topics=topics, client=client, gateway_id=settings.gateway_id, partitions=cluster.partitions
            )
            with listening(settings.http_host, settings.http_port) as listener:
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


class _Server(uvicorn.Server):
    """Leaves the signals to `aion_common.service`, which sets `stop`."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve_http(app: FastAPI, listener: socket.socket, stop: asyncio.Event) -> None:
    """Serve until `stop` is set and the requests that run then have ended, at most limits.GATEWAY_STOP_MS later."""
    config = uvicorn.Config(
        app,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=limits.GATEWAY_STOP_MS // 1000,
    )
    server = _Server(config)
    async with asyncio.TaskGroup() as tasks:
        stopping = tasks.create_task(_stop_server(server, stop), name="stop-http")
        await server.serve(sockets=[listener])
        stopping.cancel()


async def _stop_server(server: uvicorn.Server, stop: asyncio.Event) -> None:
    await stop.wait()
    server.should_exit = True


@contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that listens at the address; port 0 is any free one. Raises AionError if that cannot be."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sets TCP_NODELAY on accepted sockets only if their listener says that it is TCP; without it answers wait 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise AionError(f"cannot listen on {host}:{port} ({error.strerror}); choose another --http-port") from error
    with listener:
        logger.info("listening", address=f"{host}:{listener.getsockname()[1]}")
        yield listener
