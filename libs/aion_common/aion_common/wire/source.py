"""The source of the two functions that write and read the fields of a record, one after the other (see `binary`).

They find bound: `record`, the class; `short`, the encodings of the numbers from 0, and `varint` for any; `long_at` and
`length_at`, for numbers of more than one byte; and for the fields that are not in line `write_<field>`, `read_<field>`: of
one that may be null `write_<field>` and `read_some_<field>` are those of what it is else.
"""

from collections.abc import Iterator, Sequence
from typing import Any

SHORT_NUMBERS = 4096

Fields = Sequence[tuple[str, Any]]


def writer_of(fields: Fields) -> str:
    """`write(value)`: the bytes, joined out of those of the fields."""
    pieces = [piece for name, schema in fields for piece in _pieces(schema, name, f"value.{name}")]
    return _function("write(value)", [f"return {_joined(pieces)}"])


def reader_of(fields: Fields) -> str:
    """`read(data, at)`: the record and the position behind it."""
    lines = [line for name, schema in fields for line in _reading(schema, name)]
    arguments = ", ".join(f"{name}={name}_" for name, _ in fields)
    return _function("read(data, at)", [*lines, f"return record({arguments}), at"])


def _function(head: str, body: Sequence[str]) -> str:
    return "\n".join([f"def {head}:", *_indented(body), ""])


def _indented(lines: Sequence[str]) -> Iterator[str]:
    return (f"    {line}" for line in lines)


def _joined(pieces: Sequence[str]) -> str:
    return f"b''.join([{', '.join(pieces)}])"


def _pieces(schema: Any, name: str, value: str) -> list[str]:
    """Expressions of bytes, evaluated in this order."""
    match schema:
        case "string":
            return _pieces("bytes", name, f"{value}.encode()")
        case "bytes":
            return [f"short[n] if (n := len(content := {value})) < {SHORT_NUMBERS} else varint(n)", "content"]
        case "long":
            return [f"short[n] if 0 <= (n := {value}) < {SHORT_NUMBERS} else varint(n)"]
        case "boolean":
            return [f"b'\\1' if {value} else b'\\0'"]
        case ["null", inner]:
            some = _joined(["b'\\2'", *_pieces(inner, name, "some")])
            return [f"b'\\0' if (some := {value}) is None else {some}"]
        case _:
            return [f"write_{name}({value})"]


def _reading(schema: Any, name: str) -> list[str]:
    match schema:
        case "string" | "bytes":
            decoded = ".decode()" if schema == "string" else ""
            return [
                "n = data[at]",
                "if n > 126 or n & 1:",
                "    n, at = length_at(data, at)",
                "else:",
                "    n >>= 1",
                "    at += 1",
                f"{name}_ = data[at : at + n]{decoded}",
                "at += n",
            ]
        case "long":
            return [
                "n = data[at]",
                "if n > 126 or n & 1:",
                f"    {name}_, at = long_at(data, at)",
                "else:",
                f"    {name}_ = n >> 1",
                "    at += 1",
            ]
        case ["null", inner]:
            return [
                "n = data[at]",
                "if n == 0:",
                f"    {name}_ = None",
                "    at += 1",
                "elif n == 2:",
                "    at += 1",
                *_indented(_reading(inner, f"some_{name}")),
                f"    {name}_ = some_{name}_",
                "else:",
                f"    {name}_, at = read_{name}(data, at)",
            ]
        case _:
            return [f"{name}_, at = read_{name}(data, at)"]
