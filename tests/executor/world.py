"""One partition with all its parts but Kafka: the real loop, core, fold and store, over a list for a log.

`run` steps until nothing is left to do. `crash` drops everything that is not in the log (or keeps the store), and a new
owner restores: so every test can put a crash where it wants one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from aion_common.ids import Namespace, RunId, WorkflowId
from aion_common.kafka.api import LogRecord
from aion_common.records.commands import CatalogMarker, Command
from aion_common.records.events import HistoryRecord, OwnerEpoch
from aion_common.records.replies import Answer, Reply
from aion_common.records.tasks import CancelTasks, ReportBody, Task, TaskReport
from aion_common.wire import decode
from aion_executor.core.inputs import ResultInput, UnreadableInput
from aion_executor.core.run import Run
from aion_executor.partition_records import PARTITION_KEY, partition_value
from aion_executor.restore import Restore, begin_restore
from aion_executor.shell.partition_loop import FromLog, Owed, PartitionLoop
from aion_executor.shell.residents import Residents
from aion_executor.store.api import Tables
from aion_executor.store.memory import MemoryTables
from aion_executor.store.rows import OwedSend, Store
from executor.given import DEFAULT, command_at, marker_at
from executor.vm_twin import CODE, VmTwin

Wish = Command | CatalogMarker | None
"""What a test puts into `aion.commands`; None is a record that is none of ours."""


@dataclass(slots=True)
class World:
    """`history`, `commands` and `results` are topics; `replies`, dead `letters`, `tasks` and `cancels` are what left, repeats
    included."""

    tables: Tables = field(default_factory=MemoryTables)
    history: list[bytes] = field(default_factory=list)
    commands: list[FromLog] = field(default_factory=list)
    replies: list[tuple[str, Answer]] = field(default_factory=list)
    letters: list[OwedSend] = field(default_factory=list)
    tasks: list[Task] = field(default_factory=list)
    cancels: list[CancelTasks] = field(default_factory=list)
    results: list[ResultInput] = field(default_factory=list)
    queues: set[str] = field(default_factory=lambda: {"default"})
    now_ms: int = 1_000
    vms: VmTwin = field(default_factory=lambda: VmTwin(CODE))
    loop: PartitionLoop = field(init=False)
    owed: list[Owed] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.own()

    def own(self) -> None:
        """A new owner takes the partition over."""
        restored = self.restore(Store(self.tables))
        event = OwnerEpoch(producer_id=7, producer_epoch=0, member="m", clock_ms=self.now_ms)
        self.history.append(partition_value(event, max(self.now_ms, restored.partition.recorded_at), -1))
        restored.fold(self._read_from(restored.next_offset))
        self.vms = VmTwin(CODE)
        self.loop = PartitionLoop(
            number=0,
            store=restored.store,
            partition=restored.partition,
            residents=Residents(self.vms),
            next_offset=restored.next_offset,
            on_written=lambda _: None,
            sent_through=restored.partition.sent_through,
            queues=self.queues,
        )
        self.owed = [Owed(sends=sends, through=offset) for offset, sends in restored.store.outbox()]
        self.loop.wake_owed()
        self.loop.offer(self.commands[restored.partition.commands_next :])
        self.loop.offer_results(self.results[restored.partition.results_next :])

    def restore(self, store: Store) -> Restore:
        """A store brought up to the end of the history."""
        restored = begin_restore(store, 0)
        assert restored is not None
        restored.fold(self._read_from(restored.next_offset))
        return restored

    def _read_from(self, offset: int) -> list[LogRecord]:
        return [
            LogRecord(offset=number, timestamp_ms=0, key=PARTITION_KEY, value=value)
            for number, value in enumerate(self.history)
            if number >= offset
        ]

    def crash(self, *, keep_store: bool) -> None:
        """The executor dies; another one takes over, with the store or without."""
        if not keep_store:
            self.tables = MemoryTables()
        self.own()

    def send(self, *wishes: Wish) -> None:
        """Put records into the commands topic, where the owner reads them."""
        inputs = [self._at(len(self.commands) + number, wish) for number, wish in enumerate(wishes)]
        self.commands.extend(inputs)
        self.loop.offer(inputs)

    @staticmethod
    def _at(offset: int, wish: Wish) -> FromLog:
        match wish:
            case Command():
                return command_at(offset, wish)
            case CatalogMarker():
                return marker_at(offset, wish)
            case None:
                return garbage_at(offset)

    def pump(self) -> None:
        """Hand what VMs have reported to the loop."""
        while self.vms.ready:
            activation, outcome = self.vms.ready.popleft()
            self.loop.outcome(activation, outcome, self.now_ms)

    def append(self) -> None:
        """Seal what is open and let the log take it."""
        batch = self.loop.seal(self.now_ms)
        base = len(self.history)
        self.history.extend(value for _, value in batch.records)
        self.owed.append(self.loop.acknowledged(base))

    def flush(self) -> None:
        """Let owed replies leave."""
        for owed in self.owed:
            for send in owed.sends:
                self._sent(send)
            self.loop.sent(owed, self.now_ms)
        self.owed.clear()

    def _sent(self, send: OwedSend) -> None:
        message = None if send.topic == "deadletter" else decode(send.value)
        match message:
            case Reply(command_id=command_id, answer=answer):
                self.replies.append((command_id, answer))
            case Task():
                self.tasks.append(message)
            case CancelTasks():
                self.cancels.append(message)
            case _:
                self.letters.append(send)

    def report(self, task: Task, body: ReportBody) -> None:
        """A worker tells something about a task."""
        report = TaskReport(
            namespace=task.namespace,
            workflow_id=task.workflow_id,
            run_id=task.run_id,
            activity=task.activity,
            attempt=task.attempt,
            worker="w",
            body=body,
        )
        given = ResultInput(offset=len(self.results), report=report)
        self.results.append(given)
        self.loop.offer_results([given])

    def run(self) -> None:
        """Step until nothing is left to do but the watermark, which needs time to pass."""
        while True:
            self.loop.gather(self.now_ms)
            while self.loop.bring_in(self.now_ms) or self.vms.ready:
                self.pump()
                self.loop.gather(self.now_ms)
            if not self.loop.is_due(self.now_ms):
                self.flush()
                return
            self.append()

    def after(self, *wishes: Wish) -> "World":
        """Send, run, and return the world."""
        self.send(*wishes)
        self.run()
        return self

    def answers(self, command_id: str) -> list[Answer]:
        """All answers a command got, repeats included."""
        return [answer for answered, answer in self.replies if answered == command_id]

    def answer(self, command_id: str) -> Answer:
        """The one answer a command got, however often it came."""
        answers = self.answers(command_id)
        assert answers, f"{command_id} was not answered; {self.told()}"
        assert all(answer == answers[0] for answer in answers), answers
        return answers[0]

    def newest(self, workflow_id: WorkflowId, namespace: Namespace = DEFAULT) -> Run:
        """The newest run of the workflow id, as the store has it."""
        run_id = self.loop.store.newest_run_id(namespace, workflow_id)
        assert run_id is not None, self.told()
        run = self.loop.store.run(run_id)
        assert run is not None
        return run

    def records(self) -> Sequence[HistoryRecord]:
        """The whole history, decoded."""
        return [decode(value) for value in self.history]

    def events(self, run_id: RunId) -> list[str]:
        """The names of a run's events, in order."""
        return [type(record.event).__name__ for record in self.records() if record.run_id == run_id]

    def told(self) -> str:
        """The history, one record a line: offset, seq, event."""
        lines = [f"{offset:4} {record.seq:3} {record.event}" for offset, record in enumerate(self.records())]
        return "\n".join(["offset seq event", *lines[-30:]])


def garbage_at(offset: int) -> UnreadableInput:
    """A record of `aion.commands` that is none."""
    return UnreadableInput(topic="commands", offset=offset, reason="garbage", key=b"k", value=b"garbage", value_bytes=7)
