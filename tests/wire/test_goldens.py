"""What was once written stays readable, and what is written now is what was promised."""

import io
import json

import pytest
from fastavro import schemaless_reader

from aion_common.wire import decode, encode, schemas
from wire.specimens import EVENTS, GOLDEN, SPECIMENS, golden_file


@pytest.mark.parametrize("name", SPECIMENS)
def test_specimen_is_written_as_its_golden(name: str) -> None:
    assert golden_file(name).exists(), "run tests/wire/specimens.py to write the golden of a new specimen"
    assert encode(SPECIMENS[name]).hex() == golden_file(name).read_text(encoding="ascii").strip()


@pytest.mark.parametrize("name", SPECIMENS)
def test_golden_reads_as_its_specimen(name: str) -> None:
    assert decode(bytes.fromhex(golden_file(name).read_text(encoding="ascii"))) == SPECIMENS[name]


@pytest.mark.parametrize("file", sorted((GOLDEN / "records").glob("*.hex")), ids=lambda file: file.stem)
def test_every_golden_that_was_ever_kept_can_be_read(file: object) -> None:
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
