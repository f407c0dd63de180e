"""Carries archives into `aion.packages`, piece by piece while they arrive, each upload under a fresh id.

Nothing refers to an upload until the catalog has loaded it, so a broken or repeated one harms nobody; the catalog removes
those that nothing refers to.
"""

import secrets
from collections.abc import AsyncIterator

from blake3 import blake3

from aion_common import limits
from aion_common.kafka.api import Sender
from aion_common.kafka.topics import Topics
from aion_common.records.catalog import PackageChunk
from aion_common.records.common import PackageRef
from aion_common.wire import encode


async def upload(sender: Sender, topics: Topics, archive: AsyncIterator[bytes]) -> PackageRef | None:
    """Store the archive and tell where it lies; None if it had no bytes. `wakes_itself` is left for the catalog to find out.

    The caller bounds the archive's size. Raises Unavailable, and what the iterator raises.
    """
    upload_id = secrets.token_hex(16)
    digest = blake3()
    offsets: list[int] = []
    archive_bytes = 0
    async for content in _pieces(archive):
        index = len(offsets)
        digest.update(content)
        archive_bytes += len(content)
        value = encode(PackageChunk(upload_id=upload_id, index=index, content=content))
        key = f"chunk/{upload_id}/{index}".encode()
        offsets.append(await sender.send(topics.packages, 0, [(key, value)]))
    if not offsets:
        return None
    return PackageRef(
        upload_id=upload_id,
        first_offset=offsets[0],
        last_offset=offsets[-1],
        chunks=len(offsets),
        archive_bytes=archive_bytes,
        archive_digest=digest.hexdigest(),
        wakes_itself=False,
    )


async def _pieces(archive: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same bytes in pieces of the size of a chunk; the last one may be smaller."""
    rest = bytearray()
    async for arrived in archive:
        rest += arrived
        while len(rest) >= limits.CHUNK_BYTES_MAX:
            yield bytes(rest[: limits.CHUNK_BYTES_MAX])
            del rest[: limits.CHUNK_BYTES_MAX]
    if rest:
        yield bytes(rest)
