"""Modules and archives built byte by byte, sound ones and unsound ones, for tests that need no Erlang."""

import io
import json
import struct
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from aion_common.package.archive import build_archive, write_archive
from aion_common.package.version import content_version

Import = tuple[str, str, int]


def chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack(">L", len(content)) + content + b"\0" * (-len(content) % 4)


def form(*chunks: bytes) -> bytes:
    body = b"BEAM" + b"".join(chunks)
    return b"FOR1" + struct.pack(">L", len(body)) + body


def short_atoms(names: Sequence[str]) -> bytes:
    """The atom table up to OTP 27: lengths in one byte."""
    return struct.pack(">l", len(names)) + b"".join(bytes((len(n.encode()),)) + n.encode() for n in names)


def compact_length(length: int) -> bytes:
    return bytes((length << 4,)) if length < 16 else bytes(((length >> 3) & 0xE0 | 0b1000, length & 0xFF))


def compact_atoms(names: Sequence[str]) -> bytes:
    """The atom table since OTP 28: a negative count, lengths as compact terms."""
    return struct.pack(">l", -len(names)) + b"".join(compact_length(len(n.encode())) + n.encode() for n in names)


def table(rows: Iterable[tuple[int, int, int]]) -> bytes:
    packed = [struct.pack(">LLL", *row) for row in rows]
    return struct.pack(">L", len(packed)) + b"".join(packed)


def beam(
    name: str,
    exports: Sequence[tuple[str, int]] = (("run", 1),),
    imports: Sequence[Import] = (),
    *,
    atoms_chunk: bytes | None = None,
    more: Sequence[bytes] = (),
) -> bytes:
    """A module that only a reader of its tables would take for one. `more`: further chunks."""
    atoms = [name]
    for atom in [text for text, _ in exports] + [text for row in imports for text in row[:2]]:
        if atom not in atoms:
            atoms.append(atom)
    number = {atom: index + 1 for index, atom in enumerate(atoms)}
    return form(
        atoms_chunk if atoms_chunk is not None else chunk(b"AtU8", short_atoms(atoms)),
        chunk(b"ImpT", table((number[m], number[f], a) for m, f, a in imports)),
        chunk(b"ExpT", table((number[f], a, 0) for f, a in exports)),
        *more,
    )


def manifest(**changed: Any) -> dict[str, Any]:
    """A complete manifest; `changed` fields replace or add, a field set to ... is left out."""
    document: dict[str, Any] = {
        "entry_module": "order",
        "entry_function": "run",
        "input_schema": {"type": "object"},
        "output_schema": True,
        "activities": [{"activity_type": "charge"}],
        "version": "0" * 64,
        "format_version": 1,
    }
    document |= changed
    return {field: value for field, value in document.items() if value is not ...}


def zipped(entries: Iterable[tuple[str, bytes]], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as target:
        for name, content in entries:
            target.writestr(name, content)
    return buffer.getvalue()


def archived(document: Mapping[str, Any] | bytes, modules: Mapping[str, bytes], *more: tuple[str, bytes]) -> bytes:
    """A ZIP as another tool would write it: in this order, deflated, nothing checked."""
    text = document if isinstance(document, bytes) else json.dumps(document).encode()
    return zipped([("manifest.json", text), *((f"beam/{name}.beam", content) for name, content in modules.items()), *more])


def stamped(document: Mapping[str, Any], modules: Mapping[str, bytes]) -> dict[str, Any]:
    return dict(document) | {"version": content_version(modules.items())}


def sound_archive() -> bytes:
    modules = {"order": beam("order"), "order_rules": beam("order_rules", [("check", 2)], [("lists", "sort", 1)])}
    return write_archive(build_archive(manifest(), modules.items()))
