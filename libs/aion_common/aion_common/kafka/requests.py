"""The two requests of the hot path, produce and fetch, written and read without aiokafka's general types.

Those walk a schema field by field, for each partition and in both directions; here a partition costs two calls of `struct`.
Versions are fixed: brokers from 2.3 on speak both. `line` carries them.
"""

import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from aiokafka.structs import TopicPartition

_HEADER = struct.Struct(">hhi")
_INT16 = struct.Struct(">h")
_INT32 = struct.Struct(">i")
_INT32_PAIR = struct.Struct(">ii")
_VERSIONS = struct.Struct(">hhh")
_ABORTED = struct.Struct(">qq")
_PRODUCE = struct.Struct(">hi")
_PRODUCED = struct.Struct(">ihqq")
_FETCH = struct.Struct(">iiiibii")
_FETCH_PARTITION = struct.Struct(">iiqqi")
_FETCHED = struct.Struct(">ihqqq")
_NONE = struct.pack(">h", -1)

_ACKS_ALL = -1
_NO_REPLICA = -1
_READ_COMMITTED = 1
_NO_SESSION = 0, -1
_UNKNOWN = -1
_MIN_BYTES = 1


class ProducedBatch(NamedTuple):
    """What a broker says of one batch. `timestamp_ms`: when it was appended; -1: producers' own times are kept there."""

    place: TopicPartition
    code: int
    base_offset: int
    timestamp_ms: int


class FetchedPartition(NamedTuple):
    """What a broker says of one partition. `aborted`: (producer id, first offset) of transactions among the records."""

    partition: int
    code: int
    aborted: Sequence[tuple[int, int]]
    content: bytes


class Request:
    """A request as a line carries it: `content` is what stands behind its head."""

    API_KEY: int
    API_VERSION: int

    def __init__(self, content: bytes) -> None:
        self.content = content

    def decode(self, answer: bytes) -> object:
        """What a broker answered, from behind its size on. Raises struct.error, IndexError, UnicodeDecodeError for bytes that
        are no such answer."""
        raise NotImplementedError


def framed(request: Request, number: int, client_id: bytes) -> bytes:
    """The bytes of a request. `number`: by which its answer is known; `client_id`: encoded by `client_id_of`."""
    head = _HEADER.pack(request.API_KEY, request.API_VERSION, number)
    size = _INT32.pack(len(head) + len(client_id) + len(request.content))
    return b"".join((size, head, client_id, request.content))


def client_id_of(name: str) -> bytes:
    """As it stands in the head of each request."""
    return _string(name)


def size_of(buffer: bytearray, begin: int) -> int:
    """Of the answer whose size stands here."""
    (size,) = _INT32.unpack_from(buffer, begin)
    return int(size)


def number_of(answer: bytes) -> int:
    """Of the request that it answers; -1: it has none."""
    return int(_INT32.unpack_from(answer)[0]) if len(answer) >= _INT32.size else _UNKNOWN


class VersionsRequest(Request):
    """Answered by the first and last version of each request that the broker speaks, by its number. Every broker answers it."""

    API_KEY = 18
    API_VERSION = 0

    def __init__(self) -> None:
        super().__init__(b"")

    def decode(self, answer: bytes) -> dict[int, tuple[int, int]]:
        """See `Request`."""
        count, at = _number(answer, _INT32.size + _INT16.size)
        each = (_VERSIONS.unpack_from(answer, at + number * _VERSIONS.size) for number in range(count))
        return {key: (first, last) for key, first, last in each}


class ProduceRequest(Request):
    """Batches to the partitions that one broker leads, acknowledged by all in-sync replicas. Answered by ProducedBatches."""

    API_KEY = 0
    API_VERSION = 3

    def __init__(self, transactional_id: str | None, timeout_ms: int, batches: Mapping[TopicPartition, bytes]) -> None:
        by_topic: dict[str, list[bytes]] = {}
        for place, batch in batches.items():
            by_topic.setdefault(place.topic, []).extend((_INT32_PAIR.pack(place.partition, len(batch)), batch))
        who = _NONE if transactional_id is None else _string(transactional_id)
        parts = [who, _PRODUCE.pack(_ACKS_ALL, timeout_ms), _INT32.pack(len(by_topic))]
        for topic, entries in by_topic.items():
            parts += (_string(topic), _INT32.pack(len(entries) // 2), *entries)
        super().__init__(b"".join(parts))

    def decode(self, answer: bytes) -> list[ProducedBatch]:
        """See `Request`."""
        batches = []
        topics, at = _number(answer, _INT32.size)
        for _ in range(topics):
            topic, at = _name(answer, at)
            partitions, at = _number(answer, at)
            for _ in range(partitions):
                partition, code, offset, timestamp_ms = _PRODUCED.unpack_from(answer, at)
                at += _PRODUCED.size
                batches.append(ProducedBatch(TopicPartition(topic, partition), code, offset, timestamp_ms))
        return batches


class FetchRequest(Request):
    """Committed records of one topic from these offsets on. Answered by an error code and FetchedPartitions."""

    API_KEY = 1
    API_VERSION = 11

    def __init__(
        self, topic: str, offsets: Mapping[int, int], *, wait_ms: int, bytes_max: int, partition_bytes_max: int
    ) -> None:
        super().__init__(
            b"".join(
                (
                    _FETCH.pack(_NO_REPLICA, wait_ms, _MIN_BYTES, bytes_max, _READ_COMMITTED, *_NO_SESSION),
                    _INT32.pack(1),
                    _string(topic),
                    _INT32.pack(len(offsets)),
                    *_partitions(offsets.items(), partition_bytes_max),
                    _INT32.pack(0),
                    _string(""),
                )
            )
        )

    def decode(self, answer: bytes) -> tuple[int, list[FetchedPartition]]:
        """See `Request`."""
        at = 2 * _INT32.size
        (code,) = _INT16.unpack_from(answer, at)
        fetched = []
        topics, at = _number(answer, at + _INT16.size + _INT32.size)
        for _ in range(topics):
            _, at = _name(answer, at)
            partitions, at = _number(answer, at)
            for _ in range(partitions):
                one, at = _fetched(answer, at)
                fetched.append(one)
        return code, fetched


CARRIED: tuple[type[Request], ...] = (ProduceRequest, FetchRequest)
"""What lines are for."""


def _partitions(offsets: Iterable[tuple[int, int]], bytes_max: int) -> Iterable[bytes]:
    return (_FETCH_PARTITION.pack(partition, _UNKNOWN, offset, _UNKNOWN, bytes_max) for partition, offset in offsets)


def _fetched(content: bytes, at: int) -> tuple[FetchedPartition, int]:
    partition, code, _high, _stable, _first = _FETCHED.unpack_from(content, at)
    count, at = _number(content, at + _FETCHED.size)
    aborted = [_ABORTED.unpack_from(content, at + each * _ABORTED.size) for each in range(count)]
    at += max(count, 0) * _ABORTED.size
    _replica, size = _INT32_PAIR.unpack_from(content, at)
    at += _INT32_PAIR.size
    end = at + max(size, 0)
    return FetchedPartition(partition, code, aborted, content[at:end]), end


def _string(text: str) -> bytes:
    encoded = text.encode()
    return _INT16.pack(len(encoded)) + encoded


def _number(content: bytes, at: int) -> tuple[int, int]:
    (number,) = _INT32.unpack_from(content, at)
    return number, at + _INT32.size


def _name(content: bytes, at: int) -> tuple[str, int]:
    (size,) = _INT16.unpack_from(content, at)
    at += _INT16.size
    return content[at : at + size].decode(), at + size
