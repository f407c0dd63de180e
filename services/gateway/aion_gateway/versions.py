"""Which versions are loaded and routed: this gateway's own fold of `aion.catalog`.

Read to the end of the topic before every answer, so that whoever deployed something sees it in the next listing, whichever
gateway is asked.
"""

import asyncio
from dataclasses import dataclass
from typing import Never

from aion_common import limits
from aion_common.errors import Unavailable
from aion_common.ids import Namespace, Version, WorkflowType
from aion_common.kafka.api import Log
from aion_common.kafka.topics import Topics
from aion_common.records.catalog import CatalogRecord, TypesRouted, VersionLoaded, VersionRemoved
from aion_gateway.tail import Place, Tail


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedVersion:
    """One workflow type of one loaded version."""

    workflow_type: WorkflowType
    version: Version
    route_active: bool
    deployed_at: int
    manifest_digest: str


class Versions:
    """The fold. `run` it in a task."""

    def __init__(self, log: Log, topics: Topics) -> None:
        self._loaded: dict[Namespace, dict[Version, VersionLoaded]] = {}
        self._routed: dict[tuple[Namespace, WorkflowType], Version] = {}
        self.tail = Tail(log, topics, Place(topic=topics.catalog, partition=0, from_end=False), self._take)

    async def run(self) -> Never:
        """Follow the catalog until cancelled."""
        await self.tail.run()

    async def listed(self, namespace: Namespace, workflow_type: WorkflowType | None) -> tuple[ListedVersion, ...]:
        """The loaded versions in the order of their first deploy; of one type, or (None) of all. Raises Unavailable."""
        try:
            async with asyncio.timeout(limits.CLUSTER_READ_MS / 1000):
                await self.tail.caught_up()
        except TimeoutError as error:
            raise Unavailable("the catalog's history could not be read to its end in time") from error
        return tuple(
            ListedVersion(
                workflow_type=provided,
                version=loaded.version,
                route_active=self._routed.get((namespace, provided)) == loaded.version,
                deployed_at=loaded.deployed_at,
                manifest_digest=loaded.manifest_digest,
            )
            for loaded in self._loaded.get(namespace, {}).values()
            for provided in loaded.types
            if workflow_type in {None, provided}
        )

    def _take(self, record: object) -> None:
        if not isinstance(record, CatalogRecord):
            return
        match record.event:
            case VersionLoaded() as loaded:
                self._loaded.setdefault(loaded.namespace, {})[loaded.version] = loaded
            case TypesRouted() as routed:
                for workflow_type in routed.types:
                    self._routed[routed.namespace, workflow_type] = routed.version
            case VersionRemoved() as removed:
                self._loaded.get(removed.namespace, {}).pop(removed.version, None)
            case _:
                pass
