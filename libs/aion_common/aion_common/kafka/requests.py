"""The two requests of the hot path, produce and fetch, written and read without aiokafka's general types.

Those walk a schema field by field, for each partition and in both directions; here a partition costs two calls of `struct`. The
rest of a request's life is aiokafka's, whose connection takes these in the place of its own. Versions are fixed: brokers
from 2.3 on speak both.
"""

import struct
from collections.abc import Iterable, Mapping, Sequence
from io import BytesIO
from typing import NamedTuple, Protocol, Self

from aiokafka.errors import IncompatibleBrokerVersion
from aiokafka.structs import TopicPartition

_HEADER = struct.Struct(">hhi")
_INT16 = struct.Struct(">h")
_INT32 = struct.Struct(">i")
_INT32_PAIR = struct.Struct(">ii")
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


class _Head(NamedTuple):
    content: bytes

    def encode(self) -> bytes:
        return self.content


class _AnsweredHead(NamedTuple):
    correlation_id: int


class _Answer(Protocol):
    """aiokafka's word for what reads a response: given the buffer behind the head."""

    @staticmethod
    def decode(buffer: BytesIO) -> object: ...


class _Request:
    """What aiokafka's connection wants of a request and of its prepared form, in one."""

    API_KEY: int
    API_VERSION: int
    RESPONSE_TYPE: type[_Answer]

    def __init__(self, content: bytes) -> None:
        self._content = content

    def prepare(self, versions: Mapping[int, tuple[int, int]]) -> Self:
        first, last = versions.get(self.API_KEY, (0, -1))
        if not first <= self.API_VERSION <= last:
            raise IncompatibleBrokerVersion(
                f"{type(self).__name__} version {self.API_VERSION}: the broker has {first} to {last}"
            )
        return self

    def build_request_header(self, correlation_id: int, client_id: str) -> _Head:
        return _Head(_HEADER.pack(self.API_KEY, self.API_VERSION, correlation_id) + _string(client_id))

    def encode(self) -> bytes:
        return self._content

    def parse_response_header(self, buffer: BytesIO) -> _AnsweredHead:
        return _AnsweredHead(*_INT32.unpack(buffer.read(_INT32.size)))


class _Produced:
    @staticmethod
    def decode(buffer: BytesIO) -> list[ProducedBatch]:
        content, at = buffer.getvalue(), buffer.tell()
        batches = []
        topics, at = _number(content, at)
        for _ in range(topics):
            topic, at = _name(content, at)
            partitions, at = _number(content, at)
            for _ in range(partitions):
                partition, code, offset, timestamp_ms = _PRODUCED.unpack_from(content, at)
                at += _PRODUCED.size
                batches.append(ProducedBatch(TopicPartition(topic, partition), code, offset, timestamp_ms))
        return batches


class ProduceRequest(_Request):
    """Batches to the partitions that one broker leads, acknowledged by all in-sync replicas. Answered by ProducedBatches."""

    API_KEY = 0
    API_VERSION = 3
    RESPONSE_TYPE = _Produced

    def __init__(self, transactional_id: str | None, timeout_ms: int, batches: Mapping[TopicPartition, bytes]) -> None:
        by_topic: dict[str, list[bytes]] = {}
        for place, batch in batches.items():
            by_topic.setdefault(place.topic, []).extend((_INT32_PAIR.pack(place.partition, len(batch)), batch))
        who = _NONE if transactional_id is None else _string(transactional_id)
        parts = [who, _PRODUCE.pack(_ACKS_ALL, timeout_ms), _INT32.pack(len(by_topic))]
        for topic, entries in by_topic.items():
            parts += (_string(topic), _INT32.pack(len(entries) // 2), *entries)
        super().__init__(b"".join(parts))


class _Fetched:
    @staticmethod
    def decode(buffer: BytesIO) -> tuple[int, list[FetchedPartition]]:
        content, at = buffer.getvalue(), buffer.tell() + _INT32.size
        (code,) = _INT16.unpack_from(content, at)
        fetched = []
        topics, at = _number(content, at + _INT16.size + _INT32.size)
        for _ in range(topics):
            _, at = _name(content, at)
            partitions, at = _number(content, at)
            for _ in range(partitions):
                one, at = _fetched(content, at)
                fetched.append(one)
        return code, fetched


class FetchRequest(_Request):
    """Committed records of one topic from these offsets on. Answered by an error code and FetchedPartitions."""

    API_KEY = 1
    API_VERSION = 11
    RESPONSE_TYPE = _Fetched

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
