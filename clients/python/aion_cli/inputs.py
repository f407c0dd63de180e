"""What people type: JSON in three forms, durations, moments, entries, versions by their first digits."""

import json
import re
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from aion_cli.outcome import Failed, Trouble, misused
from aion_client import Client, InvalidCall, Json, JsonText
from aion_common.clock import Clock

VERSION_DIGITS_MIN = 8
_VERSION = re.compile(r"[0-9a-f]{64}")
_PREFIX = re.compile(rf"[0-9a-f]{{{VERSION_DIGITS_MIN},63}}")
_JSON_SPACE = " \t\r\n"
_SCHEMA_DIGITS_MAX = 512
_DURATION = re.compile(r"(\d{1,12})(ms|s|m|h|d)")
_UNIT_MS: Mapping[str, int] = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def json_argument(text: str, what: str) -> JsonText:
    """JSON as it stands, from a file (`@file`) or from stdin (`-`). Raises Misused naming `what`."""
    try:
        source = _source(text)
    except (OSError, UnicodeDecodeError) as error:
        raise misused(f"{what}: cannot read {text}: {error}") from error
    try:
        return JsonText(source.strip(_JSON_SPACE))
    except InvalidCall as error:
        raise _not_json(what, error) from error


def schema_argument(text: str, what: str) -> Json:
    """The same as a value, for a manifest. Raises Misused naming `what`."""
    source = json_argument(text, what).text
    try:
        value: Json = json.loads(source, parse_int=_schema_integer)
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    except ValueError as error:
        raise _not_json(what, error) from error
    return value


def duration_ms(text: str) -> int:
    """`500ms`, `30s`, `5m`, `2h`, `7d` in milliseconds. Raises Misused."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise misused(f"{text!r} is not a duration: write 500ms, 30s, 5m, 2h or 7d")
    return int(match[1]) * _UNIT_MS[match[2]]


def moment_ms(text: str, clock: Clock) -> int:
    """`2h` (so long ago), `2026-11-24T10:00` (local time, unless it names another) or milliseconds since the epoch, as the
    latter. Raises Misused."""
    if _DURATION.fullmatch(text):
        return max(0, clock.now_ms() - duration_ms(text))
    if re.fullmatch(r"\d{1,15}", text):
        return int(text)
    try:
        return int(datetime.fromisoformat(text).timestamp() * 1_000)
    except (ValueError, OverflowError, OSError) as error:
        raise misused(f"{text!r} is no moment: write 2h (ago), 2026-11-24T10:00 or milliseconds since the epoch") from error


def entry_point(text: str) -> tuple[str, str]:
    """`module` or `module:function` (default: run). Raises Misused."""
    module, colon, function = text.partition(":")
    if not module or (colon and not function):
        raise misused(f"{text!r} is not an entry: write module or module:function")
    return module, function or "run"


def full_version(client: Client, text: str, workflow_type: str | None = None) -> str:
    """The loaded version that begins with these digits; 64 of them are not looked up. Raises Misused, Failed, as the client."""
    digits = text.lower()
    if _VERSION.fullmatch(digits):
        return digits
    if not _PREFIX.fullmatch(digits):
        raise misused(f"{text!r} is not a version: give its 64 hex digits, or at least the first {VERSION_DIGITS_MIN}")
    loaded = sorted({version["version"] for version in client.versions(workflow_type)})
    found = [version for version in loaded if version.startswith(digits)]
    if len(found) == 1:
        return found[0]
    if found:
        raise Failed(_listing("ambiguous_version", f"{len(found)} loaded versions begin with {digits}:", found))
    whose = "" if workflow_type is None else f" of {workflow_type}"
    raise Failed(_listing("unknown_version", f"no loaded version{whose} begins with {digits}", loaded))


def _listing(code: str, what: str, versions: Sequence[str]) -> Trouble:
    steps = ["Loaded are:", *(f"  {version}" for version in versions)] if versions else ["None is loaded: see `aion deploy`."]
    return Trouble(code=code, what=what, next_steps=steps, fields={"loaded": list(versions)})


def _source(text: str) -> str:
    if text == "-":
        return sys.stdin.read()
    if text.startswith("@"):
        return Path(text[1:]).read_text(encoding="utf-8")
    return text


def _not_json(what: str, error: Exception) -> Failed:
    hint = "Text needs quotes of its own: '\"text\"'. A file is named @path, stdin is -."
    return misused(f"{what} is not JSON: {error}", hint)


def _schema_integer(text: str) -> int:
    if len(text) > _SCHEMA_DIGITS_MAX:
        raise ValueError(f"an integer of {len(text)} digits is too long for a schema")
    return int(text)
