"""`aion verify`: the chain is computed anew over the bytes in the log, read from the gateway or from Kafka itself."""

import base64
import io
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from fastavro import schemaless_reader, schemaless_writer
from msgspec.structs import replace

from aion_cli import histories
from aion_common.checking.run import CHECKED
from aion_common.clock import SystemClock
from aion_common.errors import Unavailable
from aion_common.ids import NO_NAMESPACE, NO_RUN, NO_WORKFLOW, Namespace, RunId, Version, WorkflowId, WorkflowType, workflow_key
from aion_common.kafka.api import Log
from aion_common.kafka.topics import Topics
from aion_common.records.events import (
    Event,
    HistoryRecord,
    OwnerEpoch,
    RunCancelled,
    RunCancelRequested,
    RunStarted,
    RunTerminated,
    RunTimedOut,
    SignalReceived,
)
from aion_common.settings import Settings
from aion_common.testing.memory_cluster import MemoryCluster
from aion_common.testing.memory_log import MemoryLog
from aion_common.wire import chain_of, decode, encode, event_bytes_of, kept_schemas, learn, next_chain, schemas, seal
from aion_common.wire.history import CHAIN_START
from aion_common.wire.registry import resolve
from aion_server.init import create
from cli.command_line import CommandLine, command_line
from cli.scripted_gateway import Answer, scripted_gateway

RUN, OTHER = RunId("0123456789abcdef" * 2), RunId("fedcba9876543210" * 2)
ORDER = WorkflowId("order-1")
TOPICS = Topics("aion.")
GOLDEN = Path(__file__).parents[2] / "schemas" / "golden" / "records"
STARTED = RunStarted(workflow_type=WorkflowType("order"), version=Version("ab" * 32), input=None, run_timeout_ms=5)
SIGNAL = SignalReceived(name="a", payload=None)
ENDED = RunTerminated(reason=None)
ASKED = RunCancelRequested(reason=None, deadline_ms=9)


