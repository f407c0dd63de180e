"""The command `aion-server check`: reads all histories and tells whether they keep the promises of ARCHITECTURE.md."""

import asyncio
import functools

from rich.console import Console

from aion_common.checking import Report, check_cluster
from aion_common.errors import AionError
from aion_common.kafka.client import connect
from aion_common.kafka.topics import Topics
from aion_common.service import Serve
from aion_common.settings import Settings

__all__ = ["Report", "check_and_tell", "check_cluster"]

SENTENCES_SHOWN_MAX = 20


def check_and_tell(console: Console) -> Serve:
    """The command `check` as a service for `aion_common.service.run`: ends by itself."""
    return functools.partial(_check_and_tell, console=console)


async def _check_and_tell(settings: Settings, stop: asyncio.Event, *, console: Console) -> None:
    log = await connect(settings.bootstrap)
    try:
        report = await check_cluster(log, Topics(settings.topic_prefix))
    finally:
        await log.close()
    console.print(
        f"{report.partitions} partitions, {report.runs} runs ({report.closed} closed), {report.events} events, "
        f"{report.void} void records",
        highlight=False,
    )
    if report.broken:
        raise AionError("; ".join(report.broken[:SENTENCES_SHOWN_MAX]) + f" ({len(report.broken)} broken promises in all)")
    console.print("every history keeps its promises", highlight=False)
