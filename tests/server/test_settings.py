"""Settings: flags over environment over defaults, and nothing misspelt passes."""

import os
from pathlib import Path

import pytest

from aion_common.settings import QueueAsked, Settings, WrongSettings, load_settings, refuse_unknown_keys


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for key in [key for key in os.environ if key.startswith("AION_")]:
        monkeypatch.delenv(key)


def test_flags_win_over_the_environment_and_both_over_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AION_HTTP_PORT", "7001")
    monkeypatch.setenv("AION_DATA_DIR", "elsewhere")
    settings = load_settings({"http_port": 7002, "executor_id": None})
    assert settings.http_port == 7002
    assert settings.data_dir == Path("elsewhere")
    assert settings.topic_prefix == "aion."
    assert settings.executor_id


def test_what_was_not_given_is_known_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AION_BOOTSTRAP", "kafka:9092")
    assert load_settings({"partitions": None}).model_fields_set == {"bootstrap"}


def test_unknown_key_is_refused_with_the_nearest_known_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AION_BOTSTRAP", "kafka:9092")
    with pytest.raises(WrongSettings, match=r"AION_BOTSTRAP .*nearest known one is AION_BOOTSTRAP"):
        load_settings()


@pytest.mark.parametrize("key", ["AION_URL", "AION_TEST_BOOTSTRAP", "AION_PARENT_PID", "AIONIC", "PATH", "AION_HTTP_PORT"])
def test_keys_of_others_are_left_alone(key: str) -> None:
    refuse_unknown_keys([key])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("bootstrap", "kafka"),
        ("bootstrap", "kafka:0"),
        ("bootstrap", "a:1,,b:2"),
        ("http_port", "65536"),
        ("http_port", "seven"),
        ("executor_id", "a b"),
        ("executor_id", ""),
        ("topic_prefix", "aion/"),
        ("partitions", "0"),
        ("log_level", "loud"),
        ("session_timeout_ms", "1"),
        ("queues", "Mail"),
        ("queues", "mail,"),
        ("queues", "m" * 64),
        ("queues", "a.b"),
        ("queues", "mail:0"),
        ("queues", "mail:"),
        ("queues", "mail:1025"),
        ("queues", "mail:two"),
    ],
)
def test_value_that_cannot_be_used_is_refused_naming_the_key(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"AION_{name.upper()}", value)
    with pytest.raises(WrongSettings, match=rf"setting {name} \(AION_{name.upper()}\): .*{value!r}"):
        load_settings()


def test_queues_are_named_with_or_without_partitions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AION_QUEUES", "mail, reports:2")
    mail, reports = QueueAsked("mail", None), QueueAsked("reports", 2)
    assert load_settings().queues == (mail, reports)
    assert load_settings({"queues": ["reports:2"]}).queues == (reports,)
    assert not Settings.model_fields["queues"].default


def test_unknown_flag_is_refused() -> None:
    with pytest.raises(WrongSettings, match="colour"):
        load_settings({"colour": "red"})
