"""Answers to this gateway's commands: one partition of `aion.replies`, read from its end, matched by command id.

Answers may come more than once, and answers to other gateways' commands may stand in the same partition; what nobody
waits for is passed over. Whoever sends a command begins to expect its answer before: no answer can be missed.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Never

from aion_common.errors import AionError
from aion_common.ids import CommandId
from aion_common.kafka.api import Log
from aion_common.kafka.partitioner import partition_of
from aion_common.kafka.topics import REPLY_PARTITIONS, Topics
from aion_common.metrics import ANSWERS_AWAITED
from aion_common.records.replies import Answer, Reply
from aion_gateway.tail import Place, Tail


class KeyReused(AionError):
    """The idempotency key belongs to another call: the answer under its command id answers that one."""


@dataclass(slots=True, kw_only=True)
class _Expected:
    """Calls that wait for the same answer. `subject`: what the command is about, the same for every repeat of a call."""

    subject: tuple[str, ...]
    answer: asyncio.Future[Answer]
    waiting: int = field(default=0)


class Replies:
    """The answers that are waited for now. `partition` goes into the commands as their reply partition."""

    def __init__(self, log: Log, topics: Topics, gateway_id: str) -> None:
        self.partition = partition_of(gateway_id.encode(), REPLY_PARTITIONS)
        self._expected: dict[CommandId, _Expected] = {}
        place = Place(topic=topics.replies, partition=self.partition, from_end=True)
        self.tail = Tail(log, topics, place, self._take)

    async def run(self) -> Never:
        """Read answers until cancelled."""
        await self.tail.run()

    @contextmanager
    def expecting(self, command_id: CommandId, subject: tuple[str, ...]) -> Iterator[asyncio.Future[Answer]]:
        """The future answer of a command that is about to be sent, shared with whoever waits for the same one already.
        Await it under `asyncio.shield`. Raises KeyReused when those wait for the answer of a call about something else."""
        expected = self._expected.get(command_id)
        if expected is None:
            expected = _Expected(subject=subject, answer=asyncio.get_running_loop().create_future())
            self._expected[command_id] = expected
            ANSWERS_AWAITED.inc()
        if expected.subject != subject:
            raise KeyReused("another call with this key is being served now")
        expected.waiting += 1
        try:
            yield expected.answer
        finally:
            expected.waiting -= 1
            if not expected.waiting and self._expected.get(command_id) is expected:
                del self._expected[command_id]
                ANSWERS_AWAITED.dec()

    def _take(self, record: object) -> None:
        if isinstance(record, Reply):
            expected = self._expected.pop(record.command_id, None)
            if expected is not None:
                ANSWERS_AWAITED.dec()
                if not expected.answer.done():
                    expected.answer.set_result(record.answer)
