"""Records between Python and the host inside a VM, and their bytes. Pure; schemas/beam/frames.md is the contract.

A frame is four bytes of length (big endian) and a MessagePack array of records. `encode_frames` keeps every frame within
`limits.FRAME_BYTES_MAX`; `FrameReader` refuses a larger one before it is read. The Erlang twin is aion_frames.erl; golden
frames in schemas/golden/frames hold both to the same bytes. The one module that touches msgpack.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import assert_never

import msgpack

from aion_common import limits
from aion_common.errors import BadRecord
from aion_common.records.events import WaitKind

PROTOCOL = 1

PART_BYTES_MAX = limits.FRAME_BYTES_MAX // 4
"""Modules are cut into parts of this size, and turns travel in records of about this size: four fit into a frame."""

_LENGTH_BYTES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """An input: `{aion_signal, Name, Payload}` in the run's mailbox; `payload` is JSON text, `null` when there is none."""

    name: str
    payload: bytes


Input = Signal


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """How a recorded turn ended. `name`: of the signal, when the SDK waited for one."""

    kind: WaitKind
    name: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One turn of a run: `inputs` are those first given at it, up to the event `observed_seq`.

    `now_ms`: recorded_at of the newest event given. `end` None: not recorded yet, live.
    """

    observed_seq: int
    now_ms: int
    inputs: tuple[Input, ...]
    end: Wait | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInfo:
    """What `aion_flow:info/0` tells a run about itself."""

    namespace: str
    workflow_id: str
    run_id: str
    workflow_type: str
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Load modules `(name, part of the beam)`, answered by `Answer`. `more`: a further one of this request follows."""

    request: int
    modules: tuple[tuple[str, bytes], ...]
    more: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """Inspect modules for a deploy; otherwise as `Load`. The answer's value: [OTP release, wakes itself, warnings]."""

    request: int
    modules: tuple[tuple[str, bytes], ...]
    more: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Start a run and replay its recorded turns. `more`: a `History` with further ones follows, replay begins after it."""

    activation: int
    module: str
    function: str
    argument: bytes
    info: RunInfo
    turns: tuple["Turn | PartOfTurn", ...]
    more: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """Further turns of a `Start`."""

    activation: int
    turns: tuple["Turn | PartOfTurn", ...]
    more: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PartOfTurn:
    """The first inputs of a turn too large for one record; the next turn in order brings the rest."""

    observed_seq: int
    now_ms: int
    inputs: tuple[Input, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Deliver:
    """The inputs of the next turn. `more`: a further record brings the rest of them."""

    activation: int
    observed_seq: int
    now_ms: int
    inputs: tuple[Input, ...]
    more: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """End the run's process; nothing more is sent for the activation."""

    activation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ping:
    """Answered by `Pong`, also while every run is busy."""

    request: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """The VM has booted."""

    protocol: int
    otp_release: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The answer to a request; `value` is a sentence when not `ok`."""

    request: int
    ok: bool
    value: object


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A turn ended: the run waits, having been given the events up to `observed_seq`."""

    activation: int
    observed_seq: int
    kind: WaitKind
    name: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    """The run ended with a result, JSON text. Nothing more is sent for the activation."""

    activation: int
    observed_seq: int
    json: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The run failed; `kind` as in `aion_common.records.events.Failure`, `details` JSON text. Nothing more is sent."""

    activation: int
    observed_seq: int
    kind: str
    message: str
    details: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Diverged:
    """The code did not do what the history says, both as sentences. The process is gone, nothing more is sent."""

    activation: int
    expected: str
    found: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CaughtUp:
    """Every recorded turn was replayed; the run is back in its recorded wait."""

    activation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pong:
    """The answer to `Ping`."""

    request: int


ToVm = Load | Check | Start | History | Deliver | Kill | Ping
Outcome = Waiting | Completed | Failed | Diverged | CaughtUp
FromVm = Ready | Answer | Outcome | Pong


def parts_of(modules: Iterable[tuple[str, bytes]]) -> Iterator[tuple[str, bytes]]:
    """The modules in parts of at most `PART_BYTES_MAX`; parts of one module follow one another."""
    for name, beam in modules:
        for begin in range(0, max(len(beam), 1), PART_BYTES_MAX):
            yield name, beam[begin : begin + PART_BYTES_MAX]


def encode_record(record: ToVm) -> bytes:
    """One record, not yet in a frame."""
    packed: bytes = msgpack.packb(_row(record))
    return packed


def encode_frames(records: Sequence[bytes]) -> bytes:
    """The encoded records in order, in as few frames as the limit allows. A single record must fit into one."""
    out = bytearray()
    begin = 0
    size = 0
    for index, record in enumerate(records):
        assert len(record) + 5 <= limits.FRAME_BYTES_MAX, "a record is larger than a frame; it should have been cut"
        if size and size + len(record) + 5 > limits.FRAME_BYTES_MAX:
            _append_frame(out, records[begin:index])
            begin, size = index, 0
        size += len(record)
    if begin < len(records):
        _append_frame(out, records[begin:])
    return bytes(out)


def _append_frame(out: bytearray, records: Sequence[bytes]) -> None:
    body = msgpack.Packer().pack_array_header(len(records)) + b"".join(records)
    out += len(body).to_bytes(_LENGTH_BYTES, "big")
    out += body


def _row(record: ToVm) -> list[object]:  # noqa: PLR0911 - one line for each kind of record
    match record:
        case Load(request=request, modules=modules, more=more):
            return [1, request, modules, more]
        case Check(request=request, modules=modules, more=more):
            return [2, request, modules, more]
        case Start():
            info = record.info
            named = {
                "namespace": info.namespace,
                "workflow_id": info.workflow_id,
                "run_id": info.run_id,
                "workflow_type": info.workflow_type,
                "version": info.version,
            }
            turns = [_turn_row(turn) for turn in record.turns]
            return [
                3,
                record.activation,
                record.module,
                record.function,
                record.argument,
                named,
                turns,
                record.more,
            ]
        case History(activation=activation, turns=turns_given, more=more):
            return [4, activation, [_turn_row(turn) for turn in turns_given], more]
        case Deliver():
            inputs = _input_rows(record.inputs)
            return [5, record.activation, record.observed_seq, record.now_ms, inputs, record.more]
        case Kill(activation=activation):
            return [6, activation]
        case Ping(request=request):
            return [7, request]
        case _:
            assert_never(record)


def _turn_row(turn: Turn | PartOfTurn) -> list[object]:
    end: list[object] | None
    if isinstance(turn, PartOfTurn):
        end = ["more"]
    else:
        end = None if turn.end is None else ["wait", turn.end.kind.value, turn.end.name]
    return [turn.observed_seq, turn.now_ms, _input_rows(turn.inputs), end]


def _input_rows(inputs: Iterable[Input]) -> list[list[object]]:
    return [["signal", signal.name, signal.payload] for signal in inputs]


class FrameReader:
    """Cuts a stream of bytes into frames, whatever the pieces it comes in."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[FromVm]:
        """The records that are complete now, in order. Raises BadRecord; the stream is of no use after it."""
        self._buffer += data
        records: list[FromVm] = []
        begin = 0
        while len(self._buffer) - begin >= _LENGTH_BYTES:
            body = begin + _LENGTH_BYTES
            length = int.from_bytes(self._buffer[begin:body], "big")
            if length > limits.FRAME_BYTES_MAX:
                raise BadRecord(f"a frame of {length} bytes, over the limit of {limits.FRAME_BYTES_MAX}")
            if len(self._buffer) - body < length:
                break
            records += decode_frame(bytes(self._buffer[body : body + length]))
            begin = body + length
        del self._buffer[:begin]
        return records


