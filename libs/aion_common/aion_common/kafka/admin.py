"""Creating topics and looking at them. Nothing that exists is ever altered (Kafka's old way to alter replaces all)."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from aiokafka.admin.config_resource import ConfigResourceType
from aiokafka.protocol.admin import CreateTopicsRequest, DeleteRecordsRequest, DescribeConfigsRequest
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.structs import TopicPartition

from aion_common import limits
from aion_common.kafka.api import Topic
from aion_common.kafka.brokers import Brokers, Retry
from aion_common.kafka.connection import TOPIC_ALREADY_EXISTS, check, leader_of

_UNKNOWN_TOPIC = 3
_BROKER_MARGIN_MS = 1_000
"""The broker gives up waiting for replicas so much before its client gives the connection up."""


async def create_topics(client: Brokers, topics: Sequence[Topic]) -> None:
    """One attempt; what exists is left alone. Raises Retry, Unavailable with the broker's reason."""
    wanted: list[tuple[Any, ...]] = [
        (topic.name, topic.partitions, topic.replication, [], list(topic.configs.items())) for topic in topics
    ]
    request = CreateTopicsRequest(create_topic_requests=wanted, timeout=limits.KAFKA_REQUEST_MS, validate_only=False)
    response = await client.send(client.picture.controller, request)
    for entry in response.to_object()["topic_errors"]:
        if entry["error_code"] != TOPIC_ALREADY_EXISTS:
            check(entry["error_code"], f"creation of {entry['topic']} ({entry.get('error_message')})")


async def delete_records(client: Brokers, place: TopicPartition, before_offset: int) -> None:
    """One attempt. Raises Retry, Unavailable."""
    request = DeleteRecordsRequest(
        [(place.topic, [(place.partition, before_offset)])], limits.KAFKA_REQUEST_MS - _BROKER_MARGIN_MS
    )
    response = await client.send(await leader_of(client, place), request)
    for topic in response.to_object()["topics"]:
        for entry in topic["partitions"]:
            check(entry["error_code"], f"deletion in {place.topic}/{place.partition} before {before_offset}")


async def describe_topics(client: Brokers, names: Collection[str]) -> Mapping[str, Topic]:
    """Those that exist, each with all its settings. Raises Retry while one has no leader yet, and Unavailable."""
    if not names:
        return {}
    response = await client.any_answer(MetadataRequest(sorted(names), allow_auto_topic_creation=False))
    shapes: dict[str, tuple[int, int]] = {}
    for entry in response.to_object()["topics"]:
        if entry["error_code"] == _UNKNOWN_TOPIC:
            continue
        check(entry["error_code"], f"description of {entry['topic']}")
        for partition in entry["partitions"]:
            check(partition["error_code"], f"description of {entry['topic']}/{partition['partition']}")
        shapes[entry["topic"]] = len(entry["partitions"]), min(len(each["replicas"]) for each in entry["partitions"])
    configs = await _configs(client, sorted(shapes))
    return {
        name: Topic(name=name, partitions=partitions, replication=replication, configs=configs[name])
        for name, (partitions, replication) in shapes.items()
    }


async def topics_beginning(client: Brokers, name: str) -> Mapping[str, int]:
    """Names and numbers of partitions, as far as they are known. Raises Retry."""
    # No list at all asks for every topic; an empty one for none.
    response = await client.any_answer(MetadataRequest(None, allow_auto_topic_creation=False))
    named = (entry for entry in response.to_object()["topics"] if entry["topic"].startswith(name))
    return {entry["topic"]: len(entry["partitions"]) for entry in named if entry["partitions"]}


async def all_there(client: Brokers, names: Collection[str]) -> None:
    """Raises Retry while a topic is missing or one of its partitions has no leader."""
    missing = set(names) - set(await describe_topics(client, names))
    if missing:
        raise Retry(f"{', '.join(sorted(missing))} not there yet")


async def _configs(client: Brokers, names: Sequence[str]) -> Mapping[str, Mapping[str, str]]:
    if not names:
        return {}
    request = DescribeConfigsRequest([(ConfigResourceType.TOPIC, name, None) for name in names])
    response = await client.any_answer(request)
    configs: dict[str, Mapping[str, str]] = {}
    for entry in response.to_object()["resources"]:
        check(entry["error_code"], f"settings of {entry['resource_name']}")
        configs[entry["resource_name"]] = {each["config_names"]: each["config_value"] for each in entry["config_entries"]}
    return configs
