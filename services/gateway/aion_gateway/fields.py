"""The types of single fields: what names, ids and numbers look like, checked before anything uses them. Pure.

HTTP calls (`http.fields`) and records of `aion.ingress` (`ingress`) are held to the same.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, Field, StringConstraints
from pydantic_core import PydanticCustomError

from aion_common import limits
from aion_common.kafka.queues import QUEUE_PATTERN
from aion_common.records.common import JSON

_RELATIVE = frozenset({".", ".."})
_LINE_BREAKS = re.compile(r"[\t\r\n]")
_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_CONTENT_TYPE = re.compile(rf"({_WORD}/{_WORD})((?:[ \t]*;[ \t]*{_WORD}=(?:{_WORD}|\"[\x20-\x7e]*\"))*)")
_CHARSET = re.compile(r";[ \t]*charset=\"?([^\";\s]*)", re.IGNORECASE)

NAMESPACE_PATTERN = r"^[a-z0-9][a-z0-9_-]{0,62}$"


def printable(text: str) -> str:
    """The text, if it may be an id or a name; else a validation error."""
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise PydanticCustomError("not_utf8", "must be UTF-8") from None
    if not 1 <= size <= limits.NAME_BYTES_MAX:
        raise PydanticCustomError(
            "size", "must have 1 to {bytes_max} bytes of UTF-8, has {size}", {"bytes_max": limits.NAME_BYTES_MAX, "size": size}
        )
    if not text.isprintable():
        raise PydanticCustomError("not_printable", "must hold nothing but printable characters")
    return text


def name_of(text: str) -> str:
    """As `printable`, for what may stand in a path; else a validation error."""
    if text in _RELATIVE:
        raise PydanticCustomError("relative", "must not be '.' or '..', which clients and proxies resolve in paths")
    return printable(text)


def sentence(text: str) -> str:
    """The text, if it may be the reason of something, for people; else a validation error."""
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise PydanticCustomError("not_utf8", "must be UTF-8") from None
    if size > limits.REASON_BYTES_MAX:
        raise PydanticCustomError(
            "size",
            "must have at most {bytes_max} bytes of UTF-8, has {size}",
            {"bytes_max": limits.REASON_BYTES_MAX, "size": size},
        )
    if not _LINE_BREAKS.sub("", text).isprintable():
        raise PydanticCustomError("not_printable", "must hold nothing but printable characters, tabs and line breaks")
    return text


def media_type(text: str) -> str:
    """A content type as it was given; `application/json` without its parameters, which must not name a charset other than
    UTF-8. Else a validation error."""
    match = _CONTENT_TYPE.fullmatch(text) if len(text) <= limits.NAME_BYTES_MAX else None
    if match is None:
        raise PydanticCustomError("no_media_type", "must be one media type, such as application/json")
    if match[1].lower() != JSON:
        return text
    charset = _CHARSET.search(match[2])
    if charset is not None and charset[1].lower() not in {"utf-8", "utf8"}:
        raise PydanticCustomError("charset", "JSON is UTF-8")
    return JSON


def first_error(errors: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """Of these errors of pydantic the first: its field and what is wrong with it."""
    first = errors[0]
    where = [str(part) for part in first["loc"] if part not in {"query", "path", "header", "body"}]
    field = ".".join(where) or str(first["loc"][0] if first["loc"] else "body")
    return field, "there is no such field" if first["type"] == "extra_forbidden" else str(first["msg"])


_NAME = Field(min_length=1, max_length=limits.NAME_BYTES_MAX)

NamespaceText = Annotated[str, StringConstraints(pattern=NAMESPACE_PATTERN)]
Name = Annotated[str, AfterValidator(name_of), _NAME]
QueueText = Annotated[str, StringConstraints(pattern=f"^{QUEUE_PATTERN}$")]
RunIdText = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
VersionText = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
RunTimeoutMs = Annotated[int, Field(ge=1, le=limits.RUN_TIMEOUT_MS_MAX)]
Reason = Annotated[str, AfterValidator(sentence), Field(max_length=limits.REASON_BYTES_MAX)]
MediaType = Annotated[str, AfterValidator(media_type)]
