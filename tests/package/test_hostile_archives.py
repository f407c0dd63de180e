"""Whatever the bytes: an archive, a module and a manifest are read, or refused as BadPackage. Nothing else is ever raised."""

import contextlib
import gzip

from hypothesis import given, settings
from hypothesis import strategies as st

from aion_common.errors import BadPackage
from aion_common.package.archive import read_archive
from aion_common.package.beamfile import read_beam
from aion_common.package.inflate import archive_budget
from aion_common.package.manifest import parse_manifest
from package.made_archives import archived, beam, chunk, compact_atoms, form, manifest, sound_archive, stamped, table

PROPERTY = settings(deadline=None, derandomize=True, max_examples=200)
MODULES = {"order": beam("order", [("run", 1), ("go", 2)], [("lists", "sort", 1)])}
ARCHIVES = st.sampled_from([sound_archive(), archived(stamped(manifest(), MODULES), MODULES)])
BEAMS = st.sampled_from(
    [
        MODULES["order"],
        gzip.compress(MODULES["order"], mtime=0),
        form(
            chunk(b"AtU8", compact_atoms(["order", "run", "x" * 100])),
            chunk(b"ImpT", table([(1, 2, 3)])),
            chunk(b"ExpT", table([(2, 1, 0)])),
        ),
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@st.composite
def mutated(draw: st.DrawFn, originals: st.SearchStrategy[bytes]) -> bytes:
    """A sound original with bytes changed, cut out, doubled or cut off."""
    content = bytearray(draw(originals))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(content) - 1)))
        match draw(st.sampled_from(["change", "cut", "insert", "end"])):
            case "change":
                content[at : at + 1] = bytes((draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF]) | st.integers(0, 255)),))
            case "cut":
                del content[at : at + draw(st.integers(1, 40))]
            case "insert":
                content[at:at] = draw(st.binary(max_size=8))
            case _:
                del content[at:]
    return bytes(content)


@PROPERTY
@given(st.binary(max_size=300) | mutated(ARCHIVES))
def test_any_bytes_are_an_archive_or_refused(content: bytes) -> None:
    with contextlib.suppress(BadPackage):
        read_archive(content)


@PROPERTY
@given(st.binary(max_size=200) | mutated(BEAMS))
def test_any_bytes_are_a_module_or_refused(content: bytes) -> None:
    with contextlib.suppress(BadPackage):
        read_beam(content, what="x", budget=archive_budget())


@PROPERTY
@given(st.text(max_size=60).map(lambda text: text.encode(errors="surrogatepass")) | st.binary(max_size=60))
def test_any_bytes_are_a_manifest_or_refused(content: bytes) -> None:
    with contextlib.suppress(BadPackage):
        parse_manifest(content)


@PROPERTY
@given(st.sampled_from([*manifest(), "timeout", "additional_workflows"]), JSON)
def test_any_value_of_any_field_is_taken_or_refused(field: str, value: object) -> None:
    modules = {"order": beam("order")}
    with contextlib.suppress(BadPackage):
        archive = read_archive(archived(stamped(manifest(), modules) | {field: value}, modules))
        assert archive.manifest.types()[0].workflow_type == "order"
