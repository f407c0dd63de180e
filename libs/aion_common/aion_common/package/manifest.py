"""`manifest.json` of an archive: which workflow types a package provides, and where each one begins.

Read strictly (every field named, typed and known), because a field that is misspelt and ignored is found out in production.
The digest is over the document as it was written, so what this module does not look into (the schemas) counts too.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

from blake3 import blake3

from aion_common.errors import BadPackage
from aion_common.ids import Version, WorkflowType
from aion_common.limits import MANIFEST_DEPTH_MAX, NAME_BYTES_MAX, PACKAGE_MANIFEST_BYTES_MAX, PACKAGE_TYPES_MAX

FORMAT_VERSION = 1

Json = None | bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"]

_REQUIRED = frozenset(
    {"entry_module", "entry_function", "input_schema", "output_schema", "activities", "version", "format_version"}
)
_OPTIONAL = frozenset({"timeout", "additional_workflows"})
_ADDITIONAL_REQUIRED = frozenset({"workflow_type", "entry_module", "entry_function", "input_schema", "output_schema"})
_ADDITIONAL_OPTIONAL = frozenset({"timeout", "internal"})
_VERSION = re.compile(r"[0-9a-f]{64}")
_U64_MAX, _I64_MAX = 2**64 - 1, 2**63 - 1
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryPoint:
    """Where runs of one workflow type begin: `module:function/1`. `timeout_ms`: of a run; None: none was given.

    `internal`: meant to be started by other workflows of the package only.
    """

    workflow_type: WorkflowType
    module: str
    function: str
    timeout_ms: int | None
    internal: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A manifest that was read. `entries`: the main workflow first, then the additional ones, no type twice.

    `stamp`: the version as the manifest claims it. `canonical_json`: the whole document without `version`, keys sorted, no
    spaces, UTF-8: what the digest is taken of.
    """

    entries: tuple[EntryPoint, ...]
    activities: tuple[str, ...]
    stamp: Version
    canonical_json: bytes

    def types(self) -> tuple[EntryPoint, ...]:
        """All workflow types, the main one first; internal ones included."""
        return self.entries

    def digest(self) -> str:
        """Lowercase hex BLAKE3 of the canonical JSON."""
        return blake3(self.canonical_json).hexdigest()


def parse_manifest(text: bytes) -> Manifest:
    """Reads the bytes of `manifest.json`. Raises BadPackage with the field and what is wrong with it."""
    if len(text) > PACKAGE_MANIFEST_BYTES_MAX:
        raise BadPackage(f"manifest.json is longer than {PACKAGE_MANIFEST_BYTES_MAX} bytes, the limit")
    return read_manifest(_document(text))


def read_manifest(document: Json) -> Manifest:
    """As `parse_manifest`, from the parsed document."""
    _check_depth(document)
    root = _object(document, "manifest.json")
    _check_format(root)
    _check_fields(root, "manifest.json", _REQUIRED, _REQUIRED | _OPTIONAL)
    main = EntryPoint(
        workflow_type=WorkflowType(_name(root, "entry_module", "manifest.json")),
        module=_name(root, "entry_module", "manifest.json"),
        function=_name(root, "entry_function", "manifest.json"),
        timeout_ms=_timeout_ms(root.get("timeout"), "timeout"),
        internal=False,
    )
    additional = _array(root.get("additional_workflows", []), "additional_workflows")
    if len(additional) >= PACKAGE_TYPES_MAX:
        raise BadPackage(f"manifest.json has more than {PACKAGE_TYPES_MAX} workflow types, the limit")
    entries = (main, *(_additional(entry, f"additional_workflows[{i}]") for i, entry in enumerate(additional)))
    _check_unique(entries)
    return Manifest(
        entries=entries,
        activities=tuple(_activities(root["activities"])),
        stamp=_stamp(root["version"]),
        canonical_json=_canonical({key: value for key, value in root.items() if key != "version"}),
    )


def stamped_json(manifest: Manifest) -> bytes:
    """The bytes to write as `manifest.json`: canonical JSON with the stamp."""
    document = json.loads(manifest.canonical_json)
    document["version"] = manifest.stamp
    return _canonical(document)


def _document(text: bytes) -> Json:
    try:
        document: Json = json.loads(text.decode(), object_pairs_hook=_without_repeats, parse_constant=_refuse_constant)
    except UnicodeDecodeError as error:
        raise BadPackage("manifest.json is not UTF-8 text") from error
    except RecursionError as error:
        raise BadPackage(f"manifest.json is nested deeper than {MANIFEST_DEPTH_MAX} levels, the limit") from error
    except ValueError as error:
        raise BadPackage(f"manifest.json is not valid JSON: {error}") from error
    return document


def _without_repeats(pairs: list[tuple[str, Json]]) -> Json:
    members: dict[str, Json] = {}
    for name, value in pairs:
        if name in members:
            raise BadPackage(f"manifest.json gives {_shown(name)} twice in the same object")
        members[name] = value
    return members


def _refuse_constant(constant: str) -> NoReturn:
    raise BadPackage(f"manifest.json is not valid JSON: it holds {constant}")


