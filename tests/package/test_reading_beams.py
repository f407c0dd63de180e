"""What a compiled module says of itself is read from its bytes, and unsound bytes are refused."""

import gzip
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from aion_common.errors import BadPackage
from aion_common.package.beamfile import BeamModule, read_beam
from aion_common.package.inflate import Budget, archive_budget
from package.made_archives import beam, chunk, compact_atoms, form, short_atoms, table

SOURCE = """
-module(order).
-export([run/1, 'über straße'/0]).
run(Argument) -> lists:sort(Argument).
'über straße'() -> erlang:load_nif("x", 0).
"""


def read(content: bytes, budget: Budget | None = None) -> BeamModule:
    return read_beam(content, what="beam/x.beam", budget=budget or archive_budget())


@pytest.mark.parametrize("flags", [[], ["+compressed"], ["+debug_info"]])
def test_a_module_of_the_real_compiler_is_read(tmp_path: Path, flags: list[str]) -> None:
    erlc = shutil.which("erlc")
    assert erlc, "these tests need Erlang: install erlang-base or another package with erlc"
    (tmp_path / "order.erl").write_text(SOURCE, encoding="utf-8")
    subprocess.run([erlc, "+deterministic", *flags, "order.erl"], cwd=tmp_path, check=True)
    module = read((tmp_path / "order.beam").read_bytes())
    assert module.name == "order"
    assert {("run", 1), ("über straße", 0), ("module_info", 1)} <= module.exports
    assert {("lists", "sort", 1), ("erlang", "load_nif", 2)} <= module.imports


def test_name_exports_and_imports_are_read_from_either_atom_table() -> None:
    names = ["order", "run", "lists", "sort", "ö" * 100]
    tables = [chunk(b"ImpT", table([(3, 4, 1)])), chunk(b"ExpT", table([(2, 1, 0), (5, 0, 0)]))]
    expected = BeamModule(
        name="order", exports=frozenset({("run", 1), ("ö" * 100, 0)}), imports=frozenset({("lists", "sort", 1)})
    )
    assert read(form(chunk(b"AtU8", short_atoms(names)), *tables)) == expected
    assert read(form(chunk(b"AtU8", compact_atoms(names)), *tables)) == expected


def test_the_compact_atom_table_holds_atoms_of_more_than_255_bytes() -> None:
    long = "ö" * 255
    tables = [chunk(b"ImpT", table([])), chunk(b"ExpT", table([(2, 1, 0)]))]
    assert read(form(chunk(b"AtU8", compact_atoms(["order", long])), *tables)).exports == {(long, 1)}


def test_a_latin_1_atom_table_of_old_compilers_is_read() -> None:
    atoms = struct.pack(">L", 1) + b"\x05caf\xe9s"
    module = read(form(chunk(b"Atom", atoms), chunk(b"ImpT", table([])), chunk(b"ExpT", table([]))))
    assert module.name == "cafés"


def test_a_gzipped_module_is_read_and_counted() -> None:
    plain = beam("order")
    budget = Budget(bytes_max=10_000, table_entries_max=100)
    assert read(gzip.compress(plain), budget).name == "order"
    assert budget.bytes_left == 10_000 - len(plain)


def test_a_gzipped_bomb_is_refused_at_the_limit() -> None:
    bomb = gzip.compress(b"\0" * 10_000_000)
    with pytest.raises(BadPackage, match="inflates to more than 1000 bytes"):
        read(bomb, Budget(bytes_max=1_000, table_entries_max=100))


def test_literals_that_claim_too_much_are_refused() -> None:
    content = beam("order", more=[chunk(b"LitT", struct.pack(">L", 2**32 - 1))])
    with pytest.raises(BadPackage, match="inflates to more than"):
        read(content)


def test_more_table_entries_than_a_package_may_have_are_refused_before_they_are_read() -> None:
    with pytest.raises(BadPackage, match="more than 3 atoms, imports and exports"):
        read(beam("order", [("run", 1)], [("lists", "sort", 1)]), Budget(bytes_max=1_000, table_entries_max=3))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "not a compiled Erlang module"),
        (b"#!/bin/sh\necho no module at all\n", "not a compiled Erlang module"),
        (b"FOR1\0\0\0\x04BEAX", "not a compiled Erlang module"),
        (beam("order")[:-5], "was cut off"),
        (gzip.compress(beam("order"))[:-9], "ends too early"),
        (gzip.compress(beam("order")) + b"x", "1 bytes follow"),
        (b"\x1f\x8bnot gzip", "stream is broken"),
        (form(), "it has no atoms"),
        (form(chunk(b"AtU8", short_atoms(["a"]))), "'ImpT' is missing"),
        (beam("order", atoms_chunk=chunk(b"AtU8", struct.pack(">l", 9))), "atoms were cut off"),
        (beam("order", atoms_chunk=chunk(b"AtU8", struct.pack(">l", -(2**31)))), "more than 2000000 atoms"),
        (beam("order", atoms_chunk=chunk(b"AtU8", struct.pack(">l", -1) + b"\x11")), "no readable length"),
        (beam("order", atoms_chunk=chunk(b"AtU8", struct.pack(">l", -1) + b"\x18")), "an atom is too long"),
        (beam("order", atoms_chunk=chunk(b"AtU8", compact_atoms(["x" * 256]))), "an atom is too long"),
        (beam("order", atoms_chunk=chunk(b"AtU8", struct.pack(">l", 1) + b"\x01\xff")), "an atom is not text"),
        (beam("order", atoms_chunk=chunk(b"AtU8", short_atoms(["order"]))), "refers to atom 2 of 1"),
        (form(chunk(b"AtU8", short_atoms(["a"])), chunk(b"ImpT", struct.pack(">L", 2**30))), "'ImpT' was cut off"),
        (beam("order", more=[chunk(b"ImpT", b"")]), "two chunks b'ImpT'"),
        (beam("order", more=[chunk(b"LitT", b"")]), "literals were cut off"),
        (form(*(chunk(struct.pack(">L", n), b"") for n in range(300))), "more than 256 chunks"),
    ],
)
def test_unsound_modules_are_refused_with_a_reason(content: bytes, sentence: str) -> None:
    with pytest.raises(BadPackage, match=sentence) as refusal:
        read(content)
    assert "beam/x.beam" in str(refusal.value) or "the modules" in str(refusal.value)
