"""JSON as text: the same things are JSON as elsewhere, and what is kept is kept to the character."""

import json
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aion_common import limits
from aion_gateway.json_text import BadJson, JsonText, check_value, members_of

SPACE = st.text(" \t\r\n", max_size=3)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text()),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(), inner)),
    max_leaves=8,
)


@given(VALUES, SPACE, SPACE, st.booleans())
def test_every_value_is_one(value: object, before: str, after: str, is_ascii: bool) -> None:
    check_value((before + json.dumps(value, ensure_ascii=is_ascii) + after).encode())


@given(st.dictionaries(st.text(), VALUES, max_size=4), SPACE, SPACE)
def test_members_are_what_a_parser_finds_and_kept_ones_their_text(members: dict[str, object], a: str, b: str) -> None:
    kept = frozenset(list(members)[::2])
    texts = {name: json.dumps(value, indent=1) for name, value in members.items()}
    body = "{" + a + f"{b},{a}".join(f"{json.dumps(name)}{a}:{b}{text}" for name, text in texts.items()) + b + "}" + a
    expected = {name: JsonText(text=texts[name]) if name in kept else value for name, value in members.items()}
    assert members_of(body.encode(), exact=kept) == expected


@given(st.one_of(st.binary(), st.text(alphabet='{}[]":,\\ 01.eE+-naullrtfsN', max_size=30).map(str.encode)))
@example(b'{"a":1,}')
@example(b'"\\"')
@example(b'["\x00"]')
def test_whatever_is_taken_is_json_elsewhere_too(body: bytes) -> None:
    def refuse(name: str) -> object:
        raise ValueError(name)

    def is_json(check: Callable[[bytes], object]) -> bool:
        try:
            check(body)
        except ValueError:
            return False
        return True

    assert is_json(check_value) == is_json(lambda text: json.loads(text.decode(), parse_constant=refuse))


def test_brackets_count_as_depth_only_outside_of_strings() -> None:
    deepest = limits.JSON_DEPTH_MAX
    check_value(b'{"a":' * deepest + b"1" + b"}" * deepest)
    check_value(b'"' + b"[" * 1000 + b'"')
    check_value(b'["' + rb"\"[" * 1000 + b'"]')
    check_value(b"[" + b"[]," * 1000 + b"[]]")
    with pytest.raises(BadJson, match="levels deep"):
        check_value(b"[" * (deepest + 1) + b"]" * (deepest + 1))


def test_text_made_to_be_slow_is_not() -> None:
    for hostile in (rb'"' + rb"\"" * 100_000, b'"' * 100_001, b"[" * 200_000, b"\\" * 200_000, b'"' + b"\\" * 200_001):
        with pytest.raises(BadJson):
            check_value(hostile)
