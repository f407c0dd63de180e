"""Frames are the same bytes on both sides: golden specimens, kept for ever, read and written by Python and by Erlang."""

from pathlib import Path

import msgpack
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
from aion_beam.turn_codec import DEFAULT_RETRY, DEFAULT_TIMEOUTS
from aion_common import limits
from aion_common.errors import BadRecord
from aion_common.records.common import ActivityTimeouts, Backoff, RetryPolicy, json_payload
from aion_common.records.events import (
    ActivityCancelled,
    ActivityCompleted,
    ActivityFailed,
    ActivityScheduled,
    ActivityTimedOut,
    Failure,
    TimeoutKind,
    TimerCancelled,
    TimerFired,
    TimerStarted,
    WaitKind,
)
from aion_common.turns import CancelActivity, CancelTimer, ScheduleActivity, StartTimer
from beam.eunit import run_eunit

GOLDEN = Path(__file__).parents[2] / "schemas" / "golden" / "frames"
INFO = RunInfo(namespace="default", workflow_id="order-1", run_id="ab" * 16, workflow_type="order", version="0" * 64)
SIGNAL = Signal(name="grün", payload=b'{"n":1}')
FIRST = Turn(observed_seq=1, now_ms=1_700_000_000_000, inputs=(), end=Wait(kind=WaitKind.SIGNAL, name="grün"))
SECOND = Turn(observed_seq=3, now_ms=1_700_000_000_250, inputs=(SIGNAL,), end=Wait(kind=WaitKind.RECEIVE, name=None))
LIVE = Turn(observed_seq=70_000, now_ms=1_700_000_100_000, inputs=(SIGNAL, SIGNAL), end=None)
PART = PartOfTurn(observed_seq=70_000, now_ms=1_700_000_100_000, inputs=(SIGNAL,))

RESULTS = (
    TimerFired(timer=4),
    ActivityCompleted(activity=3, attempt=2, result=json_payload(b'{"n":1}')),
    ActivityCompleted(activity=5, attempt=1, result=None),
    ActivityFailed(
        activity=6,
        attempt=3,
        failure=Failure(kind="declined", message="grün", details=json_payload(b"[7]")),
        retry_at=None,
    ),
    ActivityFailed(activity=70_000, attempt=1, failure=Failure(kind="crash", message="boom", details=None), retry_at=None),
    ActivityTimedOut(activity=7, attempt=1, timeout=TimeoutKind.SCHEDULE_TO_START, retry_at=None),
    ActivityTimedOut(activity=8, attempt=1, timeout=TimeoutKind.START_TO_CLOSE, retry_at=None),
    ActivityTimedOut(activity=9, attempt=1, timeout=TimeoutKind.SCHEDULE_TO_CLOSE, retry_at=None),
    ActivityTimedOut(activity=10, attempt=1, timeout=TimeoutKind.HEARTBEAT, retry_at=None),
)
BUSY = Turn(
    observed_seq=9,
    now_ms=1_700_000_000_900,
    inputs=(TimerFired(timer=1),),
    end=Wait(kind=WaitKind.RESULT, name="2 of 2 results"),
    commands=(
        TimerStarted(timer=2, fire_at=1_700_000_001_000, turn=None),
        TimerCancelled(timer=2, turn=None),
        ActivityScheduled(
            activity=3,
            activity_type="grün",
            queue="default",
            input=json_payload(b"1"),
            retry=DEFAULT_RETRY,
            timeouts=DEFAULT_TIMEOUTS,
            turn=None,
        ),
        ActivityCancelled(activity=3, turn=None),
    ),
)
REQUESTS = (
    StartTimer(timer=1, delay_ms=86_400_000),
    CancelTimer(timer=1),
    ScheduleActivity(
        activity=2,
        activity_type="grün",
        queue="default",
        input=json_payload(b'{"n":1}'),
        retry=DEFAULT_RETRY,
        timeouts=DEFAULT_TIMEOUTS,
    ),
    ScheduleActivity(
        activity=3,
        activity_type="charge",
        queue="fast",
        input=json_payload(b"null"),
        retry=RetryPolicy(
            attempts=3,
            backoff=Backoff.LINEAR,
            initial_ms=10,
            max_ms=100,
            jitter_percent=0,
            non_retryable=("declined", "grün"),
        ),
        timeouts=ActivityTimeouts(
            schedule_to_start_ms=1, start_to_close_ms=2_000, schedule_to_close_ms=70_000, heartbeat_ms=500
        ),
    ),
    CancelActivity(activity=3),
)

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
    ("deliver_results", Deliver(activation=1, observed_seq=99, now_ms=1_700_000_000_000, inputs=RESULTS, more=True)),
    ("history_commands", History(activation=1, turns=(BUSY,), more=False)),
    ("ping", Ping(request=0)),
    ("query", Query(activation=1, query=300, name="grün", arguments=b'{"n":1}')),
]

FROM_VM: list[tuple[str, FromVm]] = [
    ("ready", Ready(protocol=3, otp_release="25")),
    ("answer_ok", Answer(request=300, ok=True, value=["25", True, ["order:run/1 calls erlang:now/0"]])),
    ("answer_error", Answer(request=7, ok=False, value="the module order does not load: badfile")),
    ("waiting_signal", Waiting(activation=1, observed_seq=3, kind=WaitKind.SIGNAL, name="grün")),
    ("waiting_receive", Waiting(activation=1, observed_seq=3, kind=WaitKind.RECEIVE, name=None)),
    (
        "waiting_result",
        Waiting(activation=1, observed_seq=3, kind=WaitKind.RESULT, name="activity 2", requests=REQUESTS),
    ),
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


BAD_WAITS = [
    msgpack.packb([[66, 1, 1, "bad", None, []]]),
    msgpack.packb([[66, 1, 1, "receive", None]]),
    msgpack.packb([[66, 1, 1, "receive", None, [["nap", 1]]]]),
    msgpack.packb([[66, 1, 1, "receive", None, [["timer"]]]]),
]


@pytest.mark.parametrize("body", [b"\x91\x92\x42\x01", b"\x91\x91\x00", b"\x91", b"\xc1", *BAD_WAITS])
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
