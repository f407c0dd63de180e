"""JSON goes in and out with every digit, whatever the length of its numbers."""

import json
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aion_client import InvalidCall, JsonText
from aion_client.json_text import parse, render

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda values: st.lists(values) | st.dictionaries(st.text(), values),
)


@given(value=VALUES)
def test_what_is_written_is_json_in_each_layout(value: object) -> None:
    assert render(value) == json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    assert render(value, comma=", ", colon=": ") == json.dumps(value, ensure_ascii=False)
    assert render(value, colon=": ", indent=2) == json.dumps(value, ensure_ascii=False, indent=2)
    assert parse(render(value).encode()) == value


@given(
    sign=st.sampled_from(["", "-"]),
    first=st.integers(1, 9),
    pattern=st.text("0123456789", min_size=1),
    times=st.integers(0, 999),
)
def test_integers_of_any_length_are_read_and_written(sign: str, first: int, pattern: str, times: int) -> None:
    digits = f"{first}{pattern * times}"
    number = parse((sign + digits).encode())
    assert isinstance(number, int)
    assert render(number) == sign + digits
    assert number % 10**9 == int(sign + digits[-9:]) % 10**9
    assert abs(number) // 10 ** (len(digits) - 1) == first


def test_the_limit_of_the_process_is_left_alone() -> None:
    before = sys.get_int_max_str_digits()
    assert render(parse(b"1" * 10_000)) == "1" * 10_000
    assert sys.get_int_max_str_digits() == before > 0


@pytest.mark.parametrize("text", ["0.10000000000000000555", "1e400", "-1E-400", "-0", "-0.0", "1.50", "1e5"])
def test_a_number_keeps_its_digits(text: str) -> None:
    assert render(parse(f'{{"n":[{text}]}}'.encode())) == f'{{"n":[{text}]}}'


def test_half_a_surrogate_pair_is_written_as_an_escape() -> None:
    assert render(parse(b'["\\ud800","\xc3\xa4"]')) == '["\\ud800","\u00e4"]'


def test_a_deep_value_is_written_and_one_that_holds_itself_is_refused() -> None:
    deep: list[object] = []
    for _ in range(5_000):
        deep = [deep]
    assert render(deep) == "[" * 5_001 + "]" * 5_001
    loop: list[object] = []
    loop.append(loop)
    with pytest.raises(ValueError, match="nested too deep"):
        render(loop)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), b"x", {1: 2}, {"a": {3}}])
def test_what_is_no_json_is_not_written(value: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        render(value)


@pytest.mark.parametrize("text", ["", "{", "NaN", "[-Infinity]", "01", "1 2", "'a'", '"\udcff"', "[" * 100_000])
def test_json_text_must_be_json(text: str) -> None:
    with pytest.raises(InvalidCall):
        JsonText(text)
