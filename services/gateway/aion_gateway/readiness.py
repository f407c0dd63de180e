"""Would a start work now? Every part that a start needs is asked, not remembered."""

import asyncio
from collections.abc import Mapping, Sequence

from aion_common.errors import Unavailable
from aion_common.kafka.api import Log
from aion_common.records.owners import Owner
from aion_gateway.owners import Owners, Readiness
from aion_gateway.replies import Replies


async def reasons_not_ready(log: Log, replies: Replies, owners: Owners, partitions: int) -> Sequence[str]:
    """Why a start may not work now, in sentences; empty: it will."""
    reasons = []
    if not replies.tail.is_positioned:
        reasons.append("answers are not read yet")
    try:
        await log.ping()
    except Unavailable as error:
        reasons.append(f"Kafka does not answer: {error}")
    known = {partition: owners.newest(partition) for partition in range(partitions)}
    executors = await _executors(owners, sorted({owner.address for owner in known.values() if owner is not None}))
    for partition, owner in known.items():
        reason = _reason(owner, executors)
        if reason is not None:
            reasons.append(f"partition {partition}: {reason}")
    return reasons


async def _executors(owners: Owners, addresses: Sequence[str]) -> Mapping[str, Readiness | None]:
    """What the executors say, all asked at once; None for one that does not answer."""

    async def ask(address: str) -> Readiness | None:
        try:
            return await owners.readiness(address)
        except Unavailable:
            return None

    async with asyncio.TaskGroup() as group:
        tasks = {address: group.create_task(ask(address), name=f"ready-{address}") for address in addresses}
    return {address: task.result() for address, task in tasks.items()}


def _reason(owner: Owner | None, executors: Mapping[str, Readiness | None]) -> str | None:
    if owner is None:
        return "nobody owns it yet"
    executor = executors[owner.address]
    if executor is None:
        return f"its owner {owner.member} at {owner.address} does not answer"
    claimed = executor.owned.get(str(owner.partition))
    if claimed is None:
        return f"{executor.member} at {owner.address} does not own it any more"
    if claimed != owner.owner_epoch:
        return f"{executor.member} owns it with epoch {claimed}, the newest one known is {owner.owner_epoch}"
    return None
