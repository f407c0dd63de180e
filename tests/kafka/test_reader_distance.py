"""Where much comes a reader polls less often: each poll finds more, and everybody has less to do."""

import asyncio
import struct
from itertools import pairwise

import pytest
from aiokafka.client import ConnectionGroup
from aiokafka.structs import TopicPartition

from aion_common.kafka.api import ProducerIdentity
from aion_common.kafka.brokers import Brokers, Picture
from aion_common.kafka.produce import seal
from aion_common.kafka.reader import DISTANCE_MS_MAX, KafkaReader
from aion_common.kafka.requests import FetchedPartition

NODE = 1
TOPIC = "t.results"


class Plenty(Brokers):
    """A broker that has so many more records whenever it is asked."""

    def __init__(self, records: int) -> None:
        super().__init__("127.0.0.1:9", "aion-test", 1_000)
        self.picture = Picture(leaders={TopicPartition(TOPIC, 0): NODE})
        self.polled_at: list[float] = []
        self._records = records

    async def send(self, node: int, request: object, group: ConnectionGroup = ConnectionGroup.DEFAULT) -> object:
        """See `Brokers`."""
        del node, request, group
        offset = self._records * len(self.polled_at)
        self.polled_at.append(asyncio.get_running_loop().time())
        batch = bytearray(seal([(b"k", b"v")] * self._records, ProducerIdentity(producer_id=1, producer_epoch=0), 0))
        struct.pack_into(">q", batch, 0, offset)
        return 0, [FetchedPartition(0, 0, (), bytes(batch))]


@pytest.mark.parametrize("records", [2, 900])
async def test_polls_begin_as_many_milliseconds_apart_as_each_brought_records_up_to_a_most(records: int) -> None:
    broker = Plenty(records)
    reader = KafkaReader(broker, TOPIC)
    reader.assign({0: 0})
    read = 0
    while len(broker.polled_at) < 20:
        for taken in (await reader.read(wait_ms=10_000, records_max=1_000)).values():
            assert [record.offset for record in taken] == list(range(read, read + len(taken)))
            read += len(taken)
    await reader.close()
    distances_ms = [(later - earlier) * 1000 for earlier, later in pairwise(broker.polled_at)]
    assert min(distances_ms) >= min(records, DISTANCE_MS_MAX) - 0.001
    if records > DISTANCE_MS_MAX:
        assert min(distances_ms) < records, "the shortest of nineteen, however busy the machine is"
