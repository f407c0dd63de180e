"""Task queues over HTTP: created once, listed by every gateway, refused with the field that is wrong."""

import asyncio

import pytest

from aion_common.kafka import queues
from aion_common.kafka.api import Log, Topic
from aion_common.kafka.queues import QUEUE_PARTITIONS_MAX
from aion_common.kafka.topics import Topics
from gateway.scripted import Executors
from gateway.world import PARTITIONS, TOPICS, serving, surroundings, world, world_around


async def test_a_queue_is_created_once_and_listed_everywhere() -> None:
    async with world() as w, serving(surroundings(w.log, w.executors)) as (_, other):
        first = await w.http.post("/v1/queues", json={"name": "mail"}, headers={"Idempotency-Key": "key"})
        assert (first.status_code, first.json()) == (201, {"name": "mail", "partitions": PARTITIONS, "created": True})
        assert first.headers["Idempotency-Key"] == "key"
        again = await other.post("/v1/queues", json={"name": "mail"}, headers={"Idempotency-Key": "key"})
        assert (again.status_code, again.json()) == (200, {"name": "mail", "partitions": PARTITIONS, "created": False})
        small = await w.http.post("/v1/queues", json={"name": "a-b_9", "partitions": 1})
        assert (small.status_code, small.json()["partitions"]) == (201, 1)
        listed = (await other.get("/v1/queues")).json()
        assert listed == {"queues": [{"name": "a-b_9", "partitions": 1}, {"name": "mail", "partitions": PARTITIONS}]}


async def test_a_queue_with_other_partitions_is_not_the_one_asked_for() -> None:
    async with world() as w:
        await w.http.post("/v1/queues", json={"name": "mail", "partitions": 2})
        answer = await w.http.post("/v1/queues", json={"name": "mail", "partitions": 4})
        assert (answer.status_code, answer.json()["code"], answer.json()["partitions"]) == (409, "queue_exists", 2)
        assert "test.tasks.mail has 2 partitions instead of 4" in answer.json()["detail"]
        unasked = await w.http.post("/v1/queues", json={"name": "mail"})
        assert (unasked.status_code, unasked.json()["partitions"]) == (200, 2)
        assert (await w.http.get("/v1/queues")).json() == {"queues": [{"name": "mail", "partitions": 2}]}


async def test_a_topic_that_somebody_else_made_is_refused_saying_why() -> None:
    async with world() as w:
        await w.log.create_topics([Topic(name=TOPICS.tasks("mail"), partitions=PARTITIONS, replication=1)])
        answer = await w.http.post("/v1/queues", json={"name": "mail"})
        assert (answer.status_code, answer.json()["code"]) == (409, "queue_exists")
        assert "retention.ms=None instead of" in answer.json()["detail"]


async def test_a_queue_over_the_limit_is_refused_and_those_there_are_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queues, "QUEUES_MAX", 1)
    async with world() as w:
        assert (await w.http.post("/v1/queues", json={"name": "mail"})).status_code == 201
        answer = await w.http.post("/v1/queues", json={"name": "reports"})
        assert (answer.status_code, answer.json()["code"], answer.json()["limit"]) == (409, "limit_exceeded", 1)
        assert "at most 1 task queues" in answer.json()["detail"]
        assert (await w.http.post("/v1/queues", json={"name": "mail"})).status_code == 200
        assert len((await w.http.get("/v1/queues")).json()["queues"]) == 1


async def test_topics_that_are_no_queues_are_not_listed() -> None:
    async with world() as w:
        for name in ("test.tasks.", "test.tasks.other.commands", "test.tasksmail", "other.tasks.mail"):
            await w.log.create_topics([Topic(name=name, partitions=1, replication=1)])
        assert (await w.http.get("/v1/queues")).json() == {"queues": []}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "name"),
        ({"name": ""}, "name"),
        ({"name": "Mail"}, "name"),
        ({"name": "-mail"}, "name"),
        ({"name": "mail\n"}, "name"),
        ({"name": "a.b"}, "name"),
        ({"name": "m" * 64}, "name"),
        ({"name": 7}, "name"),
        ({"name": "mail", "partitions": 0}, "partitions"),
        ({"name": "mail", "partitions": QUEUE_PARTITIONS_MAX + 1}, "partitions"),
        ({"name": "mail", "partitions": "2"}, "partitions"),
        ({"name": "mail", "partitions": True}, "partitions"),
        ({"name": "mail", "retention": 1}, "retention"),
    ],
)
async def test_what_is_no_queue_is_refused_naming_the_field(body: dict[str, object], field: str) -> None:
    async with world() as w:
        before = set(w.cluster.topics)
        answer = await w.http.post("/v1/queues", json=body)
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_argument")
        assert answer.json()["field"].startswith(field)
        assert set(w.cluster.topics) == before


async def test_queues_have_no_namespace() -> None:
    async with world() as w:
        for call in (w.http.post("/v1/queues?namespace=shop", json={"name": "mail"}), w.http.get("/v1/queues?namespace=shop")):
            answer = await call
            assert (answer.status_code, answer.json()["field"]) == (400, "namespace")


async def test_without_kafka_the_outcome_is_unknown_and_a_repeat_safe() -> None:
    async with world() as w:
        w.cluster.reachable = False
        answer = await w.http.post("/v1/queues", json={"name": "mail"}, headers={"Idempotency-Key": "key"})
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        assert answer.json()["idempotency_key"] == "key"
        assert (await w.http.get("/v1/queues")).status_code == 503
        w.cluster.reachable = True
        assert (await w.http.post("/v1/queues", json={"name": "mail"})).status_code == 201


async def test_on_real_brokers_a_queue_is_there_when_it_is_answered(kafka_log: Log, topic_prefix: str) -> None:
    topics, executors = Topics(topic_prefix), Executors()
    async with world_around(surroundings(kafka_log, executors, topics), executors) as w:
        calls = (w.http.post("/v1/queues", json={"name": "mail", "partitions": 2}) for _ in range(4))
        answers = await asyncio.gather(*calls)
        assert {answer.status_code for answer in answers} <= {200, 201}
        assert 201 in {answer.status_code for answer in answers}
        (described,) = (await kafka_log.describe_topics([topics.tasks("mail")])).values()
        assert (described.partitions, described.replication) == (2, 1)
        assert described.configs["cleanup.policy"] == "delete"
        assert described.configs["retention.ms"] == str(14 * 24 * 3_600_000)
        assert described.configs["message.timestamp.type"] == "LogAppendTime"
        assert (await w.http.get("/v1/queues")).json() == {"queues": [{"name": "mail", "partitions": 2}]}
        other = await w.http.post("/v1/queues", json={"name": "mail", "partitions": 3})
        assert (other.status_code, other.json()["partitions"]) == (409, 2)
