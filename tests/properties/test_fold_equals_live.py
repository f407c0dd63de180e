"""The fold of a history equals the live state, from every prefix; and whatever happens in between, answers are kept.

Random commands, VM deaths, crashes with and without the store, and half-done steps, over the real loop, core and fold.
"""

from collections import Counter
from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from aion_common.ids import WorkflowId, ingress_command_id
from aion_common.limits import CANCEL_GRACE_MS
from aion_common.records.commands import Command, IdConflict
from aion_common.records.common import json_payload
from aion_common.records.events import (
    DeadLettered,
    Event,
    Failure,
    OwnerEpoch,
    Progress,
    RunCancelled,
    RunCancelRequested,
    RunCompleted,
    RunFailed,
    RunStarted,
    RunTerminated,
    RunTimedOut,
    SignalReceived,
)
from aion_common.records.replies import PinsReported, Rejection
from aion_common.records.tasks import (
    ReportBody,
    TaskCancelled,
    TaskCompleted,
    TaskFailed,
    TaskHeartbeat,
    TaskStarted,
)
from aion_common.wire import chain_of, decode
from aion_common.wire.history import CHAIN_START
from aion_executor.core.partition import version_key
from aion_executor.core.run import is_open
from aion_executor.store.api import Table, Tables
from aion_executor.store.memory import MemoryTables
from aion_executor.store.rows import Store
from executor.given import DEFAULT, TYPES, V1, V2, cancel, closing, kept, routed, signal, start, terminate, unloaded
from executor.vm_twin import end_in
from executor.world import Wish, World

TERMINAL = RunCompleted | RunFailed | RunCancelled | RunTerminated | RunTimedOut

Act = Callable[[World], None]

workflow_ids = st.sampled_from([WorkflowId("w1"), WorkflowId("w2"), WorkflowId("w3")])
command_ids = st.integers(0, 12).map(lambda number: f"c{number}")


starts = st.builds(
    lambda command_id, kind, workflow_id, version, conflict, timeout_ms: start(
        f"{command_id}/{workflow_id}",
        kind,
        workflow_id=workflow_id,
        version=version,
        id_conflict=conflict,
        run_timeout_ms=timeout_ms,
    ),
    command_ids,
    st.sampled_from([*TYPES, "nobody"]),
    workflow_ids,
    st.sampled_from([None, None, V1, V2]),
    st.sampled_from(IdConflict),
    st.sampled_from([None, None, 2_000]),
)
endings = st.builds(
    lambda wish, command_id, workflow_id: wish(f"e{command_id}/{workflow_id}", workflow_id=workflow_id),
    st.sampled_from([cancel, terminate]),
    command_ids,
    workflow_ids,
)
signals = st.builds(
    lambda command_id, name, workflow_id: signal(f"s{command_id}/{workflow_id}", name, workflow_id=workflow_id),
    command_ids,
    st.sampled_from(["a", "b", "tidied"]),
    workflow_ids,
)


def _forwarded(command: Command) -> Command:
    """The same wish as a record of `aion.ingress`."""
    kind, number = "cse".index(command.command_id[0]), int("".join(filter(str.isdigit, command.command_id.partition("/")[0])))
    place = ingress_command_id(int(command.workflow_id[1:]), 3 * number + kind)
    return replace(command, command_id=place, reply_partition=None)


forwarded = st.one_of(starts, signals, endings).map(_forwarded)
markers = st.builds(routed, st.sampled_from([V1, V2]), st.integers(1, 6))
wishes: st.SearchStrategy[Wish] = st.one_of(starts, signals, endings, forwarded, markers, st.none())


def _die(world: World) -> None:
    world.loop.gone(world.vms.die(), world.now_ms)
    world.now_ms += 100_000


def _pass_time(world: World) -> None:
    world.now_ms += 1_500


def _grace_ends(world: World) -> None:
    world.now_ms += CANCEL_GRACE_MS


def _begin_unload(world: World) -> None:
    """As the catalog does: of a version that is not routed, one at a time."""
    world.run()
    partition = world.loop.partition
    if partition.closing is not None:
        return
    for version in (V1, V2):
        if version_key(DEFAULT, version) in partition.versions and version not in partition.routes.values():
            world.send(closing(version, partition.unload_attempt + 1))
            return


def _judge(world: World) -> None:
    """As the catalog does, by what the owner reported."""
    world.run()
    waiting = world.loop.partition.closing
    if waiting is None:
        return
    report = world.answer(f"unload/{waiting.attempt}/0")
    assert isinstance(report, PinsReported)
    verdict = kept if report.counts else unloaded
    world.after(verdict(waiting.version, waiting.attempt))


def _append(world: World) -> None:
    if world.loop.is_due(world.now_ms):
        world.append()


def _report(number: int, body: ReportBody) -> Act:
    """A worker tells something about one of the tasks that ever left, old or new."""

    def act(world: World) -> None:
        if world.tasks:
            world.report(world.tasks[number % len(world.tasks)], body)

    return act


bodies = st.sampled_from(
    [
        TaskStarted(),
        TaskHeartbeat(details=None),
        TaskHeartbeat(details=json_payload(b"1")),
        TaskCompleted(result=json_payload(b"2")),
        TaskFailed(failure=Failure(kind="busy", message="no", details=None), retryable=True),
        TaskFailed(failure=Failure(kind="broken", message="no", details=None), retryable=True),
        TaskCancelled(),
    ]
)


def _finish(world: World) -> None:
    """Workers do what there is to do, and time passes."""
    for _ in range(12):
        for task in world.tasks:
            world.report(task, TaskCompleted(result=None))
        world.run()
        world.now_ms += 1_000
        world.run()