@pytest.fixture
def aion(capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return command_line(capsys)


def records(*events: Event, run_id: RunId = RUN, owner_epoch: int = 0) -> list[HistoryRecord]:
    """A run's records as they should be; the n-th at the n-th millisecond."""
    made, chain = list[HistoryRecord](), CHAIN_START
    for seq, event in enumerate(events, start=1):
        record = HistoryRecord(
            namespace=Namespace("default"),
            workflow_id=ORDER,
            run_id=run_id,
            seq=seq,
            recorded_at=seq,
            owner_epoch=owner_epoch,
            chain=b"",
            cause=None,
            event=event,
        )
        made.append(seal(record, chain).record)
        chain = made[-1].chain
    return made


def page(values: Sequence[bytes], next_seq: int | None = None) -> Answer:
    return Answer(body={"records": [base64.b64encode(value).decode() for value in values], "next_seq": next_seq})


def verified(capsys: pytest.CaptureFixture[str], values: Sequence[bytes]) -> tuple[int, str, str]:
    with scripted_gateway(page(values)) as gateway:
        outcome = command_line(capsys, url=gateway.url)("verify", "order-1", "--run-id", RUN)
    return outcome.code, outcome.out, outcome.err


def test_sound_run_is_read_page_by_page_and_told(aion: CommandLine) -> None:
    values = [encode(record) for record in records(STARTED, SIGNAL, ENDED)]
    described = {"namespace": "default", "workflow_id": ORDER, "run_id": RUN, "workflow_type": "order", "version": "ab" * 32}
    answers = [Answer(body=described | {"status": "terminated", "started_at": 1}), page(values[:2], 3), page(values[2:])]
    with scripted_gateway(*answers, *answers) as gateway:
        outcome = aion("--url", gateway.url, "verify", "order-1")
        for_programs = aion("--url", gateway.url, "verify", "order-1", "--json").json
        calls = gateway.calls
    assert outcome.code == 0
    assert outcome.lines[:4] == [["workflow", "order-1"], ["run", RUN], ["status", "terminated"], ["events", "3"]]
    assert "Every promise is kept." in outcome.out
    assert CHECKED[2] in outcome.out
    assert for_programs["chain"] == records(STARTED, SIGNAL, ENDED)[-1].chain.hex()
    assert for_programs["broken"] == []
    assert calls[2] == f"GET /v1/workflows/order-1/history?namespace=default&run_id={RUN}&from_seq=3&encoding=avro"


SOUND = records(STARTED, SIGNAL, SIGNAL)


@pytest.mark.parametrize(
    ("history", "sentence"),
    [
        ([SOUND[0], SOUND[2]], "record 2: event 2 of the run comes next, not 3"),
        (SOUND[1:], "RunStarted is the first event, and no other"),
        (records(STARTED, STARTED), "RunStarted is the first event, and no other"),
        ([SOUND[0], replace(SOUND[1], event=replace(SIGNAL, name="b"))], "record 2: the chain covers the events before it"),
        ([SOUND[0], replace(SOUND[1], chain=bytes(16)), SOUND[2]], "record 3: the chain covers the events before it"),
        ([SOUND[0], replace(SOUND[1], recorded_at=0)], "time does not go back in a run"),
        ([SOUND[0], replace(SOUND[1], recorded_at=-1)], "time does not go back in a run"),
        ([replace(SOUND[0], seq=-1)], "record 1: event 1 of the run comes next, not -1"),
        ([], "a run has at least its RunStarted"),
        ([SOUND[0], replace(SOUND[1], owner_epoch=-1)], "owner epochs do not go back in a run"),
        ([SOUND[0], replace(SOUND[1], workflow_id=WorkflowId("w"))], "a run belongs to one workflow id"),
        ([SOUND[0], replace(SOUND[1], run_id=OTHER)], f"record 2: a record of run {OTHER}"),
        (records(STARTED, ENDED, SIGNAL), "nothing follows a terminal event"),
        (records(STARTED, ENDED, ENDED), "nothing follows a terminal event"),
        (records(STARTED, RunTimedOut(timeout_ms=5)), "by its time-out when it is over, not before"),
        (records(STARTED, RunCancelled(observed_seq=None, reason=None)), "after its time to clean up, not before"),
        (records(STARTED, RunCancelled(observed_seq=1, reason=None)), "was asked to, and had heard it"),
        (
            records(STARTED, RunCancelRequested(reason=None, deadline_ms=9), RunCancelled(observed_seq=None, reason=None)),
            "clean up",
        ),
        (records(STARTED, OwnerEpoch(producer_id=1, producer_epoch=0, member="m", clock_ms=0)), "are no run's"),
    ],
)
def test_broken_promise_is_told_with_its_record(
    capsys: pytest.CaptureFixture[str], history: Sequence[HistoryRecord], sentence: str
) -> None:
    code, _, err = verified(capsys, [encode(record) for record in history])
    assert code == 1
    assert sentence in err
    assert "Every promise is kept" not in err


def test_garbage_and_other_records_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    letters = bytes.fromhex((GOLDEN / "route-1.hex").read_text(encoding="ascii"))
    code, _, err = verified(capsys, [encode(SOUND[0]), b"garbage", letters])
    assert code == 1
    assert "2 promises are broken" in err
    assert "record 2: not a record of a history: not a single-object encoded" in err
    assert "record 3: not a record of a history but a Route" in err


def test_run_that_an_older_release_wrote_is_checked_by_its_own_bytes(aion: CommandLine) -> None:
    """Its RunStarted has a field less than ours: the chain covers the bytes that it has."""
    older = bytes.fromhex((GOLDEN / "history_record.run_started-1.hex").read_text(encoding="ascii"))
    learn(kept_schemas())
    record = decode(older)
    writer = next(schema for schema in map(resolve, map(json.loads, kept_schemas())) if schema.mark == older[:10])
    fields = schemaless_reader(io.BytesIO(older[10:]), writer.parsed, None, return_record_name=True)
    assert isinstance(fields, dict)
    chain = next_chain(CHAIN_START, 1, record.recorded_at, event_bytes_of(older))
    out = io.BytesIO()
    schemaless_writer(out, writer.parsed, {**fields, "seq": 1, "chain": chain})
    value = older[:10] + out.getvalue()
    assert chain != chain_of(replace(record, seq=1), CHAIN_START)
    with scripted_gateway(page([value]), page([value[:-1] + b"0"])) as gateway:
        sound = aion("--url", gateway.url, "-n", "shop", "verify", "order/1", "--run-id", RUN)
        forged = aion("--url", gateway.url, "-n", "shop", "verify", "order/1", "--run-id", RUN)
    assert sound.code == 0, sound.err
    assert "record 1: the chain covers the events before it" in forged.err


def test_unknown_schema_is_no_broken_promise_but_told_clearly(capsys: pytest.CaptureFixture[str]) -> None:
    ours = json.loads(schemas()[encode(SOUND[0])[2:10].hex()])
    newer = resolve({**ours, "fields": [{"name": "age", "type": "long"}, *ours["fields"]]})
    code, out, err = verified(capsys, [encode(SOUND[0]), newer.mark + b"\x00" + encode(SOUND[1])[10:]])
    assert (code, out) == (1, "")
    assert f"unknown_schema: record 2 has a schema that this program does not know: {newer.mark[2:].hex()}" in err
    assert "--bootstrap HOST:PORT" in err


@pytest.mark.parametrize(
    "answer",
    [
        Answer(body={"records": ["?"], "next_seq": None}),
        Answer(body={"records": [5], "next_seq": None}),
        Answer(body={"records": ["é"], "next_seq": None}),
        Answer(body={"records": [], "next_seq": "2"}),
        Answer(body={"records": [], "next_seq": 1}),
    ],
)
def test_answers_that_are_no_histories_are_told(aion: CommandLine, answer: Answer) -> None:
    with scripted_gateway(answer) as gateway:
        outcome = aion("--url", gateway.url, "verify", "order-1", "--run-id", RUN)
    assert outcome.code == 1
    assert "unexpected_answer" in outcome.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "name a workflow id, or say --all"),
        (("order-1", "--all"), "name a workflow id, or say --all"),
        (("--all",), "name its brokers with --bootstrap"),
        (("--all", "--bootstrap", "b:1", "--run-id", RUN), "--run-id is for one workflow id"),
    ],
)
def test_verify_wants_one_run_or_all_of_a_broker(aion: CommandLine, arguments: tuple[str, ...], words: str) -> None:
    outcome = aion("verify", *arguments)
    assert outcome.code == 2
    assert words in outcome.err


