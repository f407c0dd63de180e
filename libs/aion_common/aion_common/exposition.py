"""What every service tells about itself by HTTP: `GET /metrics` and `GET /healthz`.

Metrics are those of `aion_common.metrics`, and the process's own. A service that knows more about its health than that it
answers has a `/healthz` of its own, and takes the first of these only.
"""

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route


def metrics_response() -> Response:
    """The default registry, as Prometheus reads it."""
    return Response(generate_latest(), headers={"content-type": CONTENT_TYPE_LATEST})


def metrics_route() -> Route:
    """`GET /metrics`: the default registry, as Prometheus reads it."""
    return Route("/metrics", _metrics, methods=["GET"])


def telemetry_routes() -> list[Route]:
    """`GET /metrics`, and `GET /healthz`, which is 200 while the event loop runs."""
    return [metrics_route(), Route("/healthz", _alive, methods=["GET"])]


async def _metrics(_: Request) -> Response:
    return metrics_response()


async def _alive(_: Request) -> Response:
    return JSONResponse({"alive": True})
