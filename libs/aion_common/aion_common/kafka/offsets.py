"""How far a group has worked off a topic, as the group's coordinator remembers it.

A commit names the member and the generation it works in, so one that lost its place cannot set the group back.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any, TypeVar

from aiokafka.client import ConnectionGroup, CoordinationType
from aiokafka.protocol.commit import OffsetCommitRequest, OffsetFetchRequest

from aion_common.kafka.brokers import Brokers, Retry
from aion_common.kafka.connection import check, close_client, coordinator_of, insist, open_client

T = TypeVar("T")

_KEPT_AS_LONG_AS_THE_BROKER_SAYS = -1
_NO_OFFSET = -1


class GroupOffsets:
    """Of one topic and group. It has a connection of its own, opened when it is first needed: a join holds up the member's."""

    def __init__(self, bootstrap: str, client_id: str, group: str, topic: str) -> None:
        self._bootstrap = bootstrap
        self._client_id = client_id
        self._group = group
        self._topic = topic
        self._client: Brokers | None = None
        self._coordinator: int | None = None

    async def fetch(self, partitions: Collection[int]) -> Mapping[int, int]:
        """See `Membership.committed`."""
        request = OffsetFetchRequest(self._group, [(self._topic, sorted(partitions))])

        def read(response: Any) -> dict[int, int]:
            check(response.error_code, f"offsets of group {self._group}")
            found = {}
            for _, entries in response.topics:
                for partition, offset, _metadata, code in entries:
                    check(code, f"offset of {self._topic}/{partition} in group {self._group}")
                    if offset != _NO_OFFSET:
                        found[partition] = offset
            return found

        return await self._ask(request, read)

    async def commit(self, generation: int, member_id: str, offsets: Mapping[int, int]) -> None:
        """See `Membership.commit`. `member_id`: the broker's name of the member."""
        entries = [(partition, offset, "") for partition, offset in sorted(offsets.items())]
        request = OffsetCommitRequest(
            self._group, generation, member_id, _KEPT_AS_LONG_AS_THE_BROKER_SAYS, [(self._topic, entries)]
        )

        def read(response: Any) -> None:
            for _, outcomes in response.topics:
                for partition, code in outcomes:
                    check(code, f"commit of {self._topic}/{partition} in group {self._group}")

        await self._ask(request, read)

    async def close(self) -> None:
        """Bounded in time. A repeat is harmless."""
        client, self._client = self._client, None
        if client is not None:
            await close_client(client)

    async def _ask(self, request: object, read: Callable[[Any], T]) -> T:
        if self._client is None:
            self._client = await open_client(self._bootstrap, self._client_id)
        client = self._client
        return await insist(client, f"offsets of group {self._group}", self._attempt(client, request, read))

    def _attempt(self, client: Brokers, request: object, read: Callable[[Any], T]) -> Callable[[], Awaitable[T]]:
        async def attempt() -> T:
            if self._coordinator is None:
                self._coordinator = await coordinator_of(client, CoordinationType.GROUP, self._group)
            try:
                return read(await client.send(self._coordinator, request, ConnectionGroup.COORDINATION))
            except Retry:
                self._coordinator = None
                raise

        return attempt
