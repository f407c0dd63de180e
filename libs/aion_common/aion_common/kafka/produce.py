"""Record batches on their way to brokers: sealing, one produce request, producer ids, and offsets of partitions.

Functions only; who retries, and what a failure means, is decided by the callers (`fenced`, `sender`, `transaction`).
"""

from collections.abc import Iterable, Mapping, Sequence

from aiokafka.client import CoordinationType
from aiokafka.protocol.offset import OffsetRequest
from aiokafka.protocol.transaction import InitProducerIdRequest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.structs import TopicPartition

from aion_common import limits
from aion_common.errors import AionError
from aion_common.kafka.api import Appended, Headers, KeyValue, ProducerIdentity, Write
from aion_common.kafka.brokers import Brokers, Retry
from aion_common.kafka.connection import ask_leader, check, coordinator_of, leader_of
from aion_common.kafka.requests import ProducedBatch, ProduceRequest

Outcome = Appended | Retry | AionError

LATEST = -1
EARLIEST = -2

_READ_COMMITTED = 1
_SEQUENCES = 2**31
_BROKER_MARGIN_MS = 1_000
"""The broker gives up waiting for replicas so much before its client gives the connection up."""


class Batch:
    """A record batch that is being filled."""

    def __init__(self, identity: ProducerIdentity, sequence: int, transactional_id: str | None) -> None:
        self.count = 0
        self._builder = DefaultRecordBatchBuilder(
            2,
            0,
            int(transactional_id is not None),
            identity.producer_id,
            identity.producer_epoch,
            sequence,
            limits.BATCH_BYTES_MAX,
        )

    def add(self, record: KeyValue, headers: Headers = ()) -> bool:
        """Add the record if it fits; a first one is taken at any size. False: it did not fit."""
        key, value = record
        if self._builder.append(self.count, None, key, value, list(headers)) is None:
            return False
        self.count += 1
        return True

    def seal(self) -> bytes:
        """Its bytes. Nothing may be added or sealed afterwards."""
        assert self._builder.size() <= limits.BATCH_BYTES_MAX, "a record batch stays within limits.BATCH_BYTES_MAX"
        return bytes(self._builder.build())


def seal(records: Sequence[KeyValue], identity: ProducerIdentity, sequence: int) -> bytes:
    """All records as one batch. AssertionError when they do not fit."""
    assert records, "a batch has records"
    batch = Batch(identity, sequence, None)
    for record in records:
        added = batch.add(record)
        assert added, "the records of one append fit into one batch (limits.BATCH_BYTES_MAX)"
    return batch.seal()


def seal_writes(writes: Sequence[Write], identity: ProducerIdentity, sequence: int, transactional_id: str) -> bytes:
    """A transaction's writes to one partition as one batch. AssertionError when they do not fit."""
    batch = Batch(identity, sequence, transactional_id)
    for write in writes:
        added = batch.add((write.key, write.value), write.headers)
        assert added, "the records of one append fit into one batch (limits.BATCH_BYTES_MAX)"
    return batch.seal()


def sequence_after(sequence: int, records: int) -> int:
    """The sequence number behind so many records: non-negative 32-bit numbers that wrap, as the broker counts."""
    return (sequence + records) % _SEQUENCES


async def produce(
    client: Brokers, node: int, batches: Mapping[TopicPartition, bytes], transactional_id: str | None = None
) -> dict[TopicPartition, Outcome]:
    """One request to one leader; what became of each batch. Raises nothing but what a cancellation raises."""
    request = ProduceRequest(transactional_id, limits.KAFKA_REQUEST_MS - _BROKER_MARGIN_MS, batches)
    try:
        answers: Sequence[ProducedBatch] = await ask_leader(client, node, batches, request)
    except Retry as cause:
        return dict.fromkeys(batches, cause)
    outcomes: dict[TopicPartition, Outcome] = dict.fromkeys(batches, Retry("the broker did not mention it"))
    outcomes.update((answer.place, _outcome(answer)) for answer in answers)
    return outcomes


async def init_producer_id(client: Brokers, transactional_id: str | None) -> ProducerIdentity:
    """A fresh producer id, or the next epoch of a transactional id. Raises Retry and Unavailable."""
    request = InitProducerIdRequest(transactional_id=transactional_id, transaction_timeout_ms=limits.TRANSACTION_MS)
    if transactional_id is None:
        response = await client.any_answer(request)
    else:
        response = await client.send(await coordinator_of(client, CoordinationType.TRANSACTION, transactional_id), request)
    check(response.error_code, f"claim of {transactional_id or 'a producer id'}")
    return ProducerIdentity(producer_id=response.producer_id, producer_epoch=response.producer_epoch)


async def list_offsets(client: Brokers, places: Iterable[TopicPartition], moment: int) -> dict[TopicPartition, int]:
    """First (EARLIEST) or last stable (LATEST) offsets, or those of the first records at a time in milliseconds or later (-1:
    there is none). Raises Retry and Unavailable."""
    by_node: dict[int, list[TopicPartition]] = {}
    for place in places:
        by_node.setdefault(await leader_of(client, place), []).append(place)
    offsets: dict[TopicPartition, int] = {}
    for node, its_places in by_node.items():
        request = OffsetRequest(-1, _READ_COMMITTED, _by_topic((place, (place.partition, moment)) for place in its_places))
        response = await ask_leader(client, node, its_places, request)
        for topic, partitions in response.topics:
            for partition, code, _timestamp, offset in partitions:
                check(code, f"offset of {topic}/{partition}")
                offsets[TopicPartition(topic, partition)] = offset
    return offsets


def _outcome(answer: ProducedBatch) -> Outcome:
    if answer.code == 0:
        return Appended(base_offset=answer.base_offset, timestamp_ms=answer.timestamp_ms)
    try:
        check(answer.code, f"append to {answer.place.topic}/{answer.place.partition}")
    except (Retry, AionError) as refused:
        return refused
    raise AssertionError("an error code is an error")


def _by_topic(entries: Iterable[tuple[TopicPartition, tuple[int, object]]]) -> list[tuple[str, list[tuple[int, object]]]]:
    topics: dict[str, list[tuple[int, object]]] = {}
    for place, entry in entries:
        topics.setdefault(place.topic, []).append(entry)
    return list(topics.items())
