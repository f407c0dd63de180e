"""Values of activities as JSON, whatever pydantic can make JSON of: models, dataclasses, dates, UUIDs."""

from functools import cache
from typing import Any

from pydantic import TypeAdapter
from pydantic_core import PydanticSerializationError

from aion_worker.errors import TerminalError


@cache
def _anything() -> TypeAdapter[Any]:
    return TypeAdapter(Any)


def json_of(value: object, adapter: TypeAdapter[Any] | None = None) -> bytes:
    """UTF-8 JSON text. Raises TerminalError (`bad_result`) for what cannot be JSON."""
    try:
        return (adapter or _anything()).dump_json(value, warnings=False)
    except (PydanticSerializationError, ValueError, RecursionError, AttributeError, TypeError) as error:
        raise TerminalError("bad_result", f"a {type(value).__name__} cannot become JSON: {error}") from error
