"""The RocksDB store: one column family per table, raw bytes, write-ahead log on. The only module that touches rocksdict.

A damaged store is never repaired: it is a cache, so `open_rocks` deletes and begins anew, and says so.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import structlog
from rocksdict import BlockBasedOptions, Options, Rdict, WriteBatch

from aion_common.errors import Unavailable
from aion_common.limits import MIB
from aion_executor.store.api import RawBatch, Table

log = structlog.get_logger(__name__)

WRITE_BUFFER_BYTES = 8 * MIB
"""Memtables of all tables of a store together, and its write-ahead log. Who opens a store that was not closed reads the log
back and writes it into tables, 50 ms or more, and who comes back after a death opens many: with twice as much partitions
stood still for 1.7 s instead of 1.1."""

FILTERED = (Table.RUNS, Table.NEWEST, Table.SEEN)
"""A start asks whether its run, its workflow id and its command were here before. Mostly they were not, and a filter says so
without a look at the rows."""

FILTER_BITS = 10
"""For each row: one look in a hundred is in vain."""


def _options() -> Options:
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    options.create_missing_column_families(True)
    options.set_db_write_buffer_size(WRITE_BUFFER_BYTES)
    options.set_max_total_wal_size(WRITE_BUFFER_BYTES)
    options.set_keep_log_file_num(2)
    return options


def _options_of(table: Table) -> Options:
    options = _options()
    if table in FILTERED:
        blocks = BlockBasedOptions()
        blocks.set_bloom_filter(FILTER_BITS, block_based=False)
        options.set_block_based_table_factory(blocks)
    return options


class RocksTables:
    """An open store in a folder. Raises what rocksdict raises when the folder is damaged or held by another process."""

    def __init__(self, folder: Path) -> None:
        families = {table.value: _options_of(table) for table in Table}
        self._database = Rdict(str(folder), _options(), column_families=families)
        self._families = {table: self._database.get_column_family(table.value) for table in Table}
        self._columns = {table: self._database.get_column_family_handle(table.value) for table in Table}

    def get(self, table: Table, key: bytes) -> bytes | None:
        """See `Tables`."""
        value: bytes | None = self._families[table].get(key)
        return value

    def scan(self, table: Table, prefix: bytes, start: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """See `Tables`."""
        rows = cast(Iterator[tuple[bytes, bytes]], self._families[table].items(from_key=max(prefix, start)))
        for key, value in rows:
            if not key.startswith(prefix):
                return
            yield key, value

    def write(self, batch: RawBatch) -> None:
        """See `Tables`."""
        changes = WriteBatch(raw_mode=True)
        for table, keys in batch.deletes.items():
            column = self._columns[table]
            for key in keys:
                changes.delete(key, column)
        for table, rows in batch.puts.items():
            column = self._columns[table]
            for key, value in rows:
                changes.put(key, value, column)
        self._database.write(changes)

    def flush(self) -> None:
        """See `Tables`: the write-ahead log has it."""

    def close(self) -> None:
        """See `Tables`."""
        self._families.clear()
        self._columns.clear()
        self._database.close()


def delete_rocks(folder: Path) -> None:
    """Delete a closed store. A missing one is fine."""
    shutil.rmtree(folder, ignore_errors=True)


def open_rocks(folder: Path) -> RocksTables:
    """Open the store in `folder`, or a new one if there is none or it is damaged. Raises Unavailable while it is open
    elsewhere."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        return RocksTables(folder)
    except Exception as error:  # rocksdict raises plain Exception for every kind of damage
        if "lock" in str(error).lower():
            raise Unavailable(f"the store in {folder} is open in another process") from error
        log.warning("store deleted: it cannot be opened", folder=str(folder), error=str(error))
        delete_rocks(folder)
        folder.mkdir(parents=True)
        return RocksTables(folder)