def epoch() -> HistoryRecord:
    event = OwnerEpoch(producer_id=1, producer_epoch=0, member="m", clock_ms=0)
    empty = replace(SOUND[0], namespace=NO_NAMESPACE, workflow_id=NO_WORKFLOW, run_id=NO_RUN, seq=0, recorded_at=0)
    return replace(empty, owner_epoch=-1, chain=b"", event=event)


def kafka_with(monkeypatch: pytest.MonkeyPatch, history: Sequence[HistoryRecord | bytes]) -> None:
    """The brokers that `--bootstrap` names: a log of one partition with this history."""

    async def connect(_bootstrap: str) -> Log:
        log = MemoryLog(MemoryCluster(SystemClock()))
        await create(log, Settings(partitions=1), SystemClock())
        sender = await log.sender()
        key = workflow_key(Namespace("default"), ORDER)
        values = [value if isinstance(value, bytes) else encode(value) for value in history]
        await sender.send(TOPICS.history, 0, [(key, value) for value in values])
        await sender.close()
        return log

    monkeypatch.setattr(histories, "connect", connect)


def test_newest_run_is_read_from_the_topic_without_void_records(aion: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    newer = [replace(record, recorded_at=5) for record in records(STARTED, SIGNAL, run_id=OTHER, owner_epoch=2)]
    zombie = replace(newer[1], seq=7, owner_epoch=0)
    chained, chain = list[HistoryRecord](), CHAIN_START
    for record in newer:
        chained.append(seal(record, chain).record)
        chain = chained[-1].chain
    kafka_with(monkeypatch, [epoch(), *records(STARTED)[:1], epoch(), chained[0], zombie, chained[1]])
    outcome = aion("verify", "order-1", "--bootstrap", "broker:9092", "--json")
    assert outcome.code == 0, outcome.err
    assert (outcome.json["run_id"], outcome.json["events"]) == (OTHER, 2)
    assert aion("verify", "order-1", "--bootstrap", "broker:9092", "--run-id", RUN, "--json").json["events"] == 1


def test_record_that_cannot_be_read_is_told_with_its_offset(aion: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    kafka_with(monkeypatch, [epoch(), SOUND[0], b"garbage", SOUND[2]])
    outcome = aion("verify", "order-1", "--bootstrap", "broker:9092")
    assert outcome.code == 1
    assert "history 0 offset 2: a record of this workflow id that cannot be read" in outcome.err
    assert "history 0 offset 3: event 2 of the run comes next, not 3" in outcome.err


def test_run_that_is_not_in_the_topic_is_told(aion: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    kafka_with(monkeypatch, [epoch(), SOUND[0]])
    assert "has no run of order-2" in aion("verify", "order-2", "--bootstrap", "broker:9092").err
    assert f"with the id {OTHER}" in aion("verify", "order-1", "--run-id", OTHER, "--bootstrap", "broker:9092").err


def test_whole_cluster_is_judged_and_every_broken_promise_told(aion: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    kafka_with(monkeypatch, [epoch()])
    sound = aion("verify", "--all", "--bootstrap", "broker:9092")
    assert sound.code == 0
    assert "1 partitions, 1 events, 0 void records" in sound.out
    kafka_with(monkeypatch, [epoch(), SOUND[1], *[b"garbage"] * 30])
    broken = aion("verify", "--all", "--bootstrap", "broker:9092")
    assert broken.code == 1
    assert "history 0 offset 1: RunStarted is the first event" in broken.err
    assert "more; --json shows all" in broken.err
    for_programs = aion("verify", "--all", "--bootstrap", "broker:9092", "--json")
    assert for_programs.code == 1
    assert len(for_programs.json["broken"]) > 30


def test_other_prefix_and_absent_brokers_are_told(aion: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    kafka_with(monkeypatch, [epoch()])
    elsewhere = aion("verify", "--all", "--bootstrap", "broker:9092", "--topic-prefix", "other.")
    assert elsewhere.code == 1
    assert "wrong_cluster: topic other.catalog does not exist" in elsewhere.err

    async def nobody(bootstrap: str) -> Log:
        raise Unavailable(f"no broker answers at {bootstrap}")

    monkeypatch.setattr(histories, "connect", nobody)
    outcome = aion("verify", "order-1", "--bootstrap", "nowhere:1")
    assert outcome.code == 1
    assert "unavailable: no broker answers at nowhere:1" in outcome.err
