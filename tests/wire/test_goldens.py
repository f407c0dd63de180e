"""What was once written stays readable, and what is written now is what was promised."""

import io
import json

import pytest
from fastavro import schemaless_reader

from aion_common.wire import decode, encode, event_bytes_of, learn, schemas
from aion_common.wire.history import event_bytes
from wire.specimens import EVENTS, GOLDEN, SPECIMENS, goldens, schemas_kept


@pytest.mark.parametrize("name", SPECIMENS)
def test_specimen_is_written_as_its_newest_golden(name: str) -> None:
    kept = goldens(name)
    assert kept, "run tests/wire/specimens.py to write the golden of a new specimen"
    assert encode(SPECIMENS[name]).hex() == kept[-1].hex()


@pytest.mark.parametrize("name", SPECIMENS)
def test_every_golden_ever_kept_reads_as_its_specimen(name: str) -> None:
    learn(schemas_kept())
    for kept in goldens(name):
        assert decode(kept) == SPECIMENS[name]


@pytest.mark.parametrize("file", sorted((GOLDEN / "records").glob("*.hex")), ids=lambda file: file.stem)
def test_every_golden_that_was_ever_kept_can_be_read(file: object) -> None:
    learn(schemas_kept())
    decode(bytes.fromhex(file.read_text(encoding="ascii")))  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", SPECIMENS)
def test_published_schema_alone_is_enough_to_read_a_value(name: str) -> None:
    value = encode(SPECIMENS[name])
    schema = json.loads(schemas()[value[2:10].hex()])
    source = io.BytesIO(value[10:])
    assert schemaless_reader(source, schema, None)
    assert not source.read()


def test_every_event_has_a_specimen() -> None:
    from aion_common.records import events  # noqa: PLC0415

    named = {type(event).__name__ for event in EVENTS.values()}
    assert named == {event.__name__ for event in events.Event.__args__}


@pytest.mark.parametrize("name", [name for name in SPECIMENS if name.startswith("history_record.")])
def test_events_bytes_are_found_whatever_schema_wrote_them(name: str) -> None:
    learn(schemas_kept())
    newest = goldens(name)[-1]
    record = decode(newest)
    assert event_bytes_of(newest) == event_bytes(record.event)
    for kept in goldens(name):
        rest = kept.removesuffix(event_bytes_of(kept))
        assert rest != kept
        assert newest[10:].startswith(rest[10:]), "what stands before the event is the same in both"
