"""Archives are read with every refusal named, and written the same each time."""

import hashlib
import io
import zipfile
from collections.abc import Callable
from typing import Any

import pytest
from blake3 import blake3

from aion_common.errors import BadPackage
from aion_common.limits import ARCHIVE_BYTES_MAX, ARCHIVE_ENTRIES_MAX
from aion_common.package.archive import build_archive, read_archive, write_archive
from aion_common.package.inflate import Budget
from aion_common.package.version import content_version, sha256_version
from aion_common.package.zip_entries import read_entries
from package.made_archives import archived, beam, manifest, sound_archive, stamped, zipped

MODULES = {"order_rules": beam("order_rules", [("check", 2)]), "order": beam("order")}


def sound(**changed: Any) -> dict[str, Any]:
    return stamped(manifest(**changed), MODULES)


def patched(archive: bytes, find: bytes, offset: int, value: bytes) -> bytes:
    """The archive with bytes replaced at an offset behind the last occurrence of `find`."""
    at = archive.rindex(find) + offset
    return archive[:at] + value + archive[at + len(value) :]


def test_an_archive_gives_its_modules_in_order_with_version_and_digest() -> None:
    archive = read_archive(archived(sound(), MODULES))
    assert archive.modules == (("order", MODULES["order"]), ("order_rules", MODULES["order_rules"]))
    assert archive.version == content_version(MODULES.items())
    assert archive.manifest_digest == blake3(archive.manifest.canonical_json).hexdigest()


def test_the_version_is_the_hash_of_the_modules_in_the_order_of_their_names() -> None:
    stream = b"".join(
        len(part).to_bytes(8, "big") + part for name in sorted(MODULES) for part in (name.encode(), MODULES[name])
    )
    assert content_version(MODULES.items()) == blake3(stream).hexdigest()
    assert sha256_version(MODULES.items()) == hashlib.sha256(stream).hexdigest()


def test_the_original_stamp_is_valid_and_the_version_is_ours_all_the_same() -> None:
    archive = read_archive(archived(manifest(version=sha256_version(MODULES.items())), MODULES))
    assert archive.version == content_version(MODULES.items())
    assert read_archive(write_archive(archive)) == archive


def test_writing_is_the_same_each_time_and_in_any_order() -> None:
    forward = write_archive(build_archive(manifest(), MODULES.items()))
    backward = write_archive(build_archive(dict(reversed(manifest().items())), reversed(MODULES.items())))
    assert forward == backward
    assert write_archive(read_archive(forward)) == forward


def test_an_ordinary_zip_tool_can_read_what_is_written() -> None:
    with zipfile.ZipFile(io.BytesIO(sound_archive())) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["manifest.json", "beam/order.beam", "beam/order_rules.beam"]


def test_a_zip_comment_is_allowed() -> None:
    buffer = io.BytesIO(archived(sound(), MODULES))
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.comment = b"PK\x05\x06 built on a Friday"
    assert read_archive(buffer.getvalue()).version == content_version(MODULES.items())


def test_modules_may_have_names_beyond_ascii() -> None:
    modules = {"größe": beam("größe")}
    archive = build_archive(manifest(entry_module="größe"), modules.items())
    assert read_archive(write_archive(archive)) == archive


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "not a ZIP, or it was cut off"),
        (b"not a zip at all" * 10, "not a ZIP, or it was cut off"),
        (sound_archive()[:-1], "not a ZIP, or it was cut off"),
        (sound_archive() + b"more", "not a ZIP, or it was cut off"),
        (b"PK\x05\x06" + b"\0" * 18, "no manifest.json"),
        (zipped([("beam/order.beam", MODULES["order"])]), "no manifest.json"),
        (archived(sound(), {}), "no modules"),
        (archived(b"{", MODULES), "manifest.json is not valid JSON"),
        (archived(sound(format_version=9), MODULES), "format version 9"),
        (archived(sound(), MODULES, ("README.md", b"")), "'README.md', which is neither"),
        (archived(sound(), MODULES, ("beam/", b"")), "'beam/', which is neither"),
        (archived(sound(), MODULES, ("order.beam", b"")), "'order.beam', which is neither"),
        (archived(sound(), MODULES, ("/beam/order.beam", b"")), "which is neither"),
        (archived(sound(), MODULES, ("beam/../order.beam", b"")), "unsafe name"),
        (archived(sound(), MODULES, ("beam/sub/order.beam", b"")), "unsafe name"),
        (archived(sound(), MODULES, ("beam/.beam", b"")), "unsafe name"),
        (archived(sound(), MODULES, ("beam/..beam", b"")), "unsafe name"),
        (archived(sound(), MODULES, ("beam/a\nb.beam", b"")), "unsafe name"),
        (archived(sound(), MODULES, ("beam/a\\b.beam", b"")), "unsafe name"),
        (archived(sound(), MODULES, ("beam/c:x.beam", b"")), "unsafe name"),
        (archived(sound(), MODULES, (f"beam/{'x' * 256}.beam", b"")), "longer than 255 bytes"),
        (archived(sound(), MODULES, ("beam/" + "x" * 2_000, b"")), "name is 2005 bytes long"),
        (archived(sound(), MODULES | {"order": beam("orders")}), "'orders': file and module must have the same name"),
        (archived(sound(), MODULES | {"order": b"no module"}), "not a compiled Erlang module"),
        (archived(sound(entry_module="orders"), MODULES), "the archive has no module 'orders'"),
        (archived(sound(entry_function="go"), MODULES), "begins at order:go/1, which the module does not export"),
        (archived(sound(entry_module="order_rules", entry_function="check"), MODULES), "check/1, which the module does not"),
        (archived(manifest(version="0" * 64), MODULES), "says version 0000"),
        (
            archived(manifest(), {"order": beam("order", imports=[("erlang", "load_nif", 2)])}),
            "calls erlang:load_nif/2",
        ),
        (zipped([("manifest.json", b"{}")], zipfile.ZIP_BZIP2), "compressed by method 12"),
        (zipped([("manifest.json", b"{}")], zipfile.ZIP_LZMA), "compressed by method 14"),
    ],
)
def test_what_is_wrong_with_an_archive_is_said(content: bytes, sentence: str) -> None:
    with pytest.raises(BadPackage, match=sentence):
        read_archive(content)


