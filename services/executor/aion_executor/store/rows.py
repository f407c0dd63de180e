"""The store as the executor sees it: runs, histories, answers and the partition itself, in msgpack rows.

Reads show what was written, that is: what the log has acknowledged. `Writes` is one batch of the loop, or one chunk of a
restore; it goes in whole.
"""

from collections import OrderedDict, deque
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice, takewhile

import msgspec
from blake3 import blake3
from msgspec import Struct
from msgspec.structs import replace

from aion_common.ids import CommandId, Namespace, RunId, Version, WorkflowId, workflow_key
from aion_common.limits import RUNS_CACHED_MAX
from aion_common.records.events import HistoryRecord
from aion_common.wire import decode
from aion_executor.core.partition import LoadedVersion, Partition
from aion_executor.core.run import Run
from aion_executor.store.api import RawBatch, Table, Tables
from aion_executor.store.keys import (
    CATALOG_KEY,
    META_KEY,
    age_key,
    history_key,
    outbox_key,
    outbox_offset,
    parked_key,
    recorded_at_in,
    run_key,
    seen_key,
    seen_key_in,
)

_run_rows = msgspec.msgpack.Decoder(Run)
_encode_row = msgspec.msgpack.Encoder().encode


class Meta(Struct, frozen=True, kw_only=True):
    """How far the store has come. `offset`: of the last history record applied; `checksum` of that record's value, by which
    a store of another log is told from one of ours."""

    offset: int
    checksum: bytes
    partition: Partition


class OwedSend(Struct, frozen=True, kw_only=True, gc=False):
    """A record that leaves once the one that owes it is in the log. `topic`: without the cluster's prefix. `partition` None:
    that of the key."""

    topic: str
    partition: int | None
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()


_outbox_rows = msgspec.msgpack.Decoder(tuple[OwedSend, ...])


class _Catalog(Struct, frozen=True, kw_only=True):
    """The part of a partition's state that changes with deploys only, in a row of its own."""

    routes: Mapping[str, Version]
    versions: Mapping[str, LoadedVersion]


_catalog_rows = msgspec.msgpack.Decoder(_Catalog)
_meta_rows = msgspec.msgpack.Decoder(Meta)


@dataclass(slots=True, kw_only=True)
class Writes:
    """Changes of one batch. `history`: (run, seq, value bytes); `answers`: encoded replies; `ages`: when they were recorded;
    `parked`: encoded commands by their offset, None of those released; `outbox`: sends owed, by history offset: they stay
    until the watermark `meta.partition.sent_through` has passed them.
    """

    meta: Meta
    runs: dict[RunId, Run] = field(default_factory=dict)
    newest: dict[bytes, RunId] = field(default_factory=dict)
    history: list[tuple[RunId, int, bytes]] = field(default_factory=list)
    answers: dict[CommandId, bytes] = field(default_factory=dict)
    ages: list[tuple[int, CommandId]] = field(default_factory=list)
    parked: dict[int, bytes | None] = field(default_factory=dict)
    outbox: dict[int, tuple[OwedSend, ...]] = field(default_factory=dict)
    entries_added: Collection[bytes] = ()
    entries_removed: Collection[bytes] = ()


def checksum_of(value: bytes) -> bytes:
    """16 bytes of BLAKE3."""
    return blake3(value).digest(length=16)


