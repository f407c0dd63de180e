"""What a package is called: the hash of its modules, and nothing else.

The manifest is not part of it, so the same code is the same version wherever and however it was packed.
"""

import hashlib
from collections.abc import Iterable, Iterator

from blake3 import blake3

from aion_common.ids import Version


def content_version(modules: Iterable[tuple[str, bytes]]) -> Version:
    """The version of these modules (name, bytes of the .beam file): 64 lowercase hex digits of BLAKE3.

    The order of the argument does not matter: modules are hashed in the order of their names.
    """
    digest = blake3()
    for piece in _pieces(modules):
        digest.update(piece)
    return Version(digest.hexdigest())


def sha256_version(modules: Iterable[tuple[str, bytes]]) -> Version:
    """SHA-256 over the same stream: the stamp that archives of the original Aion carry."""
    digest = hashlib.sha256()
    for piece in _pieces(modules):
        digest.update(piece)
    return Version(digest.hexdigest())


def _pieces(modules: Iterable[tuple[str, bytes]]) -> Iterator[bytes]:
    for name, beam in sorted(modules):
        encoded = name.encode()
        yield len(encoded).to_bytes(8, "big")
        yield encoded
        yield len(beam).to_bytes(8, "big")
        yield beam
