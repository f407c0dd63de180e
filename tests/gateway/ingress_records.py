"""Records as foreign producers write them to `aion.ingress`."""

import json
from typing import Any

from aion_common.kafka.api import Headers, LogRecord
from aion_common.wire import encode

JSON_HEADERS: Headers = (("content-type", b"application/json"),)


def record(value: bytes | None, headers: Headers = (), *, offset: int = 7, key: bytes | None = None) -> LogRecord:
    """As it is read."""
    return LogRecord(offset=offset, timestamp_ms=0, key=key, value=value, headers=headers)


def in_json(members: Any, *, offset: int = 7) -> LogRecord:
    """A value with these members, or JSON text as it is."""
    text = members if isinstance(members, str) else json.dumps(members)
    return record(text.encode(), JSON_HEADERS, offset=offset)


def in_avro(wish: object, *, offset: int = 7) -> LogRecord:
    """Without any header."""
    return record(encode(wish), offset=offset)
