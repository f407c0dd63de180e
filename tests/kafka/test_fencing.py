"""Fencing by a real broker, seen by a producer that is not ours, and under load."""

import asyncio

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import ProducerFenced

from aion_common.errors import Fenced
from aion_common.kafka.api import PRODUCER_EPOCH_MAX, FencedAppender, Log, ProducerIdentity
from aion_common.kafka.topics import Topics
from support import committed, eventually


async def owner(log: Log, topic: str, transactional_id: str = "executor.0") -> FencedAppender:
    """Claim, and an appender with what was claimed."""
    return await log.fenced_appender(topic, 0, await log.claim(transactional_id))


async def test_an_old_owner_is_refused_after_the_new_owner_epoch_only(kafka_log: Log, topic_prefix: str) -> None:
    history = Topics(topic_prefix).history
    old = await owner(kafka_log, history)
    await old.append([(b"", b"OwnerEpoch 1")])
    new = await owner(kafka_log, history)
    assert new.identity.producer_epoch == old.identity.producer_epoch + 1
    await old.append([(b"", b"late, but before the new owner")])
    appended = await new.append([(b"", b"OwnerEpoch 2")])
    with pytest.raises(Fenced):
        await old.append([(b"", b"zombie")])
    assert await kafka_log.end_offset(history, 0) == appended.base_offset + 1
    await old.close()
    await new.close()


async def test_an_old_owner_is_refused_when_the_new_one_has_another_producer_id(kafka_log: Log, topic_prefix: str) -> None:
    history = Topics(topic_prefix).history
    old = await owner(kafka_log, history, f"{topic_prefix}forgotten")
    await old.append([(b"", b"OwnerEpoch 1")])
    claimed = await kafka_log.claim(f"{topic_prefix}as after seven days")
    highest = ProducerIdentity(producer_id=old.identity.producer_id, producer_epoch=PRODUCER_EPOCH_MAX)
    fence = await kafka_log.fenced_appender(history, 0, highest)
    await fence.append([(b"", b"Progress")])
    await fence.close()
    new = await kafka_log.fenced_appender(history, 0, claimed)
    await new.append([(b"", b"OwnerEpoch 2")])
    with pytest.raises(Fenced):
        await old.append([(b"", b"zombie")])
    await old.close()
    await new.close()
    values = [r.value for r in await committed(kafka_log, history, 0)]
    assert values == [b"OwnerEpoch 1", b"Progress", b"OwnerEpoch 2"]


async def test_a_zombie_with_an_independent_client_is_refused(kafka_log: Log, topic_prefix: str, broker_bootstrap: str) -> None:
    history = Topics(topic_prefix).history
    zombie = AIOKafkaProducer(bootstrap_servers=broker_bootstrap, enable_idempotence=True)
    identity = await kafka_log.claim(f"{topic_prefix}executor.0")
    zombie._txn_manager.set_pid_and_epoch(identity.producer_id, identity.producer_epoch)
    await zombie.start()
    await zombie.send_and_wait(history, b"OwnerEpoch 1", partition=0)
    new = await owner(kafka_log, history, f"{topic_prefix}executor.0")
    await new.append([(b"", b"OwnerEpoch 2")])
    with pytest.raises(ProducerFenced):
        await zombie.send_and_wait(history, b"zombie", partition=0)
    await zombie.stop()
    await new.close()


async def test_no_append_of_an_old_owner_lands_behind_the_new_owner_epoch(kafka_log: Log, topic_prefix: str) -> None:
    history = Topics(topic_prefix).history
    transactional_id = f"{topic_prefix}executor.0"

    async def work(appender: FencedAppender, epoch: int) -> None:
        """Append until refused."""
        try:
            while True:
                await appender.append([(b"", b"%d" % epoch), (b"", b"%d" % epoch)])
        except Fenced:
            await appender.close()

    async with asyncio.TaskGroup() as owners:
        for epoch in range(20):
            appender = await owner(kafka_log, history, transactional_id)
            await appender.append([(b"", b"%d" % epoch)])
            owners.create_task(work(appender, epoch))
            await appended_some(kafka_log, history)
        last = await owner(kafka_log, history, transactional_id)
        await last.append([(b"", b"20")])
        await last.close()
    epochs = [int(r.value or b"") for r in await committed(kafka_log, history, 0)]
    assert epochs == sorted(epochs)
    assert set(epochs) == set(range(21))
    assert len(epochs) > 100


async def appended_some(log: Log, topic: str) -> None:
    """Returns when a few records more are in the partition."""
    before = await log.end_offset(topic, 0)

    async def is_longer() -> bool:
        return await log.end_offset(topic, 0) >= before + 10

    await eventually(is_longer)
