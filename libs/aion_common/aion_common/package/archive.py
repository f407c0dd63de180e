"""`.aion` archives: a ZIP of `manifest.json` and `beam/<module>.beam`, read and written.

Reading is where code from strangers enters Aion: every refusal that needs no Erlang VM is made here, before anything is
stored, with a sentence for the author of the archive. The catalog, the executors and the CLI read through the same door.
"""

import io
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from aion_common.errors import BadPackage
from aion_common.ids import Version
from aion_common.limits import ARCHIVE_BYTES_MAX, ARCHIVE_ENTRIES_MAX, NAME_BYTES_MAX
from aion_common.package.beamfile import BeamModule, read_beam
from aion_common.package.inflate import Budget, archive_budget
from aion_common.package.manifest import Json, Manifest, parse_manifest, read_manifest, stamped_json
from aion_common.package.version import content_version, sha256_version
from aion_common.package.zip_entries import read_entries

MANIFEST_NAME = "manifest.json"
_FOLDER, _SUFFIX = "beam/", ".beam"
_ENTRY_ARITY = 1
_EARLIEST = (1980, 1, 1, 0, 0, 0)
_LOADS_NATIVE_CODE = frozenset({("erlang", "load_nif", 2)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """A sound package. `modules`: (name, bytes of the .beam file) in the order of their names, bytes as they were packed.

    `version`: always the BLAKE3 one, whichever stamp the manifest has. `manifest_digest`: BLAKE3 of
    `manifest.canonical_json`.
    """

    manifest: Manifest
    modules: tuple[tuple[str, bytes], ...]
    version: Version
    manifest_digest: str


def read_archive(content: bytes) -> Archive:
    """Reads the bytes of an .aion file. Raises BadPackage with a sentence that says what is wrong with it, and nothing else."""
    if len(content) > ARCHIVE_BYTES_MAX:
        raise BadPackage(f"the archive is {len(content)} bytes long, more than {ARCHIVE_BYTES_MAX}, the limit")
    budget = archive_budget()
    entries = read_entries(content, budget)
    if MANIFEST_NAME not in entries:
        raise BadPackage(f"the archive has no {MANIFEST_NAME}")
    modules = {_module_name(name): beam for name, beam in entries.items() if name != MANIFEST_NAME}
    return _checked(parse_manifest(entries[MANIFEST_NAME]), modules, budget)


def build_archive(document: Mapping[str, Json], modules: Iterable[tuple[str, bytes]]) -> Archive:
    """A new package of these modules (name, .beam bytes). `document`: the manifest; its `version` is stamped here.

    The same checks as for an archive that is read; raises BadPackage.
    """
    named = dict(modules)
    stamped = dict(document) | {"version": content_version(named.items())}
    for name in named:
        _check_module_name(name, repr(name))
    return _checked(read_manifest(stamped), named, archive_budget())


def write_archive(archive: Archive) -> bytes:
    """The bytes of the .aion file: equal archives give equal bytes, on every machine.

    Entries are stored, not deflated: compressors differ between machines, and modules are small. Raises BadPackage when it
    grows over the limit.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as target:
        _write_entry(target, MANIFEST_NAME, stamped_json(archive.manifest))
        for name, beam in archive.modules:
            _write_entry(target, f"{_FOLDER}{name}{_SUFFIX}", beam)
    content = buffer.getvalue()
    if len(content) > ARCHIVE_BYTES_MAX:
        raise BadPackage(f"the archive is {len(content)} bytes long, more than {ARCHIVE_BYTES_MAX}, the limit")
    return content


def _write_entry(target: zipfile.ZipFile, name: str, content: bytes) -> None:
    entry = zipfile.ZipInfo(name, date_time=_EARLIEST)
    entry.create_system = 3
    entry.external_attr = 0o100644 << 16
    target.writestr(entry, content)


def _checked(manifest: Manifest, modules: Mapping[str, bytes], budget: Budget) -> Archive:
    if not modules:
        raise BadPackage(f"the archive has no modules: expected at least one {_FOLDER}<module>{_SUFFIX}")
    if len(modules) + 1 > ARCHIVE_ENTRIES_MAX:
        raise BadPackage(f"the archive has {len(modules) + 1} entries, more than {ARCHIVE_ENTRIES_MAX}, the limit")
    ordered = tuple(sorted(modules.items()))
    read = {name: _checked_module(name, beam, budget) for name, beam in ordered}
    _check_entries(manifest, read)
    version = content_version(ordered)
    if manifest.stamp not in (version, sha256_version(ordered)):
        raise BadPackage(f"{MANIFEST_NAME} says version {manifest.stamp}, but the modules in the archive are version {version}")
    return Archive(manifest=manifest, modules=ordered, version=version, manifest_digest=manifest.digest())


def _checked_module(name: str, beam: bytes, budget: Budget) -> BeamModule:
    what = f"{_FOLDER}{name}{_SUFFIX}"
    module = read_beam(beam, what=what, budget=budget)
    if module.name != name:
        raise BadPackage(f"{what} is the module {module.name!r}: file and module must have the same name")
    if module.imports & _LOADS_NATIVE_CODE:
        raise BadPackage(f"module {name!r} calls erlang:load_nif/2: packages with native code are refused")
    return module


def _check_entries(manifest: Manifest, modules: Mapping[str, BeamModule]) -> None:
    for entry in manifest.types():
        named = f"workflow type {entry.workflow_type!r} begins at {entry.module}:{entry.function}/{_ENTRY_ARITY}"
        module = modules.get(entry.module)
        if module is None:
            raise BadPackage(f"{named}, but the archive has no module {entry.module!r}")
        if (entry.function, _ENTRY_ARITY) not in module.exports:
            raise BadPackage(f"{named}, which the module does not export")


def _module_name(entry: str) -> str:
    name = entry.removeprefix(_FOLDER).removesuffix(_SUFFIX)
    if entry != f"{_FOLDER}{name}{_SUFFIX}":
        raise BadPackage(f"the archive has an entry {entry!r}, which is neither {MANIFEST_NAME} nor {_FOLDER}<module>{_SUFFIX}")
    _check_module_name(name, repr(entry))
    return name


def _check_module_name(name: str, shown: str) -> None:
    """Names become file names and messages: nothing that leads out of a folder, hides or breaks a line."""
    if not name or name.startswith(".") or not name.isprintable() or any(c in name for c in '/\\:"'):
        raise BadPackage(f"the archive has an entry of an unsafe name: {shown}")
    if len(name.encode(errors="surrogatepass")) > NAME_BYTES_MAX:
        raise BadPackage(f"the archive has a module whose name is longer than {NAME_BYTES_MAX} bytes: {shown}")
