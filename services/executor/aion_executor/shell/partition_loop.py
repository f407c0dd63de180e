"""The loop of one partition, as a value that is stepped: nothing in it awaits, sleeps or reads a clock.

Whoever drives it (the shell, a test, a simulation) does, over and over: hand in what came (`offer`, `outcome`, `gone`),
`gather`, and when `is_due`, `seal` a batch, append it, and tell the loop (`acknowledged`). While a batch is on its way
the next one is gathered. An append that was refused or whose outcome is unclear ends the loop: `abandon` it.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import assert_never

from aion_common.ids import Namespace, RunId
from aion_common.limits import (
    INPUTS_PER_BATCH_MAX,
    RESIDENT_IDLE_MS,
    SENT_THROUGH_LAG_MS,
    TURN_WAIT_MS,
)
from aion_executor.changes import Lookup
from aion_executor.core.effects import Effect, Evict, Unload, Wake, Warm, effect_of
from aion_executor.core.facts import facts_at
from aion_executor.core.indexes import OWED, run_id_in, soft_prefix
from aion_executor.core.inputs import CommandInput, DueInput, Input, MarkerInput, ResultInput, TurnInput, UnreadableInput
from aion_executor.core.partition import Partition, version_key
from aion_executor.core.run import Run, waits_softly
from aion_executor.processor import (
    OpenBatch,
    SealedBatch,
    is_empty,
    is_full,
    next_released,
    open_batch,
    seal_batch,
    step,
)
from aion_executor.shell.deadlines import Deadlines
from aion_executor.shell.residents import Activation, Residents, TurnEnd
from aion_executor.shell.waking import Waking, WhenResident
from aion_executor.store.rows import Meta, OwedSend, Store, checksum_of

FromLog = CommandInput | MarkerInput | ResultInput | UnreadableInput


@dataclass(frozen=True, slots=True, kw_only=True)
class Owed:
    """What is to be sent, and the watermark once all of it is acknowledged."""

    sends: tuple[OwedSend, ...]
    through: int


@dataclass(slots=True)
class PartitionLoop:
    """`number`: the partition's. `next_offset`: where the next batch must land in the history, else somebody else wrote there.
    `dues_from`, `results_from`: time does nothing to runs before the commands and results up to these offsets are decided;
    None: not known yet. `queues`: the task queues that exist."""

    number: int
    store: Store
    partition: Partition
    residents: Residents
    next_offset: int
    on_written: Callable[[SealedBatch], None]
    sent_through: int = -1
    dues_from: int | None = 0
    _watermark_owed_ms: int | None = None
    _heard_until_ms: int = 0
    """All reports read by then are decided, or were when dues up to then began to be."""
    results_from: int | None = 0
    queues: Collection[str] = ()
    _commands: deque[FromLog] = field(default_factory=deque)
    _results: deque[FromLog] = field(default_factory=deque)
    _turns: deque[TurnInput] = field(default_factory=deque)
    _undecided: dict[RunId, int] = field(default_factory=dict)
    """How many of the turns each run has among them."""
    _left_by_death: dict[RunId, None] = field(default_factory=dict)
    """In order; not woken before the turns that their VM had ended are decided."""
    _turns_proposed: int = 0
    _turns_decided: int = 0
    _turns_sealed: int = 0
    turns_written: int = 0
    """How many of the turns ever proposed are in the log."""
    _open: OpenBatch | None = None
    _opened_ms: int = 0
    _in_flight: SealedBatch | None = None
    _awaited: set[Activation | None] = field(default_factory=set)
    _deadlines: Deadlines = field(init=False)
    waking: Waking = field(init=False)

    def __post_init__(self) -> None:
        self._deadlines = Deadlines(self.store)
        self.waking = Waking(self.residents, self._may_wake_itself)

    def offer(self, inputs: Iterable[FromLog]) -> None:
        """What stands in `aion.commands`, in order. What was decided already is passed over."""
        self._commands.extend(inputs)

    def backlog_offered(self) -> None:
        """All commands that stood in the log at the take-over have been offered: once they are decided time goes on."""
        self.dues_from = self._commands[-1].offset + 1 if self._commands else 0

    def offer_results(self, inputs: Iterable[FromLog]) -> None:
        """As `offer`, of `aion.results`."""
        self._results.extend(inputs)

    def results_backlog_offered(self) -> None:
        """As `backlog_offered`, of `aion.results`."""
        self.results_from = self._results[-1].offset + 1 if self._results else 0

    @property
    def results_waiting(self) -> int:
        """As `commands_waiting`, of `aion.results`."""
        return len(self._results)

    @property
    def commands_waiting(self) -> int:
        """How many offered inputs are not decided yet."""
        return len(self._commands)

    @property
    def decided(self) -> Partition:
        """The partition as decided so far, acknowledged or not."""
        return self.partition if self._open is None else self._open.partition

    def outcome(self, activation: Activation, ended: TurnEnd | None, now_ms: int) -> None:
        """A turn ended in a VM; None: a replay has caught up. Void activations are passed over."""
        self._awaited.discard(activation)
        proposed = self.residents.turn_ended(activation, ended, now_ms)
        if proposed is None:
            return
        run_id, turn = proposed
        if turn is not None:
            self._propose(turn)
        elif (run := self._state.run(run_id)) is not None:
            self._carry_out(effect_of(run), now_ms)
            self._settle(run_id)

    def gone(self, activations: Sequence[Activation], now_ms: int) -> None:
        """A VM died with these activations: runs that are owed a turn, or may wake themselves, are replayed."""
        self._awaited.difference_update(activations)
        left, blocked = self.residents.gone(activations, self._run_may_wake_itself, now_ms)
        for turn in blocked:
            self._propose(turn)
        self._left_by_death.update(dict.fromkeys(left))

    def _come_back(self) -> None:
        """Runs that left with a VM may be woken once the turns they ended before have been decided: else a replay would end
        the same turn again."""
        self.waking.perhaps(self._left_by_death)
        self._left_by_death.clear()

    def wake_owed(self) -> None:
        """After a take-over: the runs that are owed a turn, and those that may go on by themselves, are to be woken."""
        owed = list(self.store.entries(OWED))
        for key, loaded in self.partition.versions.items():
            if loaded.package.wakes_itself:
                namespace = Namespace(key.partition("/")[0])
                owed.extend(self.store.entries(soft_prefix(namespace, loaded.version)))
        self.waking.perhaps(run_id_in(entry) for entry in owed)

    def gather(self, now_ms: int, inputs_max: int = INPUTS_PER_BATCH_MAX) -> bool:
        """Decide what there is into the open batch, as far as it takes more, and hand input to VMs at once. Returns whether it
        ended because of `inputs_max`."""
        if self._open is not None and is_empty(self._open):
            self._open = None
        for _ in range(inputs_max):
            if self._left_by_death and not self._turns:
                self._come_back()
            if not (self._turns or self._results or self._commands or self._is_released or self._is_due(now_ms)):
                return False
            batch = self._open or self._begin(now_ms)
            if is_full(batch):
                return False
            given = self._next_input(batch)
            if given is not None:
                for effect in step(batch, given):
                    self._carry_out(effect, now_ms)
            elif not (self._turns or self._results or self._commands):
                return False
            if isinstance(given, TurnInput):
                self._settle(given.run_id)
        return True

    def bring_in(self, now_ms: int) -> bool:
        """See `Waking.bring_in`."""
        return self.waking.bring_in(self._state, now_ms)

    def when_resident(self, run: Run, tell: WhenResident) -> None:
        """See `Waking.when_resident`."""
        self.waking.when_resident(run, tell)

    def is_due(self, now_ms: int) -> bool:
        """Whether the open batch should be sealed now: no append is on its way, and every run it woke has ended its turn,
        or the batch is full, or the turn wait is over. Also an empty one, when the log lacks the watermark of sends."""
        if self._in_flight is not None:
            return False
        if self._open is None or is_empty(self._open):
            return self._owes_watermark(now_ms)
        return not self._awaited or not self.may_wait(now_ms)

    def may_wait(self, now_ms: int) -> bool:
        """Whether the open batch, if it is due, may still wait for those of other partitions."""
        return self._open is not None and not is_full(self._open) and now_ms - self._opened_ms < TURN_WAIT_MS

    @property
    def is_appending(self) -> bool:
        """Whether a sealed batch is on its way."""
        return self._in_flight is not None

    @property
    def waits_for_turns(self) -> bool:
        """Whether only the turn wait holds the open batch."""
        return self._open is not None and self._in_flight is None and bool(self._awaited)

    def seal(self, now_ms: int) -> SealedBatch:
        """Close the open batch for appending."""
        assert self._in_flight is None, "one append at a time"
        self._in_flight = seal_batch(self._open or self._begin(now_ms), self.sent_through)
        self._turns_sealed = self._turns_decided
        self._open = None
        self._awaited.clear()
        self._watermark_owed_ms = None
        self.partition = self._in_flight.partition
        return self._in_flight

    def acknowledged(self, base_offset: int) -> Owed:
        """The batch in flight is in the log: write the store, and say what may leave now."""
        batch = self._in_flight
        assert batch is not None, "an append was on its way"
        assert base_offset == self.next_offset, "the history has one writer"
        last_offset = base_offset + len(batch.records) - 1
        meta = Meta(offset=last_offset, checksum=checksum_of(batch.records[-1][1]), partition=batch.partition)
        sends = batch.changes.sends()
        self.store.write(batch.changes.writes(meta, {last_offset: sends} if sends else {}))
        self._deadlines.written(batch.changes.changed_runs)
        self.turns_written = self._turns_sealed
        self.next_offset = last_offset + 1
        self._in_flight = None
        if self._open is not None:
            self._open.changes.below = self.store
        self.on_written(batch)
        return Owed(sends=sends, through=last_offset)

    def evict_idle(self, now_ms: int) -> None:
        """Take runs out of VMs that have waited for long; their next input replays them. Runs that may go on by themselves
        stay. Suspects that have been alone for long enough go back to the others."""
        for run_id in self.residents.idle_since(now_ms - RESIDENT_IDLE_MS):
            self.residents.evict(run_id)
        for run_id in self.residents.cleared(now_ms):
            self.residents.evict(run_id)
            self.waking.perhaps([run_id])

    @property
    def turns_proposed(self) -> int:
        """How many turns VMs have ended ever. What a VM says now may show the effect of all of them."""
        return self._turns_proposed

    def next_due_ms(self) -> int | None:
        """When there is something to do at the latest, if nothing comes; None: never."""
        dues = [] if self._is_behind else [self._deadlines.next_ms()]
        if self._watermark_owed_ms is not None:
            dues.append(self._watermark_owed_ms + SENT_THROUGH_LAG_MS)
        return min(dues, default=None)

    @property
    def _is_behind(self) -> bool:
        if self.dues_from is None or self.results_from is None:
            return True
        return self.decided.commands_next < self.dues_from or self.decided.results_next < self.results_from

    def _is_due(self, now_ms: int) -> bool:
        if self._deadlines.next_ms() > now_ms or self._is_behind:
            return False
        self._deadlines.look_ahead(now_ms)
        return self._deadlines.next_ms() <= now_ms

    @property
    def _is_released(self) -> bool:
        return next_released(self.decided) is not None

    def _propose(self, turn: TurnInput) -> None:
        self._turns_proposed += 1
        self._turns.append(turn)
        self._undecided[turn.run_id] = self._undecided.get(turn.run_id, 0) + 1

    def _settle(self, run_id: RunId) -> None:
        """A turn of the run was decided, or its replay has caught up: if it waits now it may leave its VM."""
        if run_id not in self._undecided and not self._run_may_wake_itself(run_id):
            self.residents.settle(run_id)

    def _run_may_wake_itself(self, run_id: RunId) -> bool:
        run = self._state.run(run_id)
        return run is not None and self._may_wake_itself(run)

    def _may_wake_itself(self, run: Run) -> bool:
        if not waits_softly(run):
            return False
        loaded = self.decided.versions.get(version_key(run.namespace, run.version))
        return loaded is not None and loaded.package.wakes_itself

    def abandon(self) -> None:
        """The partition is not ours any more: end the processes of its runs, whose turns nobody will record."""
        self.residents.evict_all()
        self.waking.give_up()

    def sent(self, owed: Owed, now_ms: int) -> None:
        """What was owed is acknowledged. In order of batches."""
        self.sent_through = owed.through
        if owed.sends and self._watermark_owed_ms is None:
            self._watermark_owed_ms = now_ms

    def _owes_watermark(self, now_ms: int) -> bool:
        return self._watermark_owed_ms is not None and now_ms - self._watermark_owed_ms >= SENT_THROUGH_LAG_MS

    @property
    def _state(self) -> Lookup:
        """State as decided so far, acknowledged or not."""
        if self._open is not None:
            return self._open.changes
        return self.store if self._in_flight is None else self._in_flight.changes

    def _begin(self, now_ms: int) -> OpenBatch:
        facts = facts_at(max(now_ms, self.partition.recorded_at), self.number, self.queues)
        self._opened_ms = now_ms
        self._open = open_batch(self._state, self.partition, facts, self.residents.is_resident)
        return self._open

    def _next_input(self, batch: OpenBatch) -> Input | None:
        if self._turns:
            turn = self._turns.popleft()
            if others := self._undecided.pop(turn.run_id) - 1:
                self._undecided[turn.run_id] = others
            self._turns_decided += 1
            return turn
        if (released := next_released(batch.partition)) is not None:
            return released
        if (run_id := self._take_due(batch.facts.now_ms)) is not None:
            return DueInput(run_id=run_id)
        if self._results:
            # Before commands: what was begun ends first.
            result = self._results.popleft()
            return result if result.offset >= batch.partition.results_next else None
        if not self._commands:
            return None
        given = self._commands.popleft()
        return given if given.offset >= batch.partition.commands_next else None

    def _take_due(self, now_ms: int) -> RunId | None:
        """The next run whose time is over. Reports that have been read come first, they may be what it waits for; those that
        come while it waits for these do not hold it up."""
        if not self._is_due(now_ms):
            return None
        if not self._results:
            self._heard_until_ms = now_ms
        elif self._heard_until_ms < self._deadlines.next_ms():
            self._heard_until_ms, self.results_from = now_ms, self._results[-1].offset + 1
            return None
        return self._deadlines.take_due(self._heard_until_ms)

    def _carry_out(self, effect: Effect | None, now_ms: int) -> None:
        match effect:
            case Wake(run=run):
                if run.run_id not in self._left_by_death:
                    self._wake(run, now_ms)
            case Evict(run=run):
                self._awaited.discard(self.residents.evict(run.run_id))
            case Warm(namespace=namespace, version=version):
                self.residents.vms.warm(namespace, version)
            case Unload(namespace=namespace, version=version):
                self.residents.vms.unload(namespace, version)
            case None:
                pass
            case _:
                assert_never(effect)

    def _wake(self, run: Run, now_ms: int) -> None:
        if self.residents.is_resident(run.run_id):
            activation = self.residents.wake(run, self._state, now_ms)
        else:
            activation = self.waking.bring_in_now(run, self._state, now_ms)
        if activation is not None and self._open is not None:
            self._awaited.add(activation)
