"""Both twins of the store behave alike: sorted tables, batches that go in whole, what was written is there after opening."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aion_executor.store.api import RawBatch, Table, Tables
from aion_executor.store.behind import WriteBehind
from aion_executor.store.memory import MemoryTables
from aion_executor.store.rocks import delete_rocks, open_rocks

Make = Callable[[Path], Tables]


def _memory(_: Path) -> Tables:
    return MemoryTables()


def _behind(folder: Path) -> Tables:
    return WriteBehind(open_rocks(folder))


@pytest.fixture(params=[_memory, open_rocks, _behind], ids=["memory", "rocks", "behind"])
def tables(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Tables]:
    made: Tables = request.param(tmp_path / "store")
    yield made
    made.close()


def put(*rows: tuple[Table, bytes, bytes]) -> RawBatch:
    """A batch of puts."""
    puts: dict[Table, list[tuple[bytes, bytes]]] = defaultdict(list)
    for table, key, value in rows:
        puts[table].append((key, value))
    return RawBatch(puts=puts)


def test_what_was_put_is_there_and_nothing_else(tables: Tables) -> None:
    tables.write(put((Table.RUNS, b"a", b"1"), (Table.INDEX, b"a", b"")))
    assert tables.get(Table.RUNS, b"a") == b"1"
    assert tables.get(Table.INDEX, b"a") == b""
    assert tables.get(Table.RUNS, b"b") is None
    assert tables.get(Table.META, b"a") is None


def test_scan_keeps_to_its_prefix_in_order(tables: Tables) -> None:
    tables.write(put(*((Table.HISTORY, key, key) for key in (b"b2", b"a", b"b1", b"b10", b"c", b"b"))))
    assert [key for key, _ in tables.scan(Table.HISTORY, b"b")] == [b"b", b"b1", b"b10", b"b2"]
    assert [key for key, _ in tables.scan(Table.HISTORY, b"b", b"b10")] == [b"b10", b"b2"]
    assert list(tables.scan(Table.HISTORY, b"d")) == []


def test_batch_applies_deletes_then_puts(tables: Tables) -> None:
    tables.write(put((Table.INDEX, b"a", b"1"), (Table.INDEX, b"b", b"1")))
    tables.write(RawBatch(puts={Table.INDEX: [(b"a", b"2")]}, deletes={Table.INDEX: [b"a", b"b"]}))
    assert list(tables.scan(Table.INDEX, b"")) == [(b"a", b"2")]


def test_last_put_of_a_batch_wins(tables: Tables) -> None:
    tables.write(put((Table.RUNS, b"a", b"1"), (Table.RUNS, b"a", b"2")))
    assert tables.get(Table.RUNS, b"a") == b"2"


batches = st.lists(
    st.tuples(
        st.dictionaries(
            st.sampled_from(Table), st.lists(st.tuples(st.binary(max_size=3), st.binary(max_size=2)), max_size=3), max_size=3
        ),
        st.dictionaries(st.sampled_from(Table), st.lists(st.binary(max_size=3), max_size=2), max_size=3),
    ),
    max_size=8,
)


@settings(max_examples=30, deadline=None)
@given(batches)
def test_twins_agree_after_any_batches(
    tmp_path_factory: pytest.TempPathFactory,
    some: list[tuple[dict[Table, list[tuple[bytes, bytes]]], dict[Table, list[bytes]]]],
) -> None:
    folder = tmp_path_factory.mktemp("store")
    memory, rocks = MemoryTables(), open_rocks(folder)
    behind: list[Tables] = [WriteBehind(MemoryTables(), bytes_max) for bytes_max in (0, 8, 1_000)]
    for puts, deletes in some:
        for tables in (memory, rocks, *behind):
            cast(Tables, tables).write(RawBatch(puts=puts, deletes=deletes))
    rocks.close()
    rocks = open_rocks(folder)
    for twin in cast(list[Tables], [rocks, *behind]):
        for table in Table:
            rows = list(memory.scan(table, b""))
            assert list(twin.scan(table, b"")) == rows
            for key, value in rows:
                assert twin.get(table, key) == value
                assert list(twin.scan(table, key[:1], key)) == list(memory.scan(table, key[:1], key))
            assert twin.get(table, b"nowhere") is None
    rocks.close()


def test_a_key_that_waits_to_be_deleted_is_gone_at_once(tmp_path: Path) -> None:
    tables = WriteBehind(open_rocks(tmp_path))
    tables.write(put((Table.RUNS, b"a", b"1"), (Table.RUNS, b"b", b"1")))
    tables.flush()
    tables.write(RawBatch(deletes={Table.RUNS: [b"a"]}))
    assert tables.get(Table.RUNS, b"a") is None
    assert list(tables.scan(Table.RUNS, b"")) == [(b"b", b"1")]
    tables.close()
    rocks = open_rocks(tmp_path)
    assert list(rocks.scan(Table.RUNS, b"")) == [(b"b", b"1")]
    rocks.close()


def test_batches_that_are_written_behind_are_there_whole_or_not_at_all() -> None:
    below = MemoryTables()
    tables = WriteBehind(below, bytes_max=20)
    for number in range(10):
        tables.write(put((Table.RUNS, b"run", b"%d" % number), (Table.META, b"meta", b"%d" % number)))
        assert below.get(Table.RUNS, b"run") == below.get(Table.META, b"meta")
        assert tables.get(Table.RUNS, b"run") == b"%d" % number
    assert below.get(Table.META, b"meta") == b"8", "three batches at a time go below"


def test_what_waits_is_written_at_a_flush_and_at_the_end() -> None:
    below = MemoryTables()
    tables = WriteBehind(below)
    tables.write(put((Table.RUNS, b"a", b"1")))
    assert below.get(Table.RUNS, b"a") is None
    tables.flush()
    assert below.get(Table.RUNS, b"a") == b"1"
    tables.write(put((Table.RUNS, b"a", b"2")))
    tables.close()
    assert below.get(Table.RUNS, b"a") == b"2"


def test_tables_are_closed_also_when_what_waits_cannot_be_written() -> None:
    class Full(MemoryTables):
        is_closed = False

        def write(self, batch: RawBatch) -> None:
            raise OSError("no space left on device")

        def close(self) -> None:
            self.is_closed = True

    below = Full()
    tables = WriteBehind(below)
    tables.write(put((Table.RUNS, b"a", b"1")))
    tables.close()
    assert below.is_closed


def test_damaged_store_is_replaced_by_an_empty_one(tmp_path: Path) -> None:
    store = open_rocks(tmp_path)
    store.write(put((Table.RUNS, b"a", b"1")))
    store.close()
    for file in tmp_path.glob("MANIFEST*"):
        file.write_bytes(b"not a manifest")
    store = open_rocks(tmp_path)
    assert store.get(Table.RUNS, b"a") is None
    store.close()


def test_deleting_a_store_that_is_not_there_is_fine(tmp_path: Path) -> None:
    delete_rocks(tmp_path / "nothing")