class Store:
    """Typed rows over some tables. The runs written or read last stay decoded in memory."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._runs: OrderedDict[RunId, Run] = OrderedDict()
        self._versions: Mapping[str, LoadedVersion] | None = None
        self._outbox = deque(outbox_offset(key) for key, _ in tables.scan(Table.OUTBOX, b""))

    def meta(self) -> Meta | None:
        """None: nothing was ever written. Raises msgspec.DecodeError if the row is not readable."""
        row = self._tables.get(Table.META, META_KEY)
        if row is None:
            return None
        meta = _meta_rows.decode(row)
        catalog = _catalog_rows.decode(self._tables.get(Table.META, CATALOG_KEY) or b"")
        whole = replace(meta.partition, routes=catalog.routes, versions=catalog.versions)
        return replace(meta, partition=whole)

    def run(self, run_id: RunId) -> Run | None:
        """The run, as of the last write."""
        if (cached := self._runs.get(run_id)) is not None:
            return cached
        row = self._tables.get(Table.RUNS, run_key(run_id))
        if row is None:
            return None
        run = _run_rows.decode(row)
        self._keep(run)
        return run

    def _keep(self, run: Run) -> None:
        self._runs[run.run_id] = run
        self._runs.move_to_end(run.run_id)
        if len(self._runs) > RUNS_CACHED_MAX:
            self._runs.popitem(last=False)

    def newest_run_id(self, namespace: Namespace, workflow_id: WorkflowId) -> RunId | None:
        """The run of the workflow id that was started last."""
        row = self._tables.get(Table.NEWEST, workflow_key(namespace, workflow_id))
        return None if row is None else RunId(row.decode())

    def history(self, run_id: RunId, from_seq: int, limit: int) -> list[bytes]:
        """Values of the run's history records from `from_seq` on, in order, at most `limit`."""
        rows = self._tables.scan(Table.HISTORY, run_key(run_id), history_key(run_id, from_seq))
        return [value for _, value in islice(rows, limit)]

    def records(self, run_id: RunId, from_seq: int, limit: int) -> list[HistoryRecord]:
        """The run's history records from `from_seq` on, in order, at most `limit`."""
        return [decode(value) for value in self.history(run_id, from_seq, limit)]

    def answer(self, command_id: CommandId) -> bytes | None:
        """The encoded reply a command got."""
        return self._tables.get(Table.SEEN, seen_key(command_id))

    def entries(self, prefix: bytes, start: bytes = b"") -> Iterator[bytes]:
        """Index entries with the prefix, in order, from `start` on. Use them up before the next write."""
        return (key for key, _ in self._tables.scan(Table.INDEX, prefix, start))

    def parked(self, offset: int) -> bytes | None:
        """The encoded command of a start that waits for a verdict."""
        return self._tables.get(Table.PARKED, parked_key(offset))

    def forget_answers(self, before_ms: int, limit: int) -> int:
        """Drop answers that were recorded before that time, the oldest first, at most `limit`. Returns how many."""
        oldest = islice(self._tables.scan(Table.AGES, b""), limit)
        ages = [key for key, _ in takewhile(lambda row: recorded_at_in(row[0]) < before_ms, oldest)]
        if ages:
            self._tables.write(RawBatch(deletes={Table.AGES: ages, Table.SEEN: [seen_key_in(key) for key in ages]}))
        return len(ages)

    def outbox(self) -> list[tuple[int, tuple[OwedSend, ...]]]:
        """Sends that may not have been acknowledged, by history offset, in order."""
        return [(outbox_offset(key), _outbox_rows.decode(row)) for key, row in self._tables.scan(Table.OUTBOX, b"")]

    def write(self, writes: Writes) -> None:
        """One batch, all or nothing."""
        partition = writes.meta.partition
        owed = {offset: sends for offset, sends in writes.outbox.items() if offset > partition.sent_through}
        self._outbox.extend(owed)
        sent: list[int] = []
        while self._outbox and self._outbox[0] <= partition.sent_through:
            sent.append(self._outbox.popleft())
        parked = {offset: command for offset, command in writes.parked.items() if command is not None}
        puts = {
            Table.RUNS: [(run_key(run_id), _encode_row(run)) for run_id, run in writes.runs.items()],
            Table.NEWEST: [(key, run_id.encode()) for key, run_id in writes.newest.items()],
            Table.HISTORY: [(history_key(run_id, seq), value) for run_id, seq, value in writes.history],
            Table.SEEN: [(seen_key(command_id), reply) for command_id, reply in writes.answers.items()],
            Table.AGES: [(age_key(recorded_at, command_id), b"") for recorded_at, command_id in writes.ages],
            Table.PARKED: [(parked_key(offset), command) for offset, command in parked.items()],
            Table.OUTBOX: [(outbox_key(offset), _encode_row(sends)) for offset, sends in owed.items()],
            Table.INDEX: [(entry, b"") for entry in writes.entries_added],
            Table.META: self._meta_rows(writes.meta),
        }
        deletes = {
            Table.PARKED: [parked_key(offset) for offset in writes.parked if offset not in parked],
            Table.OUTBOX: [outbox_key(offset) for offset in sent],
            Table.INDEX: writes.entries_removed,
        }
        self._tables.write(RawBatch(puts=puts, deletes=deletes))
        for run in writes.runs.values():
            self._keep(run)

    def _meta_rows(self, meta: Meta) -> list[tuple[bytes, bytes]]:
        partition = meta.partition
        slim = replace(meta, partition=replace(partition, routes={}, versions={}))
        rows = [(META_KEY, _encode_row(slim))]
        if partition.versions is not self._versions:
            self._versions = partition.versions
            catalog = _Catalog(routes=partition.routes, versions=partition.versions)
            rows.append((CATALOG_KEY, _encode_row(catalog)))
        return rows

    def flush(self) -> None:
        """See `Tables`."""
        self._tables.flush()

    def close(self) -> None:
        """Close the tables."""
        self._tables.close()
