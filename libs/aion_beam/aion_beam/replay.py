"""A run's history as the turns that a VM replays. Pure; the executor and `aion replay` call it.

The rule of turns: turn k is given the inputs after what turn k-1 had observed, up to what it observed itself. After the
last recorded turn, newer inputs form the live turn; without any, the run is only brought back to its wait. A turn that
observed nothing new after a soft wait is the run going on by itself, and has no inputs.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, assert_never

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
from aion_common.records.common import Payload
from aion_common.records.events import HistoryRecord, RunCancelRequested, RunStarted, SignalReceived, TurnEnded

InputEvent = SignalReceived | RunCancelRequested
"""The events that a run is given between its turns, beside its start."""

_NO_PAYLOAD = b"null"

_TURN_BYTES = 64
"""What a turn or an input takes beside its name and payload, at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """The argument and the turns of a run, at least one; the last one is live (`end` None) or recorded."""

    argument: bytes
    turns: tuple[Turn, ...]

    @property
    def observed_seq(self) -> int:
        """The newest input that the run will have been given when it has caught up or ended its live turn."""
        return self.turns[-1].observed_seq


def input_of(event: InputEvent) -> Input:
    """The event as a run gets it."""
    match event:
        case SignalReceived(name=name, payload=payload):
            return Signal(name=name, payload=payload_text(payload))
        case RunCancelRequested(reason=reason):
            return Cancel(reason=reason)
        case _:
            assert_never(event)


def payload_text(payload: Payload | None) -> bytes:
    """The bytes that workflow code sees: the payload's, whatever their content type; `null` when there is none."""
    return _NO_PAYLOAD if payload is None else payload.data


def replay_of(records: Sequence[HistoryRecord]) -> Replay:
    """The replay of an open run; `records` are its history from seq 1, gap-free, in order."""
    assert records, "a run has at least its RunStarted"
    started = records[0].event
    assert isinstance(started, RunStarted), "the first event of a run is RunStarted"
    assert all(record.seq == seq for seq, record in enumerate(records, 1)), "the history has no gaps"
    inputs = [_Given(record.seq, record.recorded_at, input_of(event)) for record, event in _inputs(records)]
    turns: list[Turn] = []
    now_ms = records[0].recorded_at
    given = 0
    for end in (record.event for record in records if isinstance(record.event, TurnEnded)):
        upto = given
        while upto < len(inputs) and inputs[upto].seq <= end.observed_seq:
            upto += 1
        fresh, given = inputs[given:upto], upto
        now_ms = fresh[-1].recorded_at if fresh else now_ms
        turns.append(_turn(end.observed_seq, now_ms, fresh, Wait(kind=end.wait, name=end.name)))
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


def _inputs(records: Sequence[HistoryRecord]) -> Iterator[tuple[HistoryRecord, InputEvent]]:
    for record in records:
        if isinstance(record.event, InputEvent):
            yield record, record.event


def _turn(seq: int, now_ms: int, fresh: Sequence[_Given], end: Wait | None) -> Turn:
    return Turn(observed_seq=seq, now_ms=now_ms, inputs=tuple(one.value for one in fresh), end=end)


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
    if len(turns) == 1 and len(turns[0].inputs) <= 1:
        # Nearly every start.
        yield tuple(turns)
        return
    chunk: list[Turn | PartOfTurn] = []
    size = 0
    for turn in turns:
        for piece in _pieces(turn, part_bytes):
            piece_bytes = _TURN_BYTES + sum(_input_bytes(i) for i in piece.inputs)
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
    yield Turn(observed_seq=turn.observed_seq, now_ms=turn.now_ms, inputs=last, end=turn.end)


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
    # A name or reason of non-ASCII characters has up to four bytes for each.
    match one:
        case Signal(name=name, payload=payload):
            return _TURN_BYTES + 4 * len(name) + len(payload)
        case Cancel(reason=reason):
            return _TURN_BYTES + 4 * len(reason or "")
        case _:
            assert_never(one)
