"""Record classes <-> the plain values fastavro reads and writes, compiled once per class from its type hints.

A union of records travels as (full name, fields); enums as their values; tuples as lists. Nothing is guessed: a type
that this file does not know is an error at the first use of the class.
"""

import dataclasses
import types
import typing
from collections.abc import Callable
from enum import Enum
from functools import cache
from typing import Any

from aion_common.wire.registry import full_name

Convert = Callable[[Any], Any]

_PLAIN = (str, int, bool, bytes, types.NoneType)


def _same(value: Any) -> Any:
    return value


def _branches(hint: Any) -> tuple[Any, ...] | None:
    return typing.get_args(hint) if typing.get_origin(hint) in (types.UnionType, typing.Union) else None


@cache
def datum_of(hint: Any) -> Convert:
    """The function that turns a value of this type into what fastavro writes."""
    if isinstance(hint, typing.NewType):
        return datum_of(hint.__supertype__)
    if hint in _PLAIN:
        return _same
    if (branches := _branches(hint)) is not None:
        return _datum_of_union(tuple(branch for branch in branches if branch is not types.NoneType))
    if typing.get_origin(hint) is tuple:
        item = datum_of(typing.get_args(hint)[0])
        return lambda values: [item(value) for value in values]
    if issubclass(hint, Enum):
        return lambda member: member.value
    return _datum_of_record(hint)


def _datum_of_union(branches: tuple[Any, ...]) -> Convert:
    if len(branches) == 1:
        only = datum_of(branches[0])
        return lambda value: None if value is None else only(value)
    converts = {branch: (full_name(branch), datum_of(branch)) for branch in branches}

    def convert(value: Any) -> Any:
        if value is None:
            return None
        name, fields = converts[type(value)]
        return name, fields(value)

    return convert


def _datum_of_record(record: type) -> Convert:
    hints = typing.get_type_hints(record)
    members = [(field.name, datum_of(hints[field.name])) for field in dataclasses.fields(record)]
    return lambda value: {name: convert(getattr(value, name)) for name, convert in members}


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
    members = [(field.name, value_of(hints[field.name])) for field in dataclasses.fields(record)]

    def convert(datum: Any) -> Any:
        fields = datum[1] if type(datum) is tuple else datum
        return record(**{name: of(fields[name]) for name, of in members})

    return convert
