"""From modules and what the command line says about them to an archive."""

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from aion_cli.inputs import duration_ms, entry_point, schema_argument
from aion_cli.outcome import misused
from aion_cli.sources import Compiled, collect, inspect_module
from aion_client import Json
from aion_common.package.archive import Archive, build_archive
from aion_common.package.manifest import FORMAT_VERSION

DEFAULT_FUNCTION = "run"


@dataclass(frozen=True, slots=True, kw_only=True)
class PackOptions:
    """What `pack` and `deploy` are told, as typed; None and empty: not given."""

    entry: str | None
    types: Sequence[str]
    internal_types: Sequence[str]
    timeout: str | None
    input_schema: str | None
    output_schema: str | None

    def given(self) -> bool:
        """Whether any was given."""
        return any((self.entry, self.types, self.internal_types, self.timeout, self.input_schema, self.output_schema))


def pack_paths(paths: Sequence[Path], options: PackOptions) -> tuple[Archive, str]:
    """The archive of these sources, and the compiler's warnings. Raises Misused, Failed, BadPackage."""
    document = _document(options)
    entry = None if options.entry is None else entry_point(options.entry)
    compiled = collect(paths)
    module, function = entry or (_only_entry(compiled), DEFAULT_FUNCTION)
    named = document | {"entry_module": module, "entry_function": function}
    return build_archive(named, compiled.modules), compiled.warnings


def write_file(path: Path, content: bytes) -> None:
    """Replaces the file at once: whoever reads it sees the old or the new one, never a part."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as target:
            target.write(content)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _document(options: PackOptions) -> dict[str, Json]:
    """The manifest, still without the entry and the version."""
    additional = [_additional(text, internal=False) for text in options.types]
    additional += [_additional(text, internal=True) for text in options.internal_types]
    document: dict[str, Json] = {
        "format_version": FORMAT_VERSION,
        "input_schema": _schema(options.input_schema, "--input-schema"),
        "output_schema": _schema(options.output_schema, "--output-schema"),
        "activities": [],
    }
    if options.timeout is not None:
        seconds, milliseconds = divmod(duration_ms(options.timeout), 1_000)
        document["timeout"] = {"secs": seconds, "nanos": milliseconds * 1_000_000}
    if additional:
        document["additional_workflows"] = additional
    return document


def _additional(text: str, *, internal: bool) -> dict[str, Json]:
    workflow_type, equals, entry = text.partition("=")
    if not workflow_type or not equals:
        raise misused(f"{text!r} is not a workflow type: write name=module or name=module:function")
    module, function = entry_point(entry)
    return {
        "workflow_type": workflow_type,
        "entry_module": module,
        "entry_function": function,
        "input_schema": {},
        "output_schema": {},
        "internal": internal,
    }


def _schema(text: str | None, option: str) -> Json:
    return {} if text is None else schema_argument(text, option)


def _only_entry(compiled: Compiled) -> str:
    """The one module that can be meant: the only one with run/1."""
    names = [name for name, content in compiled.modules if (DEFAULT_FUNCTION, 1) in inspect_module(content, name).exports]
    if len(names) == 1:
        return names[0]
    found = f"the modules {', '.join(names)} export" if names else "no module exports"
    raise misused(f"{found} {DEFAULT_FUNCTION}/1: say where a run begins with --entry module or --entry module:function")
