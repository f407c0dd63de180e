"""JSON with every digit, both ways. Pure.

Python's own module rounds what no double holds and refuses integers of more than 4300 digits; here fractions remember their
text, integers may have any length, and text that is JSON already is sent as it stands.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NoReturn

from aion_client.problem import InvalidCall

_PIECE_DIGITS: Final = 512
"""Below every limit that a process can set for the conversion of integers."""

_PIECE_BITS: Final = 1_700
_DIGITS_PER_BIT: Final = 0.30103
_DEPTH_MAX: Final = 10_000


class ExactFloat(float):
    """A float that remembers the text it was read from."""

    text: str

    def __new__(cls, text: str) -> "ExactFloat":
        number = super().__new__(cls, text)
        number.text = text
        return number


@dataclass(frozen=True, slots=True)
class JsonText:
    """A value as its JSON text, sent as it is. Raises InvalidCall when the text is not one JSON value."""

    text: str

    def __post_init__(self) -> None:
        try:
            _SYNTAX.decode(self.text)
            self.text.encode()
        except RecursionError as error:
            raise InvalidCall("nested too deep") from error
        except UnicodeEncodeError as error:
            raise InvalidCall("not UTF-8") from error
        except ValueError as error:
            raise InvalidCall(str(error)) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layout:
    comma: str
    colon: str
    indent: int

    def line(self, depth: int) -> str:
        """The start of a line at this depth."""
        return "\n" + " " * self.indent * depth if self.indent else ""


_Container = Mapping[object, object] | list[object] | tuple[object, ...]


def parse(text: bytes) -> object:
    """The value. Raises ValueError when it is not JSON, RecursionError when it is nested too deep."""
    return json.loads(text, parse_constant=refuse_constant, parse_float=ExactFloat, parse_int=_integer)


def render(value: object, *, comma: str = ",", colon: str = ":", indent: int = 0) -> str:
    """The value as JSON, with `indent` on many lines. Raises TypeError and ValueError for what JSON cannot say."""
    layout = _Layout(comma=comma, colon=colon, indent=indent)
    written: list[str] = []
    inside = [iter((_piece(value),))]
    while inside:
        piece = next(inside[-1], None)
        if piece is None:
            inside.pop()
        elif isinstance(piece, str):
            written.append(piece)
        elif len(inside) > _DEPTH_MAX:
            raise ValueError("nested too deep")
        else:
            inside.append(_pieces(piece, layout, len(inside)))
    return "".join(written)


def refuse_constant(constant: str) -> NoReturn:
    """For `json`: there is no NaN and no Infinity. Raises ValueError."""
    raise ValueError(f"{constant} is not a JSON value")


def _unread(_number: str) -> int:
    return 0


_SYNTAX = json.JSONDecoder(parse_constant=refuse_constant, parse_float=_unread, parse_int=_unread)


def _pieces(container: _Container, layout: _Layout, depth: int) -> Iterator[str | _Container]:
    """The text of a container; containers in it as they are, for `render` to go into."""
    opening, closing = "{}" if isinstance(container, Mapping) else "[]"
    if not container:
        yield opening + closing
        return
    before = opening + layout.line(depth)
    for member in container:
        yield before
        if isinstance(container, Mapping):
            yield _name(member) + layout.colon
            yield _piece(container[member])
        else:
            yield _piece(member)
        before = layout.comma + layout.line(depth)
    yield layout.line(depth - 1) + closing


def _piece(value: object) -> str | _Container:
    """Containers as they are, all else as its text."""
    match value:
        case Mapping() | list() | tuple():
            return value
        case None | bool():
            return json.dumps(value)
        case JsonText() | ExactFloat():
            return value.text
        case str():
            return _string(value)
        case int():
            return f"-{_digits(-value)}" if value < 0 else _digits(value)
        case float() if math.isfinite(value):
            return float.__repr__(value)
        case float():
            raise ValueError(f"{value} is not a JSON value")
        case _:
            raise TypeError(f"a {type(value).__name__} is not a JSON value")


def _name(name: object) -> str:
    if not isinstance(name, str):
        raise TypeError(f"a {type(name).__name__} cannot be the name of a member")
    return _string(name)


def _string(text: str) -> str:
    """In quotes; with escapes for all that is not ASCII if it holds half a surrogate pair, which UTF-8 cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(text)
    return json.dumps(text, ensure_ascii=False)


def _integer(text: str) -> int | float:
    if text == "-0":
        return ExactFloat(text)
    return -_natural(text[1:]) if text[0] == "-" else _natural(text)


def _natural(digits: str) -> int:
    if len(digits) <= _PIECE_DIGITS:
        return int(digits)
    low = len(digits) // 2
    shift: int = 10**low
    return _natural(digits[:-low]) * shift + _natural(digits[-low:])


def _digits(number: int) -> str:
    if number.bit_length() <= _PIECE_BITS:
        return int.__repr__(number)
    low = int(number.bit_length() * _DIGITS_PER_BIT / 2)
    high, rest = divmod(number, 10**low)
    return _digits(high) + _digits(rest).zfill(low)
