"""The first sentence: a store that is deleted and read back from the history says what the owner's store says."""

from collections import Counter
from collections.abc import Sequence

from aion_common.kafka.api import LogRecord
from aion_executor.restore import begin_restore
from aion_executor.store.api import Table
from aion_executor.store.memory import MemoryTables
from aion_executor.store.rows import OwedSend, Store
from simulation.ledger import Broken

SAME = tuple(table for table in Table if table not in {Table.OUTBOX, Table.META})
"""The outbox is in pieces that depend on how it was read; what it holds is compared instead."""


def check_rebuild(number: int, store: Store, history: Sequence[LogRecord]) -> None:
    """Compare an owner's store with one rebuilt up to the same record. Raises Broken."""
    meta = store.meta()
    if meta is None:
        return
    tables = MemoryTables()
    restored = begin_restore(Store(tables), number)
    assert restored is not None
    restored.fold([record for record in history if record.offset <= meta.offset])
    again = restored.store.meta()
    if again != meta:
        raise Broken(f"partition {number}, rebuilt, is {again}, its owner has {meta}")
    for table in SAME:
        rebuilt = dict(tables.scan(table, b""))
        owners = dict(store._tables.scan(table, b""))
        if rebuilt != owners:
            different = [key for key in rebuilt.keys() | owners.keys() if rebuilt.get(key) != owners.get(key)]
            raise Broken(f"partition {number}: table {table}, rebuilt, differs from the owner's at {sorted(different)[:3]}")
    forgotten = _owed(restored.store) - _owed(store)
    if forgotten:
        raise Broken(f"partition {number}: rebuilt, it owes what its owner does not know of: {forgotten}")


def _owed(store: Store) -> Counter[OwedSend]:
    """Batches whose sends lie on both sides of the watermark are kept whole by who appended them, so an owner may owe more."""
    return Counter(send for _, sends in store.outbox() for send in sends)
