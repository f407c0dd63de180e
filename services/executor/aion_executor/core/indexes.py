"""Index entries: a pure function of a run's state, so that the store keeps them by a diff of before and after.

Key prefixes are never reused: `owed/` runs that must be woken by whoever takes the partition over; `soft/` runs in a plain
`receive`, by version.
"""

from aion_common.ids import Namespace, RunId, Version
from aion_executor.core.run import Run, owes_turn, waits_softly

OWED = b"owed/"


def soft_prefix(namespace: Namespace, version: Version) -> bytes:
    """Prefix of the runs of a version that wait in a plain `receive`."""
    return f"soft/{namespace}/{version}/".encode()


def run_id_in(key: bytes) -> RunId:
    """The run an index entry names."""
    return RunId(key.rpartition(b"/")[2].decode())


def entries_of(run: Run | None) -> frozenset[bytes]:
    """All index entries of a run."""
    if run is None:
        return frozenset()
    entries = set[bytes]()
    if owes_turn(run):
        entries.add(OWED + run.run_id.encode())
    if waits_softly(run):
        entries.add(soft_prefix(run.namespace, run.version) + run.run_id.encode())
    return frozenset(entries)
