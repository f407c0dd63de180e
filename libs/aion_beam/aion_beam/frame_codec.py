"""The bytes of the records between Python and the host inside a VM. Pure; schemas/beam/frames.md is the contract.

A frame is four bytes of length (big endian) and a MessagePack array of records. `encode_frames` keeps every frame within
`limits.FRAME_BYTES_MAX`; `FrameReader` refuses a larger one before it is read. The Erlang twin is aion_frames.erl; golden
frames in schemas/golden/frames hold both to the same bytes. The one module that touches msgpack.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import NoneType
from typing import Any, assert_never

import msgpack

from aion_beam.frames import (
    Answer,
    Cancelled,
    CaughtUp,
    Check,
    Completed,
    Deliver,
    Diverged,
    Failed,
    FromVm,
    History,
    Kill,
    Load,
    Ping,
    Pong,
    Queried,
    Query,
    QueryFailed,
    Ready,
    Start,
    ToVm,
    Waiting,
)
from aion_beam.turn_codec import input_row, requests_of, turn_row
from aion_common import limits
from aion_common.errors import BadRecord
from aion_common.records.events import WaitKind

PROTOCOL = 3

PART_BYTES_MAX = limits.FRAME_BYTES_MAX // 4
"""Modules are cut into parts of this size, and turns travel in records of about this size: four fit into a frame."""

_LENGTH_BYTES = 4

_WAITS: Mapping[str, WaitKind] = {kind.value: kind for kind in WaitKind}


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


def _row(record: ToVm) -> list[object]:
    match record:
        case Deliver():
            inputs = [input_row(one) for one in record.inputs]
            return [5, record.activation, record.observed_seq, record.now_ms, inputs, record.more]
        case Start():
            info = record.info
            named = {
                "namespace": info.namespace,
                "workflow_id": info.workflow_id,
                "run_id": info.run_id,
                "workflow_type": info.workflow_type,
                "version": info.version,
            }
            turns = [turn_row(turn) for turn in record.turns]
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
            return [4, activation, [turn_row(turn) for turn in turns_given], more]
        case Load(request=request, modules=modules, more=more):
            return [1, request, modules, more]
        case Check(request=request, modules=modules, more=more):
            return [2, request, modules, more]
        case Kill(activation=activation):
            return [6, activation]
        case Ping(request=request):
            return [7, request]
        case Query():
            return [8, record.activation, record.query, record.name, record.arguments]
        case _:
            assert_never(record)


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
    except (ValueError, TypeError, KeyError, msgpack.UnpackException) as error:
        raise BadRecord(f"a frame of the VM cannot be read: {error}") from error


_FORMS: Mapping[object, tuple[type | tuple[type, ...], ...]] = {
    64: (int, str),
    65: (int, str, object),
    66: (int, int, str, (str, NoneType), list),
    67: (int, int, bytes),
    68: (int, int, str, str, (bytes, NoneType)),
    69: (int, str, str),
    70: (int,),
    71: (int,),
    72: (int, int, (str, NoneType)),
    73: (int, int, str, (bytes, str)),
}
"""What stands behind the first element of each record of a VM. Told at once: class patterns take many times as long."""


def _record(row: object) -> FromVm:
    if not isinstance(row, list) or not row:
        raise _formless(row)
    word: object = row[0]
    fields: list[Any] = row[1:]
    form = _FORMS.get(word, ())
    if len(fields) != len(form) or not all(map(isinstance, fields, form)):
        raise _formless(row)
    match word, fields:
        case 66, [activation, seq, kind, name, rows]:
            requests = requests_of(rows) if rows else ()
            return Waiting(activation=activation, observed_seq=seq, kind=_WAITS[kind], name=name, requests=requests)
        case 67, [activation, seq, json]:
            return Completed(activation=activation, observed_seq=seq, json=json)
        case 68, [activation, seq, kind, text, details]:
            return Failed(activation=activation, observed_seq=seq, kind=kind, message=text, details=details)
        case 69, [activation, expected, found]:
            return Diverged(activation=activation, expected=expected, found=found)
        case 70, [activation]:
            return CaughtUp(activation=activation)
        case 71, [request]:
            return Pong(request=request)
        case 72, [activation, seq, reason]:
            return Cancelled(activation=activation, observed_seq=seq, reason=reason)
        case 73, [activation, query, "ok", bytes(json)]:
            return Queried(activation=activation, query=query, answer=json)
        case 73, [activation, query, "error", str(text)]:
            return Queried(activation=activation, query=query, answer=QueryFailed(message=text))
        case 64, [protocol, release]:
            return Ready(protocol=protocol, otp_release=release)
        case 65, [request, ("ok" | "error") as verdict, value]:
            return Answer(request=request, ok=verdict == "ok", value=value)
        case _:
            raise _formless(row)


def _formless(row: object) -> ValueError:
    return ValueError(f"no record has the form {str(row)[:200]}")
