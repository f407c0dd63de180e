"""A steady load on one topic of three partitions, and what it was told: one sender, one owner, one catalog, one reader.

Each writer begins anew after a failure, as services do, and with another value: of what failed nothing is known.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from itertools import count

from aion_common.errors import AionError
from aion_common.kafka.api import Log, Write
from support import committed, eventually, paced

SENT, OWNED, FLIPPED = 0, 1, 2
"""The partition of the sender, of the owner, and one that only the catalog's transactions write, beside that of the sender."""

EVERY_MS = 20


class Load:
    """`acknowledged`: by partition, in order. `failures`: what writers were told instead."""

    def __init__(self, log: Log, topic: str) -> None:
        self.acknowledged: dict[int, list[bytes]] = {SENT: [], OWNED: [], FLIPPED: []}
        self.failures: list[str] = []
        self._log = log
        self._topic = topic
        self._done = asyncio.Event()
        self._read: dict[int, list[bytes | None]] = {SENT: [], OWNED: [], FLIPPED: []}

    async def more(self, number: int) -> None:
        """Wait until each writer has so many more acknowledgements."""
        wanted = {partition: len(values) + number for partition, values in self.acknowledged.items()}
        await eventually(
            lambda: all(len(values) >= wanted[partition] for partition, values in self.acknowledged.items()), within_s=60
        )

    async def judge(self) -> None:
        """Everything acknowledged is there once, in its order, and the reader saw what is there."""
        for partition, acknowledged in self.acknowledged.items():
            there = [record.value for record in await committed(self._log, self._topic, partition)]
            assert self._read[partition] == there, "the reader saw something else"
            assert len(there) == len(set(there)), "doubled"
            mine = set(acknowledged)
            assert [value for value in there if value in mine] == acknowledged, "lost, or in another order"

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Write and read; at the end write no more, and read all there is."""
        async with asyncio.TaskGroup() as tasks:
            writers = [tasks.create_task(write()) for write in (self._send, self._own, self._flip)]
            reading = tasks.create_task(self._follow())
            try:
                yield
            finally:
                self._done.set()
            await asyncio.wait(writers)
            await eventually(self._is_read, within_s=60)
            reading.cancel()

    async def _is_read(self) -> bool:
        there = [len(await committed(self._log, self._topic, partition)) for partition in self._read]
        return there == [len(values) for values in self._read.values()]

    async def _follow(self) -> None:
        reader = await self._log.reader(self._topic)
        try:
            reader.assign(dict.fromkeys(self._read, 0))
            while True:
                for partition, records in (await reader.read(wait_ms=100, records_max=100)).items():
                    self._read[partition].extend(record.value for record in records)
        finally:
            await reader.close()

    async def _send(self) -> None:
        sender = await self._log.sender()
        try:
            async for number in self._numbers():
                value = b"sent %d" % number
                with self._told():
                    await sender.send(self._topic, SENT, [(None, value)])
                    self.acknowledged[SENT].append(value)
        finally:
            await sender.close()

    async def _own(self) -> None:
        while not self._done.is_set():
            with self._told():
                identity = await self._log.claim("owner")
                owner = await self._log.fenced_appender(self._topic, OWNED, identity)
                try:
                    async for number in self._numbers():
                        value = b"owned %d %d" % (identity.producer_epoch, number)
                        await owner.append([(None, value)])
                        self.acknowledged[OWNED].append(value)
                finally:
                    await owner.close()

    async def _flip(self) -> None:
        while not self._done.is_set():
            with self._told():
                catalog = await self._log.transactional_producer("catalog")
                try:
                    async for number in self._numbers():
                        value = b"flipped %d %d" % (catalog.identity.producer_epoch, number)
                        places = (SENT, FLIPPED)
                        await catalog.commit([Write(topic=self._topic, partition=to, key=None, value=value) for to in places])
                        self.acknowledged[FLIPPED].append(value)
                finally:
                    await catalog.close()

    async def _numbers(self) -> AsyncIterator[int]:
        async for number in paced(count(), every_ms=EVERY_MS):
            if self._done.is_set():
                return
            yield number

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except AionError as error:
            self.failures.append(repr(error))
