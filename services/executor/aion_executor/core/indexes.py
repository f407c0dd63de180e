"""Index entries: a pure function of a run's state, so that the store keeps them by a diff of before and after.

Key prefixes are never reused: `owed/` runs that must be woken by whoever takes the partition over; `soft/` runs in a plain
`receive`, by version; `open/` open runs, by version; `due/` runs that time does something to, by time; `list/` all runs of a
namespace, the newest first. Every key ends with the run id.
"""

import struct

from aion_common.ids import Namespace, RunId, Version
from aion_executor.core.run import Run, due_at, is_open, owes_turn, waits_softly

OWED = b"owed/"
DUE = b"due/"

RUN_ID_CHARS = 32
TIME_MAX = 2**64 - 1


def soft_prefix(namespace: Namespace, version: Version) -> bytes:
    """Prefix of the runs of a version that wait in a plain `receive`."""
    return f"soft/{namespace}/{version}/".encode()


def open_prefix(namespace: Namespace, version: Version | None = None) -> bytes:
    """Prefix of the open runs of a version, or of a whole namespace."""
    return f"open/{namespace}/".encode() if version is None else f"open/{namespace}/{version}/".encode()


def list_prefix(namespace: Namespace) -> bytes:
    """Prefix of all runs of a namespace, in the order of lists: the newest first, then by run id."""
    return f"list/{namespace}/".encode()


def list_key(namespace: Namespace, started_at: int, run_id: RunId) -> bytes:
    """Where a run stands in the list of its namespace."""
    return list_prefix(namespace) + struct.pack(">Q", TIME_MAX - started_at) + run_id.encode()


def started_at_in(key: bytes) -> int:
    """The time in a key of a list."""
    (inverted,) = struct.unpack(">Q", key[-RUN_ID_CHARS - 8 : -RUN_ID_CHARS])
    return TIME_MAX - int(inverted)


def due_key(due_ms: int, run_id: RunId) -> bytes:
    """Where a run stands that time does something to."""
    return DUE + struct.pack(">Q", due_ms) + run_id.encode()


def due_ms_in(key: bytes) -> int:
    """The time in a key of `due/`."""
    (due_ms,) = struct.unpack(">Q", key[-RUN_ID_CHARS - 8 : -RUN_ID_CHARS])
    return int(due_ms)


def run_id_in(key: bytes) -> RunId:
    """The run an index entry names."""
    return RunId(key[-RUN_ID_CHARS:].decode())


def version_in(key: bytes) -> Version:
    """The version in a key of `open/`."""
    return Version(key.split(b"/")[2].decode())


def reindexed(before: Run | None, after: Run) -> tuple[list[bytes], list[bytes]]:
    """The entries that an event took away, and those it added. What an entry is made of beside the time never changes."""
    run_id = after.run_id.encode()
    removed: list[bytes] = []
    added: list[bytes] = []
    if before is None:
        added.append(list_key(after.namespace, after.started_at, after.run_id))
        owed, was_soft, was_open, was_due = False, False, False, None
    else:
        owed, was_soft, was_open, was_due = owes_turn(before), waits_softly(before), is_open(before), due_at(before)
    if (owes := owes_turn(after)) != owed:
        (added if owes else removed).append(OWED + run_id)
    if (is_soft := waits_softly(after)) != was_soft:
        (added if is_soft else removed).append(soft_prefix(after.namespace, after.version) + run_id)
    if (opened := is_open(after)) != was_open:
        (added if opened else removed).append(open_prefix(after.namespace, after.version) + run_id)
    due = due_at(after)
    if due != was_due:
        if was_due is not None:
            removed.append(due_key(was_due, after.run_id))
        if due is not None:
            added.append(due_key(due, after.run_id))
    return removed, added


def entries_of(run: Run) -> frozenset[bytes]:
    """All index entries of a run."""
    return frozenset(reindexed(None, run)[1])
