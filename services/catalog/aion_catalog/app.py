"""The catalog as a process: connects, verifies the cluster, and works whenever it is elected.

Any number of instances may run; one works, the others stand by. All state is in the topics: nothing is kept on disk.
"""

import asyncio
import functools

from aion_beam.check import check_modules
from aion_beam.host_build import build_host
from aion_catalog.shell.loop import Surroundings, serve_until
from aion_catalog.shell.packages import LoadModules, check_package
from aion_common.clock import SystemClock
from aion_common.cluster import join_cluster
from aion_common.kafka.api import Log
from aion_common.kafka.client import connect
from aion_common.kafka.topics import Topics
from aion_common.settings import Settings


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Run the catalog until `stop` is set. Raises WrongCluster, Unavailable (at start) and whatever ends it for good."""
    host = await asyncio.to_thread(build_host)
    log = await connect(settings.bootstrap)
    try:
        around = await surroundings_of(log, Topics(settings.topic_prefix), functools.partial(check_modules, host))
        await serve_until(stop, around, member_id=settings.catalog_id, session_ms=settings.session_timeout_ms)
    finally:
        await log.close()


async def surroundings_of(log: Log, topics: Topics, load_modules: LoadModules) -> Surroundings:
    """What terms work with on this cluster, after verifying that it is the one that was set up. Raises WrongCluster."""
    return Surroundings(
        log=log,
        topics=topics,
        cluster=await join_cluster(log, topics),
        clock=SystemClock(),
        check=functools.partial(check_package, log, topics, load_modules),
    )
