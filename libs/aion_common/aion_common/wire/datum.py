"""Records from the plain values that fastavro reads: for what another release wrote, resolved to our schemas.

A union of records comes as (full name, fields), enums as their values, tuples as lists. Nothing is guessed: a type that
this file does not know is an error at the first use of the class.
"""

import types
import typing
from collections.abc import Callable
from enum import Enum
from functools import cache
from typing import Any

from msgspec import structs

from aion_common.wire.registry import full_name

Convert = Callable[[Any], Any]

_PLAIN = (str, int, bool, bytes, types.NoneType)


def _same(value: Any) -> Any:
    return value


def _branches(hint: Any) -> tuple[Any, ...] | None:
    return typing.get_args(hint) if typing.get_origin(hint) in (types.UnionType, typing.Union) else None


@cache
def value_of(hint: Any) -> Convert:
    """The function that turns what fastavro read back into a value of this type."""
    if isinstance(hint, typing.NewType):
        return value_of(hint.__supertype__)
    if hint in _PLAIN:
        return _same
    if (branches := _branches(hint)) is not None:
        return _value_of_union(tuple(branch for branch in branches if branch is not types.NoneType))
    if typing.get_origin(hint) is tuple:
        item = value_of(typing.get_args(hint)[0])
        return lambda values: tuple(item(value) for value in values)
    if issubclass(hint, Enum):
        return typing.cast(Convert, hint)
    return _value_of_record(hint)


def _value_of_union(branches: tuple[Any, ...]) -> Convert:
    if len(branches) == 1:
        only = value_of(branches[0])
        return lambda datum: None if datum is None else only(datum)
    by_name = {full_name(branch): value_of(branch) for branch in branches}

    def convert(datum: Any) -> Any:
        if datum is None:
            return None
        name, fields = datum
        return by_name[name](fields)

    return convert


def _value_of_record(record: type) -> Convert:
    hints = typing.get_type_hints(record)
    members = [(field.name, value_of(hints[field.name])) for field in structs.fields(record)]

    def convert(datum: Any) -> Any:
        fields = datum[1] if type(datum) is tuple else datum
        return record(**{name: of(fields[name]) for name, of in members})

    return convert