def test_an_additional_workflow_must_be_exported_too() -> None:
    refund = {
        "workflow_type": "refund",
        "entry_module": "order",
        "entry_function": "refund",
        "input_schema": {},
        "output_schema": {},
    }
    with pytest.raises(BadPackage, match="'refund' begins at order:refund/1, which the module does not export"):
        read_archive(archived(sound(additional_workflows=[refund]), MODULES))


def test_an_encrypted_entry_is_refused() -> None:
    for flag in (1, 1 << 6, 1 << 13):
        content = patched(sound_archive(), b"PK\x01\x02", 8, flag.to_bytes(2, "little"))
        with pytest.raises(BadPackage, match="is encrypted"):
            read_archive(content)


def test_two_entries_of_one_name_are_refused() -> None:
    buffer = io.BytesIO(sound_archive())
    with zipfile.ZipFile(buffer, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("beam/order.beam", MODULES["order"])
    with pytest.raises(BadPackage, match=r"two entries named 'beam/order\.beam'"):
        read_archive(buffer.getvalue())


@pytest.mark.parametrize(
    ("find", "offset", "value", "sentence"),
    [
        (b"PK\x05\x06", 4, b"\1\0", "spans several files"),
        (b"PK\x05\x06", 16, b"\xff\xff\xff\x7f", "does not lie within it"),
        (b"PK\x05\x06", 8, b"\2\0\2\0", "longer than its number of entries"),
        (b"PK\x05\x06", 8, b"\4\0\4\0", "ends within an entry"),
        (b"PK\x01\x02", 0, b"XX", "something that is no entry"),
        (b"PK\x01\x02", 28, b"\xff\xff", "ends within an entry"),
        (b"PK\x01\x02", 16, b"\0\0\0\0", "its checksum is wrong"),
        (b"PK\x01\x02", 24, b"\1\0\0\0", "but the archive says 1"),
        (b"PK\x01\x02", 20, b"\xff\xff\xff\0", "entries overlap"),
        (b"PK\x01\x02", 42, b"\1\0\0\0", "not where its directory says"),
        (b"PK\x03\x04", 30, b"X", "its place in the directory differ"),
        (b"PK\x03\x04", 28, b"\xff\xff", "ends behind it"),
        (b"beam/order_rules.beam", 5, b"\xff", "is not UTF-8"),
    ],
)
def test_a_damaged_zip_is_refused(find: bytes, offset: int, value: bytes, sentence: str) -> None:
    with pytest.raises(BadPackage, match=sentence):
        read_archive(patched(sound_archive(), find, offset, value))


def test_a_zip64_is_refused() -> None:
    content = sound_archive()
    locator = b"PK\x06\x07" + b"\0" * 16
    with pytest.raises(BadPackage, match="ZIP64"):
        read_archive(content[:-22] + locator + content[-22:])


def test_size_and_number_of_entries_are_limited() -> None:
    with pytest.raises(BadPackage, match=f"more than {ARCHIVE_BYTES_MAX}, the limit"):
        read_archive(b"\0" * (ARCHIVE_BYTES_MAX + 1))
    with pytest.raises(BadPackage, match=f"more than {ARCHIVE_ENTRIES_MAX}, the limit"):
        read_archive(zipped([(f"beam/{n}.beam", b"") for n in range(ARCHIVE_ENTRIES_MAX + 1)], zipfile.ZIP_STORED))


def test_a_bomb_is_refused_while_it_is_inflated_even_when_it_lies_about_its_size() -> None:
    bomb = zipped([("manifest.json", b"\0" * 10_000_000)])
    for content in (bomb, patched(bomb, b"PK\x01\x02", 24, b"\x0a\0\0\0")):
        with pytest.raises(BadPackage, match="inflates to more than 1000 bytes"):
            read_entries(content, Budget(bytes_max=1_000, table_entries_max=0))


def test_all_entries_together_count_against_the_limit() -> None:
    content = zipped([("a", b"x" * 600), ("b", b"x" * 600)])
    with pytest.raises(BadPackage, match="inflates to more than 1000 bytes"):
        read_entries(content, Budget(bytes_max=1_000, table_entries_max=0))


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (lambda: build_archive(manifest(), []), "no modules"),
        (lambda: build_archive(manifest(entry_module="x"), MODULES.items()), "no module 'x'"),
        (lambda: build_archive(manifest(), [("a/b", beam("a/b"))]), "unsafe name"),
        (lambda: build_archive(manifest(oops=1), MODULES.items()), "unknown field"),
    ],
)
def test_an_unsound_archive_cannot_be_built(build: Callable[[], object], sentence: str) -> None:
    with pytest.raises(BadPackage, match=sentence):
        build()
