"""What FastAPI cannot see by itself for /openapi.json: problems, and bodies that are read by hand."""

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from aion_common import limits
from aion_common.problems import INTERNAL, PROBLEM_JSON, PROBLEM_KINDS
from aion_common.records.common import JSON
from aion_common.records.replies import RejectionCode
from aion_gateway.http.models import EndRun, Nothing, Problem, RouteTo, StartWorkflow
from aion_gateway.http.problems import IDEMPOTENCY_KEY
from aion_gateway.http.queue_models import CreateQueue

_REF = "#/components/schemas/{model}"
_ALWAYS = (RejectionCode.INVALID_ARGUMENT, RejectionCode.OVERLOADED, RejectionCode.UNAVAILABLE, INTERNAL)

Responses = dict[int | str, dict[str, Any]]

BINARY: Mapping[str, Any] = MappingProxyType({"type": "string", "format": "binary"})
"""The schema of bytes."""


def problems(*codes: str) -> Responses:
    """The problems that a call can answer: those of these codes, and those that every call can."""
    by_status: dict[int, list[str]] = {}
    for code in (*codes, *_ALWAYS):
        by_status.setdefault(PROBLEM_KINDS[code].status, []).append(str(code))
    schema = {"schema": {"$ref": _REF.format(model=Problem.__name__)}}
    described: Responses = {
        status: {"description": "Problem: " + ", ".join(codes), "content": {PROBLEM_JSON: schema}}
        for status, codes in sorted(by_status.items())
    }
    return described | {"default": {"description": "Any other problem", "content": {PROBLEM_JSON: schema}}}


def described_json(model: type, *, required: bool = True) -> dict[str, Any]:
    """The `openapi_extra` of a mutating call whose JSON body is this model, one of those that `install` adds."""
    return described_bytes({JSON: {"$ref": _REF.format(model=model.__name__)}}, required=required)


def described_key() -> dict[str, Any]:
    """The `openapi_extra` of a mutating call without a body."""
    return {"parameters": [_key_parameter()]}


def described_bytes(content: Mapping[str, Mapping[str, Any]], *, required: bool) -> dict[str, Any]:
    """The `openapi_extra` of a mutating call whose body is taken as bytes; content type -> schema."""
    media = {content_type: {"schema": dict(schema)} for content_type, schema in content.items()}
    return {"parameters": [_key_parameter()], "requestBody": {"required": required, "content": media}}


def _key_parameter() -> dict[str, Any]:
    return {
        "name": IDEMPOTENCY_KEY,
        "in": "header",
        "required": False,
        "schema": {"type": "string", "minLength": 1, "maxLength": limits.NAME_BYTES_MAX},
        "description": "1 to 255 bytes of printable UTF-8. A repeat with the same key gets the first answer. Made by the "
        "gateway when absent; always returned.",
    }


def install(app: FastAPI) -> None:
    """Make the app answer /openapi.json with its whole document."""

    @cache
    def document() -> dict[str, Any]:
        written = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        models = [(model, "validation") for model in (Problem, CreateQueue, EndRun, Nothing, RouteTo, StartWorkflow)]
        _, definitions = models_json_schema(models, ref_template=_REF)  # type: ignore[arg-type]
        written["components"]["schemas"] |= definitions["$defs"]
        return written

    app.openapi = document  # type: ignore[method-assign]
