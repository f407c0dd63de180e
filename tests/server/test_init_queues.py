"""Task queues of `aion-server init`: there is always `default`, repeats are harmless, what differs is named."""

import asyncio
import sys

import pytest

from aion_common.clock import SystemClock
from aion_common.errors import Unavailable, WrongCluster
from aion_common.kafka import queues as kafka_queues
from aion_common.kafka.api import Log
from aion_common.kafka.client import connect
from aion_common.kafka.queues import QueueDiffers, TooManyQueues, ensure_queue, queues_of
from aion_common.kafka.topics import Topics
from aion_common.settings import Settings
from aion_common.testing.memory_cluster import MemoryCluster
from aion_common.testing.memory_log import MemoryLog
from aion_server.init import create

TOPICS = Topics("aion.")
CLOCK = SystemClock()


def asked(queues: str = "", **settings: object) -> Settings:
    given = {"queues": queues} if queues else {}
    return Settings(partitions=4, **given, **settings)  # type: ignore[arg-type]


async def queues(log: Log) -> dict[str, int]:
    return dict(await queues_of(log, TOPICS))


async def test_a_new_cluster_has_the_default_queue_and_those_asked_for() -> None:
    log = MemoryLog()
    await create(log, asked("mail,reports:2", replication=3), CLOCK)
    assert await queues(log) == {"default": 4, "mail": 4, "reports": 2}
    topic = log.cluster.topics[TOPICS.tasks("reports")]
    assert topic.replication == 3
    assert topic.configs == {
        "cleanup.policy": "delete",
        "retention.ms": "1209600000",
        "min.insync.replicas": "2",
        "message.timestamp.type": "LogAppendTime",
        "max.message.bytes": "1048588",
        "unclean.leader.election.enable": "false",
    }


async def test_a_repeat_changes_nothing_and_may_name_more() -> None:
    log = MemoryLog()
    await create(log, asked("reports:2"), CLOCK)
    await create(log, asked(), CLOCK)
    await create(log, asked("reports,mail"), CLOCK)
    assert await queues(log) == {"default": 4, "mail": 4, "reports": 2}


async def test_the_default_queue_may_have_partitions_of_its_own() -> None:
    log = MemoryLog()
    await create(log, asked("default:1"), CLOCK)
    await create(log, asked(), CLOCK)
    assert await queues(log) == {"default": 1}


async def test_a_queue_that_is_otherwise_is_refused_naming_both() -> None:
    log = MemoryLog()
    await create(log, asked("reports:2"), CLOCK)
    with pytest.raises(WrongCluster, match=r"aion\.tasks\.reports has 2 partitions instead of 3"):
        await create(log, asked("reports:3"), CLOCK)
    with pytest.raises(QueueDiffers) as refused:
        await ensure_queue(log, TOPICS, "reports", 5)
    assert refused.value.partitions == 2


async def test_a_cluster_has_only_so_many_queues(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka_queues, "QUEUES_MAX", 2)
    log = MemoryLog()
    with pytest.raises(TooManyQueues, match="at most 2 task queues"):
        await create(log, asked("mail,reports"), CLOCK)
    assert await queues(log) == {"default": 4, "mail": 4}
    await create(log, asked("mail"), CLOCK)
    assert not (await ensure_queue(log, TOPICS, "mail")).created


async def test_an_init_that_broke_off_before_its_queues_is_repeated() -> None:
    log = MemoryLog()
    await create(log, asked(), CLOCK)
    del log.cluster.topics[TOPICS.tasks("default")]
    await create(log, asked(), CLOCK)
    assert await queues(log) == {"default": 4}


async def test_queues_need_a_cluster() -> None:
    with pytest.raises(WrongCluster, match="run `aion-server init` first"):
        await ensure_queue(MemoryLog(), TOPICS, "mail")
    log = MemoryLog()
    log.cluster.reachable = False
    with pytest.raises(Unavailable):
        await ensure_queue(log, TOPICS, "mail")


async def test_who_creates_a_queue_at_the_same_time_as_another_gets_the_same_one() -> None:
    cluster = MemoryCluster()
    await create(MemoryLog(cluster), asked(), CLOCK)
    made = await asyncio.gather(*(ensure_queue(MemoryLog(cluster), TOPICS, "mail", size) for size in (None, 4, None)))
    assert {queue.partitions for queue in made} == {4}


async def test_the_program_creates_queues_on_real_brokers_and_says_so(broker_bootstrap: str, topic_prefix: str) -> None:
    command = [sys.executable, "-m", "aion_server", "init", "--bootstrap", broker_bootstrap, "--topic-prefix", topic_prefix]
    for queue in ("mail", "reports:3"):
        command += ["--queue", queue]
    for partitions in (["--partitions", "2"], []):
        program = await asyncio.create_subprocess_exec(*command, *partitions, stdout=asyncio.subprocess.PIPE)
        out, _ = await program.communicate()
        assert program.returncode == 0
        assert "task queues default, mail, reports" in out.decode()
    log = await connect(broker_bootstrap)
    try:
        assert dict(await queues_of(log, Topics(topic_prefix))) == {"default": 2, "mail": 2, "reports": 3}
    finally:
        await log.close()


async def test_the_program_refuses_a_bad_name_naming_the_setting() -> None:
    command = [sys.executable, "-m", "aion_server", "init", "--queue", "Mail"]
    program = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    _, err = await program.communicate()
    assert program.returncode == 2
    assert "setting queues (AION_QUEUES)" in err.decode()
    assert "'Mail'" in err.decode()
