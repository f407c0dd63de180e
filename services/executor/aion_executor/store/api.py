"""The raw seam: sorted tables of byte strings, and batches that are written whole or not at all."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol


class Table(StrEnum):
    """The tables of a partition. Names are never reused for something else."""

    RUNS = "runs"
    NEWEST = "newest"
    HISTORY = "history"
    INDEX = "index"
    SEEN = "seen"
    AGES = "ages"
    PARKED = "parked"
    OUTBOX = "outbox"
    META = "meta"


@dataclass(slots=True)
class RawBatch:
    """Changes that go in together: keys and values by table. Later ones win over earlier ones."""

    puts: Mapping[Table, Collection[tuple[bytes, bytes]]] = field(default_factory=dict)
    deletes: Mapping[Table, Collection[bytes]] = field(default_factory=dict)


class Tables(Protocol):
    """Both twins pass `tests/contract/test_store.py`."""

    def get(self, table: Table, key: bytes) -> bytes | None:
        """The value, or None."""

    def scan(self, table: Table, prefix: bytes, start: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """Entries whose key begins with `prefix`, from `start` (a key with that prefix) on, in key order. Use it up before
        the next write."""

    def write(self, batch: RawBatch) -> None:
        """Apply deletes, then puts: all of them, also when the machine dies in the middle. Those of tables that are written
        behind wait until `flush`, and are lost together when the process dies before."""

    def flush(self) -> None:
        """What was written outlives this process. Harmless to repeat."""

    def close(self) -> None:
        """No call is allowed afterwards but `close`."""
