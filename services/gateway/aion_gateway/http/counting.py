"""What is counted of requests: number and duration, by route, never by path, so that nobody outside makes new series."""

from functools import cache

from prometheus_client import Counter, Histogram
from starlette.types import Scope

from aion_common.metrics import HTTP_REQUESTS, HTTP_SECONDS

NO_ROUTE = "none"
"""Refused before a route was found, or there is none."""

OTHER = "other"
_METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})


def count(scope: Scope, status: int, seconds: float) -> None:
    """One request was served."""
    route = scope.get("route")
    template = NO_ROUTE if route is None else route.path
    method = scope["method"] if scope["method"] in _METHODS else OTHER
    _requests(template, method, status).inc()
    _seconds(template, method).observe(seconds)


@cache
def _requests(route: str, method: str, status: int) -> Counter:
    return HTTP_REQUESTS.labels(route, method, str(status))


@cache
def _seconds(route: str, method: str) -> Histogram:
    return HTTP_SECONDS.labels(route, method)
