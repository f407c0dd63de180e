"""Reads the entries of a ZIP that a stranger sent: plain ZIP, stored or deflated, nothing else.

An own reader, because the standard library's builds the whole directory before anything can be counted, trusts sizes and
raises what it likes. Here the directory is counted first, sizes are checked against what was really inflated, and every
refusal is a BadPackage. Format: PKWARE APPNOTE 6.3, sections 4.3 and 4.4. Called by `archive` only.
"""

import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from aion_common.errors import BadPackage
from aion_common.limits import ARCHIVE_ENTRIES_MAX
from aion_common.package.inflate import RAW, Budget, inflate

_END = struct.Struct("<4s4H2LH")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_END_SIGNATURE, _CENTRAL_SIGNATURE, _LOCAL_SIGNATURE = b"PK\x05\x06", b"PK\x01\x02", b"PK\x03\x04"
_ZIP64_LOCATOR_SIGNATURE = b"PK\x06\x07"
_ZIP64_LOCATOR_BYTES = 20
_COMMENT_BYTES_MAX = 0xFFFF
_NAME_BYTES_MAX = 1100
"""An atom has at most 255 characters of at most 4 bytes; the rest is for folder and suffix."""

_STORED, _DEFLATED = 0, 8
_FLAG_ENCRYPTED, _FLAG_PATCHED, _FLAG_STRONGLY_ENCRYPTED, _FLAG_MASKED = 1 << 0, 1 << 5, 1 << 6, 1 << 13


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    name: str
    raw_name: bytes
    method: int
    crc: int
    compressed_bytes: int
    inflated_bytes: int
    local_offset: int


def read_entries(archive: bytes, budget: Budget) -> Mapping[str, bytes]:
    """Contents by name, in the order of the directory. Raises BadPackage; counts inflated bytes against the budget.

    Refused: what is not a ZIP or a damaged one, ZIP64, several disks, encrypted or otherwise compressed entries, more than
    `limits.ARCHIVE_ENTRIES_MAX` entries, two entries of one name. Whether a name is a good one is for the caller to say.
    """
    entries = list(_directory(archive))
    seen: set[str] = set()
    for entry in entries:
        if entry.name in seen:
            raise BadPackage(f"the archive has two entries named {entry.name!r}")
        seen.add(entry.name)
    if sum(entry.compressed_bytes for entry in entries) > len(archive):
        raise BadPackage("the archive's entries overlap: their sizes add up to more than the archive has")
    return {entry.name: _content(archive, entry, budget) for entry in entries}


def _directory(archive: bytes) -> Iterator[_Entry]:
    end = _end_offset(archive)
    _, disk, start_disk, here, total, size, offset, _ = _END.unpack_from(archive, end)
    locator = end - _ZIP64_LOCATOR_BYTES
    if locator >= 0 and archive[locator : locator + 4] == _ZIP64_LOCATOR_SIGNATURE:
        raise BadPackage("the archive is a ZIP64, which a package never needs: write it as a plain ZIP")
    if disk or start_disk or here != total:
        raise BadPackage("the archive is one part of a ZIP that spans several files")
    if total > ARCHIVE_ENTRIES_MAX:
        raise BadPackage(f"the archive has {total} entries, more than {ARCHIVE_ENTRIES_MAX}, the limit")
    if offset + size > end:
        raise BadPackage("the archive is damaged: its directory does not lie within it")
    position = offset
    for _ in range(total):
        entry, position = _central_entry(archive, position, offset + size)
        yield entry
    if position != offset + size:
        raise BadPackage("the archive is damaged: its directory is longer than its number of entries says")


def _end_offset(archive: bytes) -> int:
    """Where the end record stands: the last one whose comment reaches exactly to the end of the archive."""
    lowest = max(0, len(archive) - _END.size - _COMMENT_BYTES_MAX)
    found = archive.rfind(_END_SIGNATURE, lowest)
    while found >= 0:
        if found + _END.size <= len(archive):
            comment_bytes = _END.unpack_from(archive, found)[-1]
            if found + _END.size + comment_bytes == len(archive):
                return found
        found = archive.rfind(_END_SIGNATURE, lowest, found + 3)
    raise BadPackage("the file is not an .aion archive: it is not a ZIP, or it was cut off")


def _central_entry(archive: bytes, position: int, end: int) -> tuple[_Entry, int]:
    if position + _CENTRAL.size > end:
        raise BadPackage("the archive is damaged: its directory ends within an entry")
    fields = _CENTRAL.unpack_from(archive, position)
    (signature, _, _, flags, method, _, _, crc, compressed, inflated, name_bytes, extra, comment) = fields[:13]
    local_offset = fields[16]
    if signature != _CENTRAL_SIGNATURE:
        raise BadPackage("the archive is damaged: its directory holds something that is no entry")
    start = position + _CENTRAL.size
    following = start + name_bytes + extra + comment
    if following > end:
        raise BadPackage("the archive is damaged: its directory ends within an entry")
    raw_name = archive[start : start + name_bytes]
    name = _decoded_name(raw_name)
    _check_kind(name, flags, method)
    entry = _Entry(
        name=name,
        raw_name=raw_name,
        method=method,
        crc=crc,
        compressed_bytes=compressed,
        inflated_bytes=inflated,
        local_offset=local_offset,
    )
    return entry, following


def _decoded_name(raw: bytes) -> str:
    if len(raw) > _NAME_BYTES_MAX:
        raise BadPackage(f"the archive has an entry whose name is {len(raw)} bytes long")
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise BadPackage(f"the archive has an entry whose name {raw!r} is not UTF-8") from error


def _check_kind(name: str, flags: int, method: int) -> None:
    if flags & (_FLAG_ENCRYPTED | _FLAG_STRONGLY_ENCRYPTED | _FLAG_MASKED):
        raise BadPackage(f"entry {name!r} of the archive is encrypted")
    if flags & _FLAG_PATCHED or method not in (_STORED, _DEFLATED):
        raise BadPackage(f"entry {name!r} is compressed by method {method}; only stored (0) and deflated (8) are read")


def _content(archive: bytes, entry: _Entry, budget: Budget) -> bytes:
    compressed = _compressed(archive, entry)
    if entry.method == _STORED:
        budget.take_bytes(len(compressed))
        content = bytes(compressed)
    else:
        content = inflate(compressed, window_bits=RAW, what=f"entry {entry.name!r}", budget=budget)
    if len(content) != entry.inflated_bytes:
        raise BadPackage(f"entry {entry.name!r} is {len(content)} bytes long, but the archive says {entry.inflated_bytes}")
    if zlib.crc32(content) != entry.crc:
        raise BadPackage(f"entry {entry.name!r} is damaged: its checksum is wrong")
    return content


def _compressed(archive: bytes, entry: _Entry) -> memoryview:
    start = entry.local_offset
    if start + _LOCAL.size > len(archive) or archive[start : start + 4] != _LOCAL_SIGNATURE:
        raise BadPackage(f"the archive is damaged: entry {entry.name!r} is not where its directory says")
    _, _, flags, method, *_, name_bytes, extra = _LOCAL.unpack_from(archive, start)
    start += _LOCAL.size
    if archive[start : start + name_bytes] != entry.raw_name or method != entry.method or flags & _FLAG_ENCRYPTED:
        raise BadPackage(f"the archive is damaged: entry {entry.name!r} and its place in the directory differ")
    start += name_bytes + extra
    if start + entry.compressed_bytes > len(archive):
        raise BadPackage(f"the archive is damaged: entry {entry.name!r} ends behind it")
    return memoryview(archive)[start : start + entry.compressed_bytes]
