"""Reads what a compiled module says of itself: its name, what it exports, what it calls. No Erlang needed.

A .beam file is an IFF form of named chunks; all numbers are big endian (the loader of OTP, `beam_file.c`, and `beam_lib`).
Whatever the bytes are, the answer is a module or BadPackage. Called by `archive`, and by the CLI to name modules it packs.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass

from aion_common.errors import BadPackage
from aion_common.limits import MODULE_CHUNKS_MAX
from aion_common.package.inflate import GZIP, Budget, inflate

_GZIP_MAGIC = b"\x1f\x8b"
_FORM = struct.Struct(">4sL4s")
_CHUNK = struct.Struct(">4sL")
_U32 = struct.Struct(">L")
_I32 = struct.Struct(">l")
_TRIPLE = struct.Struct(">LLL")
_ATOM_CHARACTERS_MAX = 255
_ATOM_BYTES_MAX = 4 * _ATOM_CHARACTERS_MAX

Function = tuple[str, int]
"""Name and arity."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BeamModule:
    """`imports`: (module, function, arity) of every call to another module that is known at compile time."""

    name: str
    exports: frozenset[Function]
    imports: frozenset[tuple[str, str, int]]


def read_beam(content: bytes, *, what: str, budget: Budget) -> BeamModule:
    """Reads a .beam file, gzip-compressed ones too. `what` names it in messages.

    Whatever it inflates to (itself, its literals) is counted against the budget, and so are the entries of
    its tables. Raises BadPackage.
    """
    if content[:2] == _GZIP_MAGIC:
        content = inflate(content, window_bits=GZIP, what=what, budget=budget)
    chunks = _chunks(content, what)
    _count_literals(chunks, what, budget)
    atoms = _atoms(chunks, what, budget)
    imports = frozenset(
        (_atom(atoms, module, what), _atom(atoms, function, what), arity)
        for module, function, arity in _triples(chunks, b"ImpT", what, budget)
    )
    exports = frozenset((_atom(atoms, function, what), arity) for function, arity, _ in _triples(chunks, b"ExpT", what, budget))
    return BeamModule(name=_atom(atoms, 1, what), exports=exports, imports=imports)


def _chunks(content: bytes, what: str) -> Mapping[bytes, bytes]:
    if len(content) < _FORM.size:
        raise BadPackage(f"{what} is not a compiled Erlang module")
    form, form_bytes, kind = _FORM.unpack_from(content)
    if form != b"FOR1" or kind != b"BEAM":
        raise BadPackage(f"{what} is not a compiled Erlang module")
    end = 8 + form_bytes
    if end > len(content):
        raise _damaged(what, "it was cut off")
    chunks: dict[bytes, bytes] = {}
    position = _FORM.size
    while position < end:
        if position + _CHUNK.size > end:
            raise _damaged(what, "a chunk was cut off")
        name, chunk_bytes = _CHUNK.unpack_from(content, position)
        position += _CHUNK.size
        if position + chunk_bytes > end:
            raise _damaged(what, "a chunk was cut off")
        if name in chunks:
            raise _damaged(what, f"it has two chunks {name!r}")
        if len(chunks) == MODULE_CHUNKS_MAX:
            raise _damaged(what, f"it has more than {MODULE_CHUNKS_MAX} chunks")
        chunks[name] = content[position : position + chunk_bytes]
        position += (chunk_bytes + 3) & ~3
    return chunks


def _count_literals(chunks: Mapping[bytes, bytes], what: str, budget: Budget) -> None:
    """The loader reserves what the compressed literals claim to inflate to (0: not compressed) before it looks at them."""
    literals = chunks.get(b"LitT")
    if literals is None:
        return
    if len(literals) < _U32.size:
        raise _damaged(what, "its literals were cut off")
    budget.take_bytes(_U32.unpack_from(literals)[0])


def _atoms(chunks: Mapping[bytes, bytes], what: str, budget: Budget) -> tuple[str, ...]:
    """All atoms in the order of their numbers, which begin at 1; the first is the module's name.

    A negative count announces lengths as compact terms, the form of OTP 28, which allows atoms of more than 255 bytes.
    """
    encoding = "utf-8" if b"AtU8" in chunks else "latin-1"
    table = chunks.get(b"AtU8", chunks.get(b"Atom", b""))
    if len(table) < _I32.size:
        raise _damaged(what, "it has no atoms")
    count = _I32.unpack_from(table)[0]
    budget.take_table_entries(abs(count))
    length_at = _compact_length if count < 0 else _byte_length
    position = _I32.size
    atoms: list[str] = []
    for _ in range(abs(count)):
        length, position = length_at(table, position, what)
        if length > _ATOM_BYTES_MAX or position + length > len(table):
            raise _damaged(what, "its atoms were cut off")
        atoms.append(_atom_text(table[position : position + length], encoding, what))
        position += length
    return tuple(atoms)


def _byte_length(table: bytes, position: int, what: str) -> tuple[int, int]:
    if position >= len(table):
        raise _damaged(what, "its atoms were cut off")
    return table[position], position + 1


def _compact_length(table: bytes, position: int, what: str) -> tuple[int, int]:
    """A compact term with tag `u` (0): 4 bits in one byte, or 11 bits in two. Longer ones exceed any atom."""
    first, following = _byte_length(table, position, what)
    if first & 0b111:
        raise _damaged(what, "its atoms have no readable length")
    if not first & 0b1000:
        return first >> 4, following
    if first & 0b10000:
        raise _damaged(what, "an atom is too long")
    low, following = _byte_length(table, following, what)
    return (first & 0b11100000) << 3 | low, following


def _atom_text(raw: bytes, encoding: str, what: str) -> str:
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError as error:
        raise _damaged(what, "an atom is not text") from error
    if len(text) > _ATOM_CHARACTERS_MAX:
        raise _damaged(what, "an atom is too long")
    return text


def _triples(chunks: Mapping[bytes, bytes], name: bytes, what: str, budget: Budget) -> list[tuple[int, int, int]]:
    table = chunks.get(name)
    if table is None or len(table) < _U32.size:
        raise _damaged(what, f"its chunk {name!r} is missing or cut off")
    count = _U32.unpack_from(table)[0]
    if _U32.size + count * _TRIPLE.size > len(table):
        raise _damaged(what, f"its chunk {name!r} was cut off")
    budget.take_table_entries(count)
    return [_TRIPLE.unpack_from(table, _U32.size + index * _TRIPLE.size) for index in range(count)]


def _atom(atoms: tuple[str, ...], number: int, what: str) -> str:
    if not 1 <= number <= len(atoms):
        raise _damaged(what, f"it refers to atom {number} of {len(atoms)}")
    return atoms[number - 1]


def _damaged(what: str, how: str) -> BadPackage:
    return BadPackage(f"{what} is not a sound compiled module: {how}")
