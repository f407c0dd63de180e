"""The executor process: everything it opens, in order, and closes, in reverse."""

import asyncio
from functools import partial

from aion_beam.host_build import build_host
from aion_beam.pool import PackageKey, VmPool
from aion_common.clock import SystemClock
from aion_common.cluster import join_cluster
from aion_common.http_server import listening, serve_http
from aion_common.kafka.api import Log, Sender
from aion_common.kafka.client import connect
from aion_common.kafka.topics import Topics
from aion_common.records.common import PackageRef
from aion_common.settings import Settings
from aion_executor.shell.executor import Executor
from aion_executor.shell.http import create_app
from aion_executor.shell.inputs import Inputs
from aion_executor.shell.ownership import Claimant, Stores
from aion_executor.shell.packages import PackageShelf
from aion_executor.shell.vms import PartitionVms, Switchboard
from aion_executor.store.behind import WriteBehind
from aion_executor.store.rocks import delete_rocks, open_rocks


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Own partitions until `stop` is set; then let go of them, and only when that is done stop to say that they are elsewhere.
    Raises WrongCluster, and Unavailable while nothing is owned yet."""
    log = await connect(settings.bootstrap)
    try:
        topics = Topics(settings.topic_prefix)
        created = await join_cluster(log, topics)
        sender = await log.sender()
        try:
            await _serve(settings, stop, log, Inputs(log, topics, created.partitions), sender)
        finally:
            await sender.close()
    finally:
        await log.close()


async def _serve(settings: Settings, stop: asyncio.Event, log: Log, inputs: Inputs, sender: Sender) -> None:
    topics = inputs.topics
    await inputs.queues.look()

    def find_ref(key: PackageKey) -> PackageRef | None:
        return executor.package_ref(key)

    def is_loaded(key: PackageKey) -> bool:
        return executor.package_ref(key) is not None

    switchboard = Switchboard()
    shelf = PackageShelf(log, topics, settings.data_dir / "packages", find_ref)
    pool = VmPool(await asyncio.to_thread(build_host), shelf, switchboard)
    claimant = Claimant(
        log=log,
        topics=topics,
        member=settings.executor_id,
        clock=SystemClock(),
        stores=Stores(open=lambda folder: WriteBehind(open_rocks(folder)), delete=delete_rocks),
        folder=settings.data_dir / "store",
    )
    with listening(settings.executor_http_host, settings.executor_http_port) as (listener, address):
        executor = Executor(
            claimant=claimant,
            address=address,
            session_ms=settings.session_timeout_ms,
            sender=sender,
            connect=partial(PartitionVms, pool, switchboard, is_loaded),
            inputs=inputs,
        )
        gone = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(serve_http(create_app(settings.executor_id, executor.owned), listener, gone), name="http")
            running = [
                tasks.create_task(pool.run(), name="vm pool"),
                tasks.create_task(inputs.run(), name="inputs"),
                tasks.create_task(executor.run(), name="ownership"),
            ]
            await stop.wait()
            for task in reversed(running):
                task.cancel()
                await asyncio.wait([task])
            gone.set()
