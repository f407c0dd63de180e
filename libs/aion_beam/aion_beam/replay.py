"""A run's history as the turns that a VM replays. Pure; the executor and `aion replay` call it.

The events of a turn stand together: its commands, the last of which says how it ended, or a `TurnEnded`. The rule of turns:
turn k is given the inputs after what turn k-1 had observed, up to what it observed itself. After the
last recorded turn, newer inputs form the live turn; without any, the run is only brought back to its wait. A turn that
observed nothing new after a soft wait is the run going on by itself, and has no inputs.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeGuard, assert_never, get_args

from aion_beam.frame_codec import PART_BYTES_MAX
from aion_beam.frames import (
    Cancel,
    Deliver,
    History,
    Input,
    PartOfTurn,
    RunInfo,
    Signal,
    Start,
    Turn,
    Wait,
)
from aion_beam.turn_codec import payload_text
from aion_common.limits import NAME_BYTES_MAX
from aion_common.records.events import (
    ActivityCancelled,
    ActivityCompleted,
    ActivityFailed,
    ActivityScheduled,
    ActivityTimedOut,
    Event,
    HistoryRecord,
    RunCancelRequested,
    RunStarted,
    SignalReceived,
    TimerCancelled,
    TimerFired,
    TimerStarted,
    TurnCommand,
    TurnEnded,
)

InputEvent = SignalReceived | ActivityCompleted | TimerFired | ActivityFailed | ActivityTimedOut | RunCancelRequested
"""The kinds of events that a run is given between its turns, beside its start; `is_input` says which of them."""

_INPUT_EVENTS = frozenset(get_args(InputEvent))
_ATTEMPT_FAILED = (ActivityFailed, ActivityTimedOut)

_TURN_BYTES = 64
"""What a turn or an input takes beside its name and payload, at most."""

_COMMAND_BYTES_MAX = _TURN_BYTES + 2 * NAME_BYTES_MAX
"""A recorded command: an activity's type and queue, at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """The argument and the turns of a run, at least one; the last one is live (`end` None) or recorded."""

    argument: bytes
    turns: tuple[Turn, ...]

    @property
    def observed_seq(self) -> int:
        """The newest input that the run will have been given when it has caught up or ended its live turn."""
        return self.turns[-1].observed_seq


def is_input(event: Event) -> TypeGuard[InputEvent]:
    """Whether a run is given the event between its turns. An activity's attempt that will be followed by another is none."""
    if type(event) not in _INPUT_EVENTS:
        return False
    return not isinstance(event, _ATTEMPT_FAILED) or event.retry_at is None


def input_of(event: InputEvent) -> Input:
    """The event as a run gets it."""
    match event:
        case ActivityCompleted() | TimerFired() | ActivityFailed() | ActivityTimedOut():
            return event
        case SignalReceived(name=name, payload=payload):
            return Signal(name=name, payload=payload_text(payload))
        case RunCancelRequested(reason=reason):
            return Cancel(reason=reason)
        case _:
            assert_never(event)


def replay_of(records: Sequence[HistoryRecord]) -> Replay:
    """The replay of an open run; `records` are its history from seq 1, gap-free, in order."""
    assert records, "a run has at least its RunStarted"
    started = records[0].event
    assert isinstance(started, RunStarted), "the first event of a run is RunStarted"
    assert all(record.seq == seq for seq, record in enumerate(records, 1)), "the history has no gaps"
    inputs = [_Given(one.seq, one.recorded_at, input_of(one.event)) for one in records if is_input(one.event)]
    turns: list[Turn] = []
    now_ms = records[0].recorded_at
    given = 0
    for commands, end in _recorded(records):
        upto = given
        while upto < len(inputs) and inputs[upto].seq <= end.observed_seq:
            upto += 1
        fresh, given = inputs[given:upto], upto
        now_ms = fresh[-1].recorded_at if fresh else now_ms
        turns.append(_turn(end.observed_seq, now_ms, fresh, Wait(kind=end.wait, name=end.name), commands))
    if given < len(inputs):
        newest = inputs[-1]
        turns.append(_turn(newest.seq, newest.recorded_at, inputs[given:], None))
    elif not turns:
        turns.append(_turn(1, now_ms, [], None))
    return Replay(argument=payload_text(started.input), turns=tuple(turns))


class _Given(NamedTuple):
    seq: int
    recorded_at: int
    value: Input