acts: st.SearchStrategy[Act] = st.one_of(
    st.builds(_report, st.integers(0, 50), bodies),
    st.just(lambda world: world.queues.symmetric_difference_update({"default"})),
    st.lists(wishes, min_size=1, max_size=4).map(lambda some: lambda world: world.send(*some)),
    st.just(World.run),
    st.just(World.pump),
    st.just(World.flush),
    st.just(lambda world: world.loop.gather(world.now_ms)),
    st.just(_append),
    st.just(_die),
    st.just(_pass_time),
    st.just(_grace_ends),
    st.just(_begin_unload),
    st.just(_judge),
    st.sampled_from([True, False]).map(lambda keep: lambda world: world.crash(keep_store=keep)),
)


def dump(tables: Tables) -> dict[Table, dict[bytes, bytes]]:
    """What a store holds, but for the outbox, which may be grouped in other ways."""
    return {table: dict(tables.scan(table, b"")) for table in Table if table is not Table.OUTBOX}


def outbox(tables: Tables) -> Counter[bytes | None]:
    """The replies that are owed."""
    return Counter(send.value for _, sends in Store(tables).outbox() for send in sends)


def restored(history: list[bytes], *cuts: int) -> Tables:
    """A store folded from a history in chunks that end at `cuts`."""
    tables = MemoryTables()
    world = World.__new__(World)
    for end in (*sorted(cuts), len(history)):
        world.history = history[:end]
        World.restore(world, Store(tables))
    return tables


@settings(max_examples=300, deadline=None)
@given(st.lists(acts, max_size=25), st.data())
def test_fold_of_the_history_equals_live_state_from_every_prefix(some: list[Act], data: st.DataObject) -> None:
    world = World()
    for act in some:
        act(world)
    world.run()
    cut = data.draw(st.integers(0, len(world.history)))
    for folded in (restored(world.history), restored(world.history, cut)):
        assert dump(folded) == dump(world.tables)
        assert outbox(folded) == outbox(world.tables)


@settings(max_examples=300, deadline=None)
@given(st.lists(acts, max_size=25))
def test_histories_stay_sound_and_every_command_gets_one_answer(some: list[Act]) -> None:
    world = World().after(routed(V1, 1))
    for act in some:
        act(world)
    _judge(world)
    world.run()
    check_history(world)
    commands = {given.command.command_id: given.command for given in world.commands if hasattr(given, "command")}
    told = Counter(_place(event) for event in map(_event_of, world.history) if isinstance(event, DeadLettered))
    sent = {dict(letter.headers)["aion-offset"] for letter in world.letters}
    for command_id, command in commands.items():
        if command.reply_partition is not None:
            world.answer(command_id)
            continue
        reply = world.loop.store.answer(command_id)
        is_refused = reply is not None and isinstance(decode(reply).answer, Rejection)
        assert told[command_id] == is_refused, f"{command_id} is told {told[command_id]} times"
        assert not is_refused or command_id.rpartition("/")[2].encode() in sent


def _event_of(value: bytes) -> Event:
    event: Event = decode(value).event
    return event


def _place(letter: DeadLettered) -> str:
    return f"{letter.topic}/{letter.partition}/{letter.offset}"


@settings(max_examples=100, deadline=None)
@given(st.lists(acts, max_size=25))
def test_every_open_run_can_still_be_finished(some: list[Act]) -> None:
    world = World().after(routed(V1, 1))
    for act in some:
        act(world)
    world.queues.add("default")
    world.run()
    for number, workflow_id in enumerate(("w1", "w2", "w3")):
        if world.loop.store.newest_run_id(start("x", "park").namespace, WorkflowId(workflow_id)) is None:
            continue
        for name in ("a", "b", "tidied"):
            _finish(world)
            world.after(signal(f"last-{number}-{name}", name, workflow_id=WorkflowId(workflow_id)))
        _finish(world)
        assert not is_open(world.newest(WorkflowId(workflow_id))), world.told()


def check_history(world: World) -> None:
    """Seqs without gaps, chains, epochs and time that do not go back, at most one terminal event, each command once."""
    chains: dict[str, bytes] = {}
    seqs: Counter[str] = Counter()
    closed: set[str] = set()
    observed: dict[str, int] = {}
    causes: Counter[str] = Counter()
    epoch, recorded_at, decided = -1, 0, (0, 0)
    for offset, value in enumerate(world.history):
        record = decode(value)
        assert record.recorded_at >= recorded_at
        recorded_at = record.recorded_at
        if isinstance(record.event, OwnerEpoch):
            epoch = offset
            continue
        assert record.owner_epoch == epoch
        if isinstance(record.event, Progress):
            assert (record.event.commands_next, record.event.results_next) >= decided
            decided = (record.event.commands_next, record.event.results_next)
        if not record.run_id:
            continue
        assert record.run_id not in closed, "nothing follows a terminal event"
        seqs[record.run_id] += 1
        assert record.seq == seqs[record.run_id]
        assert record.chain == chain_of(record, chains.get(record.run_id, CHAIN_START))
        chains[record.run_id] = record.chain
        if isinstance(record.event, RunStarted | SignalReceived | RunCancelRequested):
            assert record.cause is not None
            causes[record.cause.command_id] += 1
            cause = world.commands[record.cause.offset]
            assert isinstance(getattr(cause, "command", None), Command)
        if (ended := end_in(record.event)) is not None:
            assert ended.observed_seq > observed.get(record.run_id, 0), "each turn observes something new"
            observed[record.run_id] = ended.observed_seq
        if isinstance(record.event, TERMINAL):
            closed.add(record.run_id)
    assert all(count == 1 for count in causes.values()), causes
