"""The in-memory twin of the RocksDB store."""

from collections.abc import Iterator

from aion_executor.store.api import RawBatch, Table


class MemoryTables:
    """Tables in dictionaries. `scan` sorts: slow and obvious."""

    def __init__(self) -> None:
        self._tables: dict[Table, dict[bytes, bytes]] = {table: {} for table in Table}

    def get(self, table: Table, key: bytes) -> bytes | None:
        """See `Tables`."""
        return self._tables[table].get(key)

    def scan(self, table: Table, prefix: bytes, start: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """See `Tables`."""
        rows = self._tables[table]
        for key in sorted(key for key in rows if key.startswith(prefix) and key >= start):
            yield key, rows[key]

    def write(self, batch: RawBatch) -> None:
        """See `Tables`."""
        for table, keys in batch.deletes.items():
            for key in keys:
                self._tables[table].pop(key, None)
        for table, rows in batch.puts.items():
            self._tables[table].update(rows)

    def flush(self) -> None:
        """See `Tables`."""

    def close(self) -> None:
        """See `Tables`."""