def _recorded(records: Sequence[HistoryRecord]) -> Iterator[tuple[tuple[TurnCommand, ...], TurnEnded]]:
    """The recorded turns: what each did and how it ended."""
    commands: list[TurnCommand] = []
    for record in records:
        event = record.event
        if isinstance(event, TurnEnded):
            assert not commands, "the last command of a turn says how the turn ended"
            yield (), event
        elif isinstance(event, TimerStarted | TimerCancelled | ActivityScheduled | ActivityCancelled):
            commands.append(event)
            if event.turn is not None:
                yield tuple(commands), event.turn
                commands = []
    assert not commands, "a turn is in the history as a whole"


def _turn(seq: int, now_ms: int, fresh: Sequence[_Given], end: Wait | None, commands: tuple[TurnCommand, ...] = ()) -> Turn:
    inputs = tuple([one.value for one in fresh])
    return Turn(observed_seq=seq, now_ms=now_ms, inputs=inputs, end=end, commands=commands)


def start_records(
    activation: int,
    entry: tuple[str, str],
    info: RunInfo,
    replay: Replay,
    *,
    part_bytes: int = PART_BYTES_MAX,
) -> Iterator[Start | History]:
    """The start of an activation: one `Start`, and as many `History` as the size of its turns needs."""
    first, *rest = _chunks(replay.turns, part_bytes)
    module, function = entry
    yield Start(
        activation=activation,
        module=module,
        function=function,
        argument=replay.argument,
        info=info,
        turns=first,
        more=bool(rest),
    )
    for index, chunk in enumerate(rest, 1):
        yield History(activation=activation, turns=chunk, more=index < len(rest))


def deliver_records(
    activation: int, observed_seq: int, now_ms: int, inputs: Sequence[Input], *, part_bytes: int = PART_BYTES_MAX
) -> Iterator[Deliver]:
    """The inputs of one turn, in as many records as their size needs."""
    chunks = list(_cut(tuple(inputs), part_bytes))
    for index, chunk in enumerate(chunks, 1):
        yield Deliver(
            activation=activation,
            observed_seq=observed_seq,
            now_ms=now_ms,
            inputs=chunk,
            more=index < len(chunks),
        )


def _chunks(turns: Sequence[Turn], part_bytes: int) -> Iterator[tuple[Turn | PartOfTurn, ...]]:
    if len(turns) == 1 and len(turns[0].inputs) <= 1 and not turns[0].commands:
        # Nearly every start.
        yield tuple(turns)
        return
    chunk: list[Turn | PartOfTurn] = []
    size = 0
    for turn in turns:
        for piece in _pieces(turn, part_bytes):
            piece_bytes = _piece_bytes(piece)
            if chunk and size + piece_bytes > part_bytes:
                yield tuple(chunk)
                chunk, size = [], 0
            chunk.append(piece)
            size += piece_bytes
    yield tuple(chunk)


def _pieces(turn: Turn, part_bytes: int) -> Iterator[Turn | PartOfTurn]:
    *first, last = _cut(turn.inputs, part_bytes)
    if not first:
        yield turn
        return
    for inputs in first:
        yield PartOfTurn(observed_seq=turn.observed_seq, now_ms=turn.now_ms, inputs=inputs)
    yield Turn(observed_seq=turn.observed_seq, now_ms=turn.now_ms, inputs=last, end=turn.end, commands=turn.commands)


def _piece_bytes(piece: Turn | PartOfTurn) -> int:
    size = _TURN_BYTES + sum(_input_bytes(one) for one in piece.inputs)
    return size + len(piece.commands) * _COMMAND_BYTES_MAX if isinstance(piece, Turn) else size


def _cut(inputs: tuple[Input, ...], part_bytes: int) -> Iterator[tuple[Input, ...]]:
    if len(inputs) <= 1:
        yield inputs
        return
    begin = 0
    size = 0
    for index, one in enumerate(inputs):
        one_bytes = _input_bytes(one)
        if index > begin and size + one_bytes > part_bytes:
            yield inputs[begin:index]
            begin, size = index, 0
        size += one_bytes
    yield inputs[begin:]


def _input_bytes(one: Input) -> int:
    # A name or a text of non-ASCII characters has up to four bytes for each.
    match one:
        case Signal(name=name, payload=payload):
            return _TURN_BYTES + 4 * len(name) + len(payload)
        case ActivityCompleted(result=result):
            return _TURN_BYTES + len(payload_text(result))
        case ActivityFailed(failure=failure):
            return _TURN_BYTES + 4 * (len(failure.kind) + len(failure.message)) + len(payload_text(failure.details))
        case TimerFired() | ActivityTimedOut():
            return _TURN_BYTES
        case Cancel(reason=reason):
            return _TURN_BYTES + 4 * len(reason or "")
        case _:
            assert_never(one)
