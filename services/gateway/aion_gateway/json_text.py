"""JSON as text: checked whole, cut into members, never written again, so that no number loses a digit. Pure.

User data is opaque to the engine, but what says it is JSON must be JSON (RFC 8259: UTF-8, no NaN or Infinity). Everything
that comes from outside passes here before anything else looks at it.
"""

import itertools
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from json.encoder import encode_basestring
from types import MappingProxyType

from aion_common import limits

_SPACE = re.compile(r"[ \t\n\r]*")
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_NO_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")
_STEP = MappingProxyType({ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1})


class BadJson(ValueError):
    """Not JSON, or JSON that is not taken; the message says where. `field`: the member of the object it is about."""

    def __init__(self, reason: str, field: str | None = None) -> None:
        super().__init__(reason)
        self.field = field


@dataclass(frozen=True, slots=True, kw_only=True)
class JsonText:
    """The text of one JSON value, exactly as it came."""

    text: str


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not a JSON number")


def _unread(_number: str) -> int:
    return 0


_VALUES = json.JSONDecoder(parse_constant=_refuse_constant)
_SYNTAX = json.JSONDecoder(parse_constant=_refuse_constant, parse_int=_unread, parse_float=_unread)


def check_value(body: bytes) -> None:
    """Raise BadJson unless the bytes are one JSON value, nested at most limits.JSON_DEPTH_MAX deep."""
    _check_depth(body)
    text = _text_of(body)
    _, end = _decode(_SYNTAX, text, _after_space(text, 0))
    if _after_space(text, end) != len(text):
        raise BadJson(f"malformed JSON: more text behind the value, at character {end}")


def members_of(body: bytes, *, exact: Collection[str] = ()) -> dict[str, object]:
    """The members of a JSON object in their order; those named in `exact` as JsonText. Raises BadJson, also when it is
    nested deeper than limits.JSON_DEPTH_MAX."""
    _check_depth(body)
    return known_members_of(body, exact=exact)


def known_members_of(body: bytes, *, exact: Collection[str]) -> dict[str, object]:
    """The same, of a text that this system wrote and that holds user data however deep. Raises BadJson."""
    text = _text_of(body)
    at = _after_space(text, 0)
    if text[at : at + 1] != "{":
        raise BadJson("expected a JSON object")
    members: dict[str, object] = {}
    at = _after_space(text, at + 1)
    is_open = text[at : at + 1] != "}"
    while is_open:
        name, at = _name(text, at)
        if name in members:
            raise BadJson("given twice", field=name)
        value, end = _decode(_SYNTAX if name in exact else _VALUES, text, at)
        members[name] = JsonText(text=text[at:end]) if name in exact else value
        at = _after_space(text, end)
        is_open = text[at : at + 1] == ","
        if is_open:
            at = _after_space(text, at + 1)
    if text[at : at + 1] != "}" or _after_space(text, at + 1) != len(text):
        raise BadJson(f"malformed JSON at character {at}")
    return members


def object_text(members: Mapping[str, object]) -> bytes:
    """A JSON object with these members in their order; JsonText values stand as they are."""
    return ("{" + ",".join(f"{encode_basestring(name)}:{_value_text(value)}" for name, value in members.items()) + "}").encode()


def _value_text(value: object) -> str:
    match value:
        case JsonText():
            return value.text
        case str():
            return encode_basestring(value)
        case _:
            return json.dumps(value, ensure_ascii=False)


def _text_of(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise BadJson(f"not UTF-8 at byte {error.start}") from error


def _check_depth(body: bytes) -> None:
    brackets = _STRING.sub(b"", body).translate(None, _NO_BRACKETS)
    depth = max(itertools.accumulate(map(_STEP.__getitem__, brackets)), default=0)
    if depth > limits.JSON_DEPTH_MAX:
        raise BadJson(f"nested {depth} levels deep, {limits.JSON_DEPTH_MAX} is the limit")


def _name(text: str, at: int) -> tuple[str, int]:
    """The name of a member that begins at `at`, and where its value begins."""
    if text[at : at + 1] != '"':
        raise BadJson(f"malformed JSON: expected a name in double quotes at character {at}")
    name, end = _decode(_SYNTAX, text, at)
    assert isinstance(name, str), "what begins with a double quote is a string"
    at = _after_space(text, end)
    if text[at : at + 1] != ":":
        raise BadJson(f"malformed JSON: expected ':' at character {at}")
    return name, _after_space(text, at + 1)


def _decode(decoder: json.JSONDecoder, text: str, at: int) -> tuple[object, int]:
    try:
        return decoder.raw_decode(text, at)
    except json.JSONDecodeError as error:
        raise BadJson(f"malformed JSON: {error.msg} at character {error.pos}") from error
    except ValueError as error:
        raise BadJson(str(error)) from error
    except RecursionError as error:
        raise BadJson("nested too deep") from error


def _after_space(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return at if match is None else match.end()