def decode_frame(body: bytes) -> list[FromVm]:
    """The records of one frame, without its length. Raises BadRecord."""
    try:
        return [_record(row) for row in msgpack.unpackb(body)]
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise BadRecord(f"a frame of the VM cannot be read: {error}") from error


def _record(row: list[object]) -> FromVm:  # noqa: PLR0911 - one line for each kind of record
    match row:
        case [66, int(activation), int(seq), str(kind), (str() | None) as name]:
            return Waiting(activation=activation, observed_seq=seq, kind=WaitKind(kind), name=name)
        case [67, int(activation), int(seq), bytes(json)]:
            return Completed(activation=activation, observed_seq=seq, json=json)
        case [68, int(activation), int(seq), str(kind), str(text), (bytes() | None) as details]:
            return Failed(activation=activation, observed_seq=seq, kind=kind, message=text, details=details)
        case [69, int(activation), str(expected), str(found)]:
            return Diverged(activation=activation, expected=expected, found=found)
        case [70, int(activation)]:
            return CaughtUp(activation=activation)
        case [71, int(request)]:
            return Pong(request=request)
        case [64, int(protocol), str(release)]:
            return Ready(protocol=protocol, otp_release=release)
        case [65, int(request), ("ok" | "error") as verdict, value]:
            return Answer(request=request, ok=verdict == "ok", value=value)
        case _:
            raise ValueError(f"no record has the form {str(row)[:200]}")
