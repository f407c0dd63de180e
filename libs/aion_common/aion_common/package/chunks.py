"""Archives in `aion.packages`: fetching one back from the chunks it was uploaded in.

A `PackageRef` names the stretch of the topic that holds them, so nobody reads the whole topic for one package. A repeat is
harmless and gives the same bytes.
"""

import re
from collections.abc import Mapping
from contextlib import aclosing

from blake3 import blake3

from aion_common.errors import BadPackage, BadRecord
from aion_common.kafka.api import Log
from aion_common.kafka.reading import decode_learning, records_between
from aion_common.kafka.topics import Topics
from aion_common.limits import ARCHIVE_BYTES_MAX, PACKAGE_CHUNKS_MAX
from aion_common.records.catalog import PackageChunk
from aion_common.records.common import PackageRef

_CHUNK_KEY = re.compile(rb"chunk/([\w.-]+)/[0-9]+")


async def fetch_archive(log: Log, topics: Topics, ref: PackageRef) -> bytes:
    """The bytes of an uploaded archive, exactly those that were uploaded.

    Raises BadPackage when the chunks at that place are not what `ref` says.
    """
    if not 0 < ref.archive_bytes <= ARCHIVE_BYTES_MAX:
        raise BadPackage(f"the archive has {ref.archive_bytes} bytes; 1 to {ARCHIVE_BYTES_MAX} are allowed")
    if not 0 < ref.chunks <= PACKAGE_CHUNKS_MAX:
        raise BadPackage(f"the archive has {ref.chunks} chunks; 1 to {PACKAGE_CHUNKS_MAX} are allowed")
    first = max(ref.first_offset, await log.beginning_offset(topics.packages, 0))
    end = min(ref.last_offset + 1, await log.end_offset(topics.packages, 0))
    chunks: dict[int, bytes] = {}
    prefix = f"chunk/{ref.upload_id}/".encode()
    async with aclosing(records_between(log, topics.packages, first, end)) as portions:
        async for records in portions:
            for record in records:
                if record.key is not None and record.key.startswith(prefix):
                    chunk = await _chunk(log, topics, record.value)
                    if not 0 <= chunk.index < ref.chunks:
                        raise BadPackage(f"chunk {chunk.index} stands among the archive's {ref.chunks}; upload it again")
                    chunks[chunk.index] = chunk.content
            if sum(map(len, chunks.values())) > ref.archive_bytes:
                raise BadPackage("the uploaded chunks hold more than the archive; upload it again")
    return _joined(ref, chunks)


def chunk_key(upload_id: str, index: int) -> bytes:
    """The key of a piece of an upload in `aion.packages`."""
    return f"chunk/{upload_id}/{index}".encode()


def upload_of(key: bytes | None) -> str | None:
    """The upload whose piece stands under this key; None if it is no piece's."""
    found = _CHUNK_KEY.fullmatch(key or b"")
    return None if found is None else found[1].decode()


async def _chunk(log: Log, topics: Topics, value: bytes | None) -> PackageChunk:
    try:
        record = await decode_learning(log, topics, value)
    except BadRecord as error:
        raise BadPackage(f"an uploaded chunk cannot be read ({error}); upload the archive again") from error
    if not isinstance(record, PackageChunk):
        raise BadPackage("something that is not a chunk stands among the uploaded chunks; upload the archive again")
    return record


def _joined(ref: PackageRef, chunks: Mapping[int, bytes]) -> bytes:
    if len(chunks) != ref.chunks or any(index not in chunks for index in range(len(chunks))):
        raise BadPackage(f"{len(chunks)} of the archive's {ref.chunks} uploaded chunks were found; upload it again")
    content = b"".join(chunks[index] for index in range(ref.chunks))
    if len(content) != ref.archive_bytes or blake3(content).hexdigest() != ref.archive_digest:
        raise BadPackage("the uploaded chunks are not the archive that was sent; upload it again")
    return content
