"""Tables that are written behind: what was written waits in memory, and goes into the tables below in portions.

A row that changes many times until then is written once, and one that is gone again is only deleted; a batch costs no call of
RocksDB. What waits is lost when the process dies, all of it: the store is then as it was some batches ago, and the history
says the rest (the first sentence of ARCHITECTURE.md). It wraps any `Tables`; who opens a store puts it around them.
"""

from collections.abc import Iterator
from heapq import merge

import structlog

from aion_common.limits import STORE_WAITING_BYTES_MAX
from aion_executor.store.api import RawBatch, Table, Tables

log = structlog.get_logger(__name__)


class WriteBehind:
    """See `Tables`. At most `bytes_max` of keys and values wait once a write has returned."""

    def __init__(self, below: Tables, bytes_max: int = STORE_WAITING_BYTES_MAX) -> None:
        self._below = below
        self._bytes_max = bytes_max
        self._waiting: dict[Table, dict[bytes, bytes | None]] = {table: {} for table in Table}
        """None: a row that is deleted."""
        self._bytes = 0

    def get(self, table: Table, key: bytes) -> bytes | None:
        """See `Tables`."""
        waiting = self._waiting[table]
        return waiting[key] if key in waiting else self._below.get(table, key)

    def scan(self, table: Table, prefix: bytes, start: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """See `Tables`. Looks at every row of the table that waits: scans are rare."""
        waiting = self._waiting[table]
        first = max(prefix, start)
        own = sorted((key, value) for key, value in waiting.items() if key.startswith(prefix) and key >= first)
        others = ((key, value) for key, value in self._below.scan(table, prefix, start) if key not in waiting)
        return ((key, value) for key, value in merge(own, others) if value is not None)

    def write(self, batch: RawBatch) -> None:
        """See `Tables`, but for the death of the machine: see `flush`. Batches stay whole."""
        for table, keys in batch.deletes.items():
            self._waiting[table].update(dict.fromkeys(keys))
            self._bytes += sum(map(len, keys))
        for table, rows in batch.puts.items():
            self._waiting[table].update(rows)
            for key, value in rows:
                self._bytes += len(key) + len(value)
        if self._bytes > self._bytes_max:
            self.flush()

    def flush(self) -> None:
        """See `Tables`."""
        if not self._bytes:
            return
        puts, deletes = {}, {}
        for table, waiting in self._waiting.items():
            puts[table] = [(key, value) for key, value in waiting.items() if value is not None]
            deletes[table] = [key for key, value in waiting.items() if value is None]
        self._below.write(RawBatch(puts=puts, deletes=deletes))
        self._below.flush()
        for waiting in self._waiting.values():
            waiting.clear()
        self._bytes = 0

    def close(self) -> None:
        """See `Tables`. What waits is written before, if it can be: whoever closes a store may be ending for a reason of his
        own, which must not be hidden, and what is missing is in the history."""
        try:
            self.flush()
        except Exception as error:  # rocksdict raises plain Exception
            log.warning("store closed without its newest rows", error=str(error))
        finally:
            self._below.close()
