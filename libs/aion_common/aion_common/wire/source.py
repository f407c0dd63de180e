"""The source of the two functions that write and read the fields of a record, one after the other (see `binary`).

They find bound: `record`, the class; `short`, the encodings of the numbers from 0, and `varint` for any; `long_at` and
`length_at`, for numbers of more than one byte; and for the fields that are not in line `write_<field>`, `read_<field>`.
"""

from collections.abc import Iterator, Sequence
from typing import Any

SHORT_NUMBERS = 4096

Fields = Sequence[tuple[str, Any]]


def writer_of(fields: Fields) -> str:
    """`write(out, value)`: appends to a bytearray."""
    lines = [line for name, schema in fields for line in _writing(schema, name, f"value.{name}")]
    return _function("write(out, value)", lines or ["pass"])


def reader_of(fields: Fields) -> str:
    """`read(data, at)`: the record and the position behind it."""
    lines = [line for name, schema in fields for line in _reading(schema, name)]
    arguments = ", ".join(f"{name}={name}_" for name, _ in fields)
    return _function("read(data, at)", [*lines, f"return record({arguments}), at"])


def _function(head: str, body: Sequence[str]) -> str:
    return "\n".join([f"def {head}:", *_indented(body), ""])


def _indented(lines: Sequence[str]) -> Iterator[str]:
    return (f"    {line}" for line in lines)


def _writing(schema: Any, name: str, value: str) -> list[str]:
    number = f"out += short[n] if 0 <= n < {SHORT_NUMBERS} else varint(n)"
    match schema:
        case "string":
            return [f"content = {value}.encode()", "n = len(content)", number, "out += content"]
        case "bytes":
            return [f"content = {value}", "n = len(content)", number, "out += content"]
        case "long":
            return [f"n = {value}", number]
        case ["null", ("string" | "bytes" | "long") as inner]:
            some = ["out.append(2)", *_writing(inner, name, "some")]
            return [f"some = {value}", "if some is None:", "    out.append(0)", "else:", *_indented(some)]
        case _:
            return [f"write_{name}(out, {value})"]


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
        case ["null", inner] if not isinstance(inner, dict):
            some = ["at += 1", *_reading(inner, name)] if inner in {"string", "bytes", "long"} else None
            if some is None:
                return [f"{name}_, at = read_{name}(data, at)"]
            return [
                "n = data[at]",
                "if n == 0:",
                f"    {name}_ = None",
                "    at += 1",
                "elif n == 2:",
                *_indented(some),
                "else:",
                f"    {name}_, at = read_{name}(data, at)",
            ]
        case _:
            return [f"{name}_, at = read_{name}(data, at)"]
