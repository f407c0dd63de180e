"""The topics of the system: one table, read by code, tests and deployment alike. Those of task queues are in `queues`.

`Topics` turns a prefix into full names, `wanted` turns the table into topics to create, `ensure` creates and checks
them. Nothing relies on a broker's own creation of topics or on its defaults.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from aion_common.errors import WrongCluster
from aion_common.kafka.api import Log, Topic

_HOUR_MS = 3_600_000
_FOR_EVER = MappingProxyType({"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1"})
_COMPACT = MappingProxyType({"cleanup.policy": "compact"})
ON_ALL = MappingProxyType(
    {
        # A foreign record with an old stamp would otherwise be deleted within minutes.
        "message.timestamp.type": "LogAppendTime",
        # Every batch stays below 1 MiB (limits.BATCH_BYTES_MAX), whatever the cluster's default is.
        "max.message.bytes": str(1024 * 1024 + 12),
        "unclean.leader.election.enable": "false",
    }
)
"""Settings of every topic, those of task queues included."""

_AT_LEAST = frozenset({"min.insync.replicas"})

DEAD_LETTER_PARTITIONS = 4

INGRESS_PARTITIONS = 16
"""Gateways divide them."""

REPLY_PARTITIONS = 16
"""Each gateway reads one of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicRule:
    """One line of the table. `partitions` None: as many as the cluster was created with."""

    noun: str
    partitions: int | None
    configs: Mapping[str, str]


TABLE = (
    TopicRule(noun="commands", partitions=None, configs=_FOR_EVER),
    TopicRule(noun="results", partitions=None, configs=_FOR_EVER),
    TopicRule(noun="history", partitions=None, configs=_FOR_EVER),
    TopicRule(
        noun="replies",
        partitions=REPLY_PARTITIONS,
        # Whole segments are deleted: with the default of 7 days an hour would last a week.
        configs={"cleanup.policy": "delete", "retention.ms": str(_HOUR_MS), "segment.ms": str(_HOUR_MS // 4)},
    ),
    # Workers that start read from its end on: what is older concerns nobody.
    TopicRule(noun="control", partitions=1, configs={"cleanup.policy": "delete", "retention.ms": str(24 * _HOUR_MS)}),
    TopicRule(
        noun="ingress",
        partitions=INGRESS_PARTITIONS,
        configs={
            "cleanup.policy": "delete",
            # Shorter by far than answers are kept: whatever is forwarded again is told as a repeat (limits.ANSWERS_KEPT_MS).
            "retention.ms": str(7 * 24 * _HOUR_MS),
            "segment.ms": str(24 * _HOUR_MS),
            # Foreign producers compress as they like. The broker undoes it: a fetch holds no more than the bytes it has.
            "compression.type": "uncompressed",
        },
    ),
    TopicRule(
        noun="deadletter",
        partitions=DEAD_LETTER_PARTITIONS,
        configs={"cleanup.policy": "delete", "retention.ms": str(30 * 24 * _HOUR_MS)},
    ),
    TopicRule(noun="catalog.commands", partitions=1, configs=_FOR_EVER),
    TopicRule(noun="catalog", partitions=1, configs=_FOR_EVER),
    TopicRule(noun="routes", partitions=1, configs=_COMPACT),
    TopicRule(noun="packages", partitions=1, configs=_COMPACT),
    TopicRule(noun="owners", partitions=1, configs=_COMPACT),
    TopicRule(noun="schemas", partitions=1, configs=_COMPACT),
)


def tasks_noun(queue: str) -> str:
    """The topic of a task queue, without the cluster's prefix."""
    return f"tasks.{queue}"


@dataclass(frozen=True, slots=True)
class Topics:
    """Full names of the topics under one prefix, which ends with its own separator (`aion.`)."""

    prefix: str

    @property
    def commands(self) -> str:
        """Wishes for runs, and the catalog's markers."""
        return f"{self.prefix}commands"

    @property
    def history(self) -> str:
        """The truth."""
        return f"{self.prefix}history"

    @property
    def results(self) -> str:
        """What workers report."""
        return f"{self.prefix}results"

    @property
    def control(self) -> str:
        """Cancellation of activities, read by all workers."""
        return f"{self.prefix}control"

    def tasks(self, queue: str) -> str:
        """Tasks for the workers of a queue."""
        return self.prefix + tasks_noun(queue)

    @property
    def replies(self) -> str:
        """Answers to commands."""
        return f"{self.prefix}replies"

    @property
    def ingress(self) -> str:
        """Wishes that foreign producers write; gateways forward them."""
        return f"{self.prefix}ingress"

    @property
    def deadletter(self) -> str:
        """Copies of records that could not be used."""
        return f"{self.prefix}deadletter"

    @property
    def catalog_commands(self) -> str:
        """Wishes for the catalog."""
        return f"{self.prefix}catalog.commands"

    @property
    def catalog(self) -> str:
        """The cluster's creation, then the catalog's history."""
        return f"{self.prefix}catalog"

    @property
    def routes(self) -> str:
        """Which version new starts of a type run on."""
        return f"{self.prefix}routes"

    @property
    def packages(self) -> str:
        """Archives in chunks, and their manifests."""
        return f"{self.prefix}packages"

    @property
    def owners(self) -> str:
        """Who owns a partition, and where."""
        return f"{self.prefix}owners"

    @property
    def schemas(self) -> str:
        """Avro schemas by fingerprint."""
        return f"{self.prefix}schemas"


def wanted(topics: Topics, *, partitions: int, replication: int, insync_min: int) -> tuple[Topic, ...]:
    """The whole table under this prefix. `partitions`: of commands and history; `insync_min`: `min.insync.replicas`."""
    on_all = {**ON_ALL, "min.insync.replicas": str(insync_min)}
    return tuple(
        Topic(
            name=f"{topics.prefix}{rule.noun}",
            partitions=partitions if rule.partitions is None else rule.partitions,
            replication=replication,
            configs={**on_all, **rule.configs},
        )
        for rule in TABLE
    )


def differences(wanted_topic: Topic, found: Topic) -> tuple[str, ...]:
    """What of a topic is not as wanted, in sentences. More replicas than wanted, in sync or at all, are not a fault."""
    name = wanted_topic.name
    sentences = []
    if found.partitions != wanted_topic.partitions:
        sentences.append(f"{name} has {found.partitions} partitions instead of {wanted_topic.partitions}")
    if found.replication < wanted_topic.replication:
        sentences.append(f"{name} has {found.replication} replicas instead of {wanted_topic.replication}")
    for key, value in wanted_topic.configs.items():
        there = found.configs.get(key)
        enough = there is not None and key in _AT_LEAST and int(there) >= int(value)
        if there != value and not enough:
            sentences.append(f"{name} has {key}={there} instead of {value}")
    return tuple(sentences)


async def ensure(log: Log, topics: tuple[Topic, ...]) -> None:
    """Create what is missing and compare all with what is wanted. A repeat is harmless. Raises WrongCluster, naming every
    difference (nothing that exists is ever altered), and Unavailable."""
    await log.create_topics(topics)
    found = await log.describe_topics([topic.name for topic in topics])
    sentences: list[str] = []
    for topic in topics:
        there = found.get(topic.name)
        sentences.extend([f"{topic.name} is missing"] if there is None else differences(topic, there))
    if sentences:
        raise WrongCluster("; ".join(sentences))