def _check_depth(document: Json) -> None:
    level: list[Json] = [document]
    for _ in range(MANIFEST_DEPTH_MAX):
        following: list[Json] = []
        for value in level:
            if isinstance(value, Mapping):
                following.extend(value.values())
            elif isinstance(value, list):
                following.extend(value)
        if not following:
            return
        level = following
    raise BadPackage(f"manifest.json is nested deeper than {MANIFEST_DEPTH_MAX} levels, the limit")


def _canonical(document: Mapping[str, Json]) -> bytes:
    try:
        text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        encoded = text.encode()
    except UnicodeEncodeError as error:
        raise BadPackage("manifest.json holds half of a surrogate pair, which is no character") from error
    except ValueError as error:
        raise BadPackage("manifest.json holds a number that is too large") from error
    if len(encoded) > PACKAGE_MANIFEST_BYTES_MAX:
        raise BadPackage(f"manifest.json is longer than {PACKAGE_MANIFEST_BYTES_MAX} bytes, the limit")
    return encoded


def _check_format(root: Mapping[str, Json]) -> None:
    """Before all else: fields of an unknown format mean nothing."""
    if "format_version" not in root:
        raise BadPackage("manifest.json lacks the field 'format_version'")
    found = root["format_version"]
    if type(found) is not int or found != FORMAT_VERSION:
        raise BadPackage(f"the archive has format version {_shown(found)}; only {FORMAT_VERSION} is known here")


def _check_fields(value: Mapping[str, Json], where: str, required: frozenset[str], known: frozenset[str]) -> None:
    missing = sorted(required - value.keys())
    if missing:
        raise BadPackage(f"{where} lacks the field {missing[0]!r}")
    unknown = sorted(value.keys() - known)
    if unknown:
        raise BadPackage(f"{where} has the unknown field {_shown(unknown[0])}")


def _additional(value: Json, where: str) -> EntryPoint:
    entry = _object(value, where)
    _check_fields(entry, where, _ADDITIONAL_REQUIRED, _ADDITIONAL_REQUIRED | _ADDITIONAL_OPTIONAL)
    internal = entry.get("internal", False)
    if not isinstance(internal, bool):
        raise BadPackage(f"{where}.internal is {_shown(internal)}, not true or false")
    return EntryPoint(
        workflow_type=WorkflowType(_name(entry, "workflow_type", where)),
        module=_name(entry, "entry_module", where),
        function=_name(entry, "entry_function", where),
        timeout_ms=_timeout_ms(entry.get("timeout"), f"{where}.timeout"),
        internal=internal,
    )


def _check_unique(entries: Sequence[EntryPoint]) -> None:
    seen: set[WorkflowType] = set()
    for entry in entries:
        if entry.workflow_type in seen:
            raise BadPackage(f"manifest.json gives the workflow type {entry.workflow_type!r} twice")
        seen.add(entry.workflow_type)


def _activities(value: Json) -> list[str]:
    names = []
    for index, element in enumerate(_array(value, "activities")):
        where = f"activities[{index}]"
        activity = _object(element, where)
        _check_fields(activity, where, frozenset({"activity_type"}), frozenset({"activity_type"}))
        names.append(_name(activity, "activity_type", where))
    return names


def _stamp(value: Json) -> Version:
    if not isinstance(value, str) or not _VERSION.fullmatch(value):
        raise BadPackage(f"version in manifest.json is {_shown(value)}, not 64 lowercase hex digits")
    return Version(value)


def _timeout_ms(value: Json, where: str) -> int | None:
    """Milliseconds, rounded up: a time-out never comes early. What no 64-bit integer holds is cut to the largest."""
    if value is None:
        return None
    fields = _object(value, where)
    _check_fields(fields, where, frozenset({"secs", "nanos"}), frozenset({"secs", "nanos"}))
    secs, nanos = fields["secs"], fields["nanos"]
    if type(secs) is not int or not 0 <= secs <= _U64_MAX:
        raise BadPackage(f"{where}.secs is {_shown(secs)}, not a whole number of seconds")
    if type(nanos) is not int or not 0 <= nanos < 1_000_000_000:
        raise BadPackage(f"{where}.nanos is {_shown(nanos)}, not a whole number below 1000000000")
    return min(secs * 1_000 + -(-nanos // 1_000_000), _I64_MAX)


def _name(value: Mapping[str, Json], field: str, where: str) -> str:
    name = value[field]
    if not isinstance(name, str):
        raise BadPackage(f"{field} in {where} is {_shown(name)}, not a string")
    if not name or not name.isprintable() or _SURROGATE.search(name) or len(name.encode()) > NAME_BYTES_MAX:
        raise BadPackage(
            f"{field} in {where} is {_shown(name)}: a name has 1 to {NAME_BYTES_MAX} bytes of printable characters"
        )
    return name


def _object(value: Json, where: str) -> Mapping[str, Json]:
    if not isinstance(value, Mapping):
        raise BadPackage(f"{where} is {_shown(value)}, not a JSON object")
    return value


def _array(value: Json, where: str) -> Sequence[Json]:
    if not isinstance(value, list):
        raise BadPackage(f"{where} in manifest.json is {_shown(value)}, not a list")
    return value


def _shown(value: Json) -> str:
    """The value as JSON for a message: ASCII, and cut."""
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."
