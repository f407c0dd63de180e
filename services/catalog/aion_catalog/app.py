"""The catalog as a process: connects, verifies the cluster, and works whenever it is elected.

Any number of instances may run; one works, the others stand by. All state is in the topics: nothing is kept on disk.
"""

import asyncio
import functools

from starlette.applications import Starlette

from aion_beam.check import check_modules
from aion_beam.host_build import build_host
from aion_catalog.shell.loop import Surroundings, serve_until
from aion_catalog.shell.packages import LoadModules, check_package
from aion_common.clock import SystemClock
from aion_common.cluster import join_cluster
from aion_common.exposition import telemetry_routes
from aion_common.http_server import listening, serve_http
from aion_common.kafka.api import Log
from aion_common.kafka.client import connect
from aion_common.kafka.partitioner import partition_of
from aion_common.kafka.topics import REPLY_PARTITIONS, Topics
from aion_common.settings import Settings


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Run the catalog until `stop` is set. Raises WrongCluster, Unavailable (at start) and whatever ends it for good."""
    host = await asyncio.to_thread(build_host)
    log = await connect(settings.bootstrap)
    try:
        load_modules = functools.partial(check_modules, host)
        around = await surroundings_of(log, Topics(settings.topic_prefix), settings.catalog_id, load_modules)
        with listening(settings.catalog_http_host, settings.catalog_http_port) as (listener, _):
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(serve_http(Starlette(routes=telemetry_routes()), listener, stop), name="http")
                await serve_until(stop, around, member_id=settings.catalog_id, session_ms=settings.session_timeout_ms)
    finally:
        await log.close()


async def surroundings_of(log: Log, topics: Topics, catalog_id: str, load_modules: LoadModules) -> Surroundings:
    """What terms work with on this cluster, after verifying that it is the one that was set up. Raises WrongCluster."""
    return Surroundings(
        log=log,
        topics=topics,
        cluster=await join_cluster(log, topics),
        clock=SystemClock(),
        check=functools.partial(check_package, log, topics, load_modules),
        reply_partition=partition_of(catalog_id.encode(), REPLY_PARTITIONS),
    )
