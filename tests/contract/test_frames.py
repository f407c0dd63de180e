"""Frames are the same bytes on both sides: golden specimens, kept for ever, read and written by Python and by Erlang."""

from pathlib import Path

import pytest

from aion_beam.frame_codec import FrameReader, encode_frames, encode_record, parts_of
from aion_beam.frames import (
    Answer,
    Cancel,
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
    PartOfTurn,
    Ping,
    Pong,
    Queried,
    Query,
    QueryFailed,
    Ready,
    RunInfo,
    Signal,
    Start,
    ToVm,
    Turn,
    Wait,
    Waiting,
)
from aion_beam.host_build import build_host
from aion_common import limits
from aion_common.errors import BadRecord
from aion_common.records.events import WaitKind
from beam.eunit import run_eunit

GOLDEN = Path(__file__).parents[2] / "schemas" / "golden" / "frames"
INFO = RunInfo(namespace="default", workflow_id="order-1", run_id="ab" * 16, workflow_type="order", version="0" * 64)
SIGNAL = Signal(name="grün", payload=b'{"n":1}')
FIRST = Turn(observed_seq=1, now_ms=1_700_000_000_000, inputs=(), end=Wait(kind=WaitKind.SIGNAL, name="grün"))
SECOND = Turn(observed_seq=3, now_ms=1_700_000_000_250, inputs=(SIGNAL,), end=Wait(kind=WaitKind.RECEIVE, name=None))
LIVE = Turn(observed_seq=70_000, now_ms=1_700_000_100_000, inputs=(SIGNAL, SIGNAL), end=None)
PART = PartOfTurn(observed_seq=70_000, now_ms=1_700_000_100_000, inputs=(SIGNAL,))

TO_VM: list[tuple[str, ToVm]] = [
    ("load", Load(request=7, modules=(("order", b"FOR1\x00"), ("order@lines", b"")), more=False)),
    ("check", Check(request=300, modules=(("order", b"\xff" * 300),), more=True)),
    (
        "start",
        Start(
            activation=1, module="order", function="run", argument=b"null", info=INFO, turns=(FIRST, SECOND, LIVE), more=False
        ),
    ),
    ("history", History(activation=65_536, turns=(SECOND, PART, LIVE), more=True)),
    ("deliver", Deliver(activation=2**33, observed_seq=5, now_ms=1_700_000_000_000, inputs=(SIGNAL,), more=False)),
    ("kill", Kill(activation=128)),
    (
        "deliver_cancel",
        Deliver(
            activation=1,
            observed_seq=6,
            now_ms=1_700_000_000_000,
            inputs=(Cancel(reason="grün"), Cancel(reason=None)),
            more=False,
        ),
    ),
    ("ping", Ping(request=0)),
    ("query", Query(activation=1, query=300, name="grün", arguments=b'{"n":1}')),
]

FROM_VM: list[tuple[str, FromVm]] = [
    ("ready", Ready(protocol=2, otp_release="25")),
    ("answer_ok", Answer(request=300, ok=True, value=["25", True, ["order:run/1 calls erlang:now/0"]])),
    ("answer_error", Answer(request=7, ok=False, value="the module order does not load: badfile")),
    ("waiting_signal", Waiting(activation=1, observed_seq=3, kind=WaitKind.SIGNAL, name="grün")),
    ("waiting_receive", Waiting(activation=1, observed_seq=3, kind=WaitKind.RECEIVE, name=None)),
    ("completed", Completed(activation=65_536, observed_seq=70_000, json=b'{"total":1.5}')),
    ("failed", Failed(activation=1, observed_seq=3, kind="error", message="no stock", details=b'"no stock"')),
    ("failed_limit", Failed(activation=1, observed_seq=3, kind="limit", message="heap", details=None)),
    ("cancelled", Cancelled(activation=1, observed_seq=7, reason="grün")),
    ("cancelled_bare", Cancelled(activation=1, observed_seq=7, reason=None)),
    ("queried", Queried(activation=1, query=300, answer=b'{"n":1}')),
    ("queried_failed", Queried(activation=1, query=301, answer=QueryFailed(message="no such query"))),
    ("diverged", Diverged(activation=1, expected="the run waits in a receive", found="the run completes")),
    ("caught_up", CaughtUp(activation=2**33)),
    ("pong", Pong(request=0)),
]


@pytest.mark.parametrize(("name", "record"), TO_VM, ids=[name for name, _ in TO_VM])
def test_python_writes_the_golden_frame(name: str, record: ToVm) -> None:
    assert encode_frames([encode_record(record)]).hex() == golden(name)


@pytest.mark.parametrize(("name", "record"), FROM_VM, ids=[name for name, _ in FROM_VM])
def test_python_reads_the_golden_frame(name: str, record: FromVm) -> None:
    assert FrameReader().feed(bytes.fromhex(golden(name))) == [record]


def test_erlang_reads_and_writes_the_golden_frames(pytestconfig: pytest.Config, tmp_path: Path) -> None:
    assert pytestconfig.cache is not None
    host = build_host(pytestconfig.cache.mkdir("aion_host"))
    run_eunit(host, ["aion_golden_tests"], tmp_path, {"GOLDEN_FRAMES": str(GOLDEN)})


def test_every_golden_frame_is_held_by_a_test() -> None:
    assert {path.stem for path in GOLDEN.iterdir()} == {name for name, _ in [*TO_VM, *FROM_VM]}


def test_frames_arrive_in_whatever_pieces() -> None:
    stream = b"".join(bytes.fromhex(golden(name)) for name, _ in FROM_VM)
    for size in (1, 3, 50, len(stream)):
        reader = FrameReader()
        records = [r for at in range(0, len(stream), size) for r in reader.feed(stream[at : at + size])]
        assert records == [record for _, record in FROM_VM]


def test_records_share_a_frame_until_it_is_full() -> None:
    record = encode_record(Load(request=1, modules=(("m", b"x" * 1_000_000),), more=False))
    stream = encode_frames([record] * 9)
    lengths = []
    while stream:
        length = int.from_bytes(stream[:4], "big")
        lengths.append(length)
        stream = stream[4 + length :]
    assert len(lengths) == 3
    assert max(lengths) <= limits.FRAME_BYTES_MAX


def test_a_frame_over_the_limit_is_refused_before_it_is_read() -> None:
    with pytest.raises(BadRecord, match="over the limit"):
        FrameReader().feed((limits.FRAME_BYTES_MAX + 1).to_bytes(4, "big"))


@pytest.mark.parametrize("body", [b"\x91\x92\x42\x01", b"\x91\x91\x00", b"\x91", b"\xc1", b"\x91\x94\x42\x01\x01\xa3bad\xc0"])
def test_a_frame_that_makes_no_sense_is_refused(body: bytes) -> None:
    with pytest.raises(BadRecord):
        FrameReader().feed(len(body).to_bytes(4, "big") + body)


def test_large_modules_are_cut_into_parts_in_order() -> None:
    beam = bytes(range(256)) * 12_000
    parts = list(parts_of([("a", beam), ("b", b"small")]))
    assert b"".join(part for name, part in parts if name == "a") == beam
    assert [name for name, _ in parts] == ["a", "a", "a", "b"]


def golden(name: str) -> str:
    return (GOLDEN / f"{name}.hex").read_text().strip()
