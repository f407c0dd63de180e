"""What the workers did, held against what the histories say: every result that counted has had its effect, nothing was done
that nobody asked for, and no activity ended twice.
"""

import json
from collections import Counter
from collections.abc import Collection, Iterable
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from aion_common.kafka.api import Log, LogRecord
from aion_common.kafka.reading import decode_learning, records_between
from aion_common.kafka.topics import Topics
from aion_common.records.events import (
    ActivityCompleted,
    ActivityFailed,
    ActivityRetried,
    ActivityScheduled,
    ActivityTimedOut,
    HistoryRecord,
    OwnerEpoch,
)


class Effect(NamedTuple):
    """`key`: the idempotency key; `result`: as JSON."""

    key: str
    attempt: int
    result: str


@dataclass(slots=True)
class Asked:
    """What the histories say of activities, as far as they were read. `tasks`: idempotency key and number of every attempt,
    and `ends`: how often it ended; `completed`: the results that the runs were given."""

    tasks: set[tuple[str, int]] = field(default_factory=set)
    ends: Counter[tuple[str, int]] = field(default_factory=Counter)
    completed: list[Effect] = field(default_factory=list)
    timed_out: Counter[str] = field(default_factory=Counter)
    _next: dict[int, int] = field(default_factory=dict)
    _epochs: dict[int, int] = field(default_factory=dict)

    async def read_on(self, log: Log, topics: Topics, partitions: int) -> None:
        """From where the last reading ended, to the present ends."""
        for partition in range(partitions):
            first, end = self._next.get(partition, 0), await log.end_offset(topics.history, partition)
            async with aclosing(records_between(log, topics.history, first, end, partition)) as portions:
                async for records in portions:
                    for read in records:
                        self._take(partition, read, await decode_learning(log, topics, read.value))
            self._next[partition] = end

    def _take(self, partition: int, read: LogRecord, record: object) -> None:
        if not isinstance(record, HistoryRecord):
            return
        if isinstance(record.event, OwnerEpoch):
            self._epochs[partition] = read.offset
        elif record.owner_epoch == self._epochs.get(partition):
            self.take(record.run_id, record.event)

    def take(self, run_id: str, event: object) -> None:
        """The next event of the run, which is not void."""
        match event:
            case ActivityScheduled(activity=number):
                self.tasks.add((f"{run_id}/{number}", 1))
            case ActivityRetried(activity=number, attempt=attempt):
                self.tasks.add((f"{run_id}/{number}", attempt))
            case ActivityCompleted(activity=number, attempt=attempt, result=result):
                self.ends[f"{run_id}/{number}", attempt] += 1
                told = None if result is None else json.loads(result.data)
                self.completed.append(Effect(f"{run_id}/{number}", attempt, json.dumps(told)))
            case ActivityFailed(activity=number, attempt=attempt):
                self.ends[f"{run_id}/{number}", attempt] += 1
            case ActivityTimedOut(activity=number, attempt=attempt, timeout=timeout):
                self.ends[f"{run_id}/{number}", attempt] += 1
                self.timed_out[timeout] += 1
            case _:
                pass

    def lost(self, effects: Collection[Effect]) -> list[str]:
        """Results that counted although nobody had them."""
        known = frozenset(effects)
        return [f"the effect of {told}" for told in self.completed if told not in known]

    def doubled(self, effects: Iterable[Effect]) -> list[str]:
        """Ends that were recorded twice, and effects of attempts that nobody asked for."""
        completed = Counter(told.key for told in self.completed)
        return [
            *(f"attempt {attempt} of {key} ended {times} times" for (key, attempt), times in self.ends.items() if times > 1),
            *(f"activity {key} was completed {times} times" for key, times in completed.items() if times > 1),
            *(f"{effect}, and nobody asked for it" for effect in effects if (effect.key, effect.attempt) not in self.tasks),
        ]


def effects_in(ledger: Path) -> list[Effect]:
    """All that the workers noted, in order."""
    lines = [json.loads(line) for line in ledger.read_text(encoding="utf-8").splitlines()] if ledger.exists() else []
    return [Effect(line["key"], line["attempt"], json.dumps(line["result"])) for line in lines]
