"""A static member of a consumer group (the classic protocol, KIP-345).

One task joins, synchronises and beats; a timer tells the owner that its place may be lost when no beat was confirmed for
the session time-out, also while the brokers are unreachable. The assignment of every member travels to every member, so
that whoever leads next moves as little as possible; what a member announces of itself never changes, so that a restart
within the session time-out disturbs nobody.
"""

import asyncio
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from aiokafka.client import ConnectionGroup, CoordinationType
from aiokafka.coordinator.protocol import ConsumerProtocol
from aiokafka.protocol.group import HeartbeatRequest, JoinGroupRequest, SyncGroupRequest
from aiokafka.structs import TopicPartition

from aion_common import limits
from aion_common.errors import AionError, Unavailable, WrongCluster
from aion_common.kafka.api import OnAssigned
from aion_common.kafka.assignor import STICKY, balance
from aion_common.kafka.brokers import Brokers, Retry
from aion_common.kafka.connection import (
    ILLEGAL_GENERATION,
    INCONSISTENT_GROUP_PROTOCOL,
    INVALID_SESSION_TIMEOUT,
    REBALANCE_IN_PROGRESS,
    UNKNOWN_MEMBER_ID,
    check,
    close_client,
    coordinator_of,
    leader_of,
    open_client,
)
from aion_common.kafka.leaving import leave
from aion_common.kafka.offsets import GroupOffsets

log = structlog.get_logger(__name__)

_BEATS_PER_SESSION = 8
_BEAT_PATIENCES_PER_SESSION = 3
"""A coordinator that does not answer a beat for so long is looked for anew while the session still lasts."""

_BEAT_MAX_S = 0.5
"""A member learns with its next beat that the group divides anew, and all wait for the last one."""

_RETRY_PAUSE_S = 0.1
_NO_GENERATION = -1
_NOTHING = ConsumerProtocol.ASSIGNMENT(0, [], b"").encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Which place in which group, and how long it survives silence. `protocols`: by which the group may divide, the preferred
    first."""

    group: str
    topic: str
    member_id: str
    session_ms: int
    protocols: Sequence[str] = (STICKY,)


class _Refused(Exception):
    """The group does not want this member, and why."""


class _JoinAgain(Exception):
    """The group is dividing anew, or does not know this generation any more."""


class KafkaMembership:
    """See `Membership`."""

    def __init__(self, bootstrap: str, client_id: str, place: Place, on_assigned: OnAssigned) -> None:
        self._bootstrap = bootstrap
        self._client_id = client_id
        self._place = place
        self._on_assigned = on_assigned
        self._offsets = GroupOffsets(bootstrap, client_id, place.group, place.topic)
        self._broker_member_id = ""
        self._generation = _NO_GENERATION
        self._assigned: frozenset[int] = frozenset()
        self._told: frozenset[int] = frozenset()
        self._known: dict[str, frozenset[int]] = {}
        self._silence: asyncio.TimerHandle | None = None
        self._wish = asyncio.Event()
        self._joined: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._taking_part: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Join, and return once there is an assignment. Raises Unavailable, or WrongCluster when the cluster does not permit
        the session time-out."""
        self._taking_part = asyncio.get_running_loop().create_task(self._take_part())
        self._taking_part.add_done_callback(self._ended)
        try:
            async with asyncio.timeout((limits.GROUP_REBALANCE_MS + limits.APPEND_MS) / 1000):
                await asyncio.shield(self._joined)
        except TimeoutError as cause:
            await self.close()
            raise Unavailable(f"group {self._place.group} could not be joined in time") from cause
        except BaseException:
            await self.close()
            raise

    async def rejoin(self) -> None:
        """See `Membership`."""
        self._generation = _NO_GENERATION
        self._wish.set()

    async def committed(self, partitions: Collection[int]) -> Mapping[int, int]:
        """See `Membership`."""
        return await self._offsets.fetch(partitions)

    async def commit(self, offsets: Mapping[int, int]) -> None:
        """See `Membership`."""
        if self._generation == _NO_GENERATION:
            # Without one the broker would take it from anybody, as long as the group is empty.
            raise Unavailable(f"group {self._place.group} divides anew")
        await self._offsets.commit(self._generation, self._broker_member_id, offsets)

    async def failed(self) -> None:
        """See `Membership`."""
        await asyncio.shield(self._failed)

    async def close(self) -> None:
        """See `Membership`."""
        self._on_assigned = _tell_nobody
        if self._silence is not None:
            self._silence.cancel()
        if self._taking_part is not None:
            self._taking_part.cancel()
            await asyncio.gather(self._taking_part, return_exceptions=True)
            self._taking_part = None
            await self._leave()
        self._generation = _NO_GENERATION
        await self._offsets.close()
        for told in (self._joined, self._failed):
            if not told.cancel() and not told.cancelled():
                told.exception()

    async def _leave(self) -> None:
        """Let the others have the partitions now. If that cannot be said, they wait for the session time-out."""
        if not self._broker_member_id:
            return
        place = self._place
        try:
            async with asyncio.timeout(limits.KAFKA_CLOSE_MS / 1000):
                client = await open_client(self._bootstrap, self._client_id)
                try:
                    coordinator = await coordinator_of(client, CoordinationType.GROUP, place.group)
                    await leave(client, coordinator, place.group, self._broker_member_id, place.member_id)
                finally:
                    await close_client(client)
        except (Retry, Unavailable, TimeoutError) as error:
            log.warning("group not left", group=place.group, member=place.member_id, reason=str(error))

    def _ended(self, taking_part: asyncio.Task[None]) -> None:
        """Runs when the task ends: closed, refused for good, or by a bug. Whatever it is, the place is not held."""
        if taking_part.cancelled():
            return
        self._tell(frozenset())
        failure = taking_part.exception() or Unavailable(f"no longer a member of {self._place.group}")
        for told in (self._joined, self._failed):
            if not told.done():
                told.set_exception(failure)

    async def _take_part(self) -> None:
        # A join is answered when the whole group has joined, so its connection is patient; beats have their own time-out.
        patience_ms = limits.GROUP_REBALANCE_MS + limits.KAFKA_REQUEST_MS
        while True:
            try:
                client = await open_client(self._bootstrap, self._client_id, request_ms=patience_ms)
                try:
                    await self._talk(client)
                finally:
                    await close_client(client)
            except (Retry, Unavailable, TimeoutError):
                await asyncio.sleep(_RETRY_PAUSE_S)
            except _Refused as cause:
                if not self._joined.done():
                    raise Unavailable(str(cause)) from cause
                # Most likely another process took this member id over: whoever of the two lives keeps it.
                await asyncio.sleep(self._place.session_ms / 1000)

    async def _talk(self, client: Brokers) -> None:
        """Take part over one connection. Raises Retry, Unavailable and TimeoutError when it is no good any more."""
        beat_s = min(self._place.session_ms / 1000 / _BEATS_PER_SESSION, _BEAT_MAX_S)
        async with asyncio.timeout(limits.KAFKA_REQUEST_MS / 1000):
            coordinator = await coordinator_of(client, CoordinationType.GROUP, self._place.group)
        while True:
            try:
                if self._generation == _NO_GENERATION:
                    await self._join(client, coordinator)
                async with asyncio.timeout(self._place.session_ms / 1000 / _BEAT_PATIENCES_PER_SESSION):
                    await self._beat(client, coordinator)
            except _JoinAgain:
                self._generation = _NO_GENERATION
                continue
            try:
                async with asyncio.timeout(beat_s):
                    await self._wish.wait()
            except TimeoutError:
                continue

    async def _join(self, client: Brokers, coordinator: int) -> None:
        self._expect_word(limits.GROUP_REBALANCE_MS + self._place.session_ms)
        announced = ConsumerProtocol.METADATA(0, [self._place.topic], b"").encode()
        response = await client.send(
            coordinator,
            JoinGroupRequest(
                self._place.group,
                self._place.session_ms,
                limits.GROUP_REBALANCE_MS,
                self._broker_member_id,
                self._place.member_id,
                ConsumerProtocol.PROTOCOL_TYPE,
                [(protocol, announced) for protocol in self._place.protocols],
            ),
            ConnectionGroup.COORDINATION,
        )
        if response.error_code == INVALID_SESSION_TIMEOUT:
            raise WrongCluster(
                f"a session of {self._place.session_ms} ms is outside of group.min.session.timeout.ms and"
                " group.max.session.timeout.ms of the cluster"
            )
        if response.error_code == INCONSISTENT_GROUP_PROTOCOL:
            raise _Refused(
                f"group {self._place.group} has members that divide partitions by none of the protocols"
                f" {', '.join(self._place.protocols)}"
            )
        self._check(response.error_code, "join")
        self._broker_member_id = response.member_id
        self._generation = response.generation_id
        assignments: list[tuple[str, bytes]] = []
        if response.leader_id == response.member_id:
            assignments = await self._divide(client, response.members)
        await self._sync(client, coordinator, assignments)

    async def _divide(self, client: Brokers, members: list[tuple[str, str | None, bytes]]) -> list[tuple[str, bytes]]:
        await leader_of(client, TopicPartition(self._place.topic, 0))
        partitions = client.picture.partitions_of(self._place.topic)
        names = {broker_id: instance or broker_id for broker_id, instance, _ in members}
        divided = balance(partitions, {name: self._known.get(name, frozenset()) for name in names.values()})
        everyone = json.dumps({name: sorted(its) for name, its in divided.items()}).encode()
        return [
            (broker_id, ConsumerProtocol.ASSIGNMENT(0, [(self._place.topic, sorted(divided[name]))], everyone).encode())
            for broker_id, name in names.items()
        ]

    async def _sync(self, client: Brokers, coordinator: int, assignments: list[tuple[str, bytes]]) -> None:
        request = SyncGroupRequest(
            self._place.group, self._generation, self._broker_member_id, self._place.member_id, assignments
        )
        response = await client.send(coordinator, request, ConnectionGroup.COORDINATION)
        self._check(response.error_code, "synchronise")
        # Leaders of other makes know nothing of who held what, and may say nothing to whom they give nothing.
        assignment = ConsumerProtocol.ASSIGNMENT.decode(response.member_assignment or _NOTHING)
        self._known = _everyone(assignment.user_data)
        self._assigned = frozenset(place.partition for place in assignment.partitions())
        self._expect_word(self._place.session_ms)
        self._wish.clear()
        self._told = self._assigned
        self._on_assigned(self._assigned)
        if not self._joined.done():
            self._joined.set_result(None)

    async def _beat(self, client: Brokers, coordinator: int) -> None:
        request = HeartbeatRequest(self._place.group, self._generation, self._broker_member_id)
        response = await client.send(coordinator, request, ConnectionGroup.COORDINATION)
        self._check(response.error_code, "beat")
        self._expect_word(self._place.session_ms)
        if self._generation != _NO_GENERATION:
            # Told again where silence had taken it away, and the group kept the place after all.
            self._tell(self._assigned)

    def _check(self, code: int, what: str) -> None:
        if code in (REBALANCE_IN_PROGRESS, ILLEGAL_GENERATION):
            raise _JoinAgain
        if code == UNKNOWN_MEMBER_ID:
            # The session has ended: the partitions are somebody else's already.
            self._broker_member_id = ""
            self._tell(frozenset())
            raise _JoinAgain
        try:
            check(code, f"{what} in group {self._place.group}")
        except AionError as cause:
            self._broker_member_id = ""
            self._generation = _NO_GENERATION
            self._tell(frozenset())
            raise _Refused(str(cause)) from cause

    def _expect_word(self, within_ms: int) -> None:
        """Within this time the group must say something, else the partitions count as lost."""
        if self._silence is not None:
            self._silence.cancel()
        self._silence = asyncio.get_running_loop().call_later(within_ms / 1000, self._tell, frozenset())

    def _tell(self, partitions: frozenset[int]) -> None:
        if partitions != self._told:
            self._told = partitions
            self._on_assigned(partitions)


def _everyone(user_data: bytes) -> dict[str, frozenset[int]]:
    known: Mapping[str, Any] = json.loads(user_data or b"{}")
    return {name: frozenset(partitions) for name, partitions in known.items()}


def _tell_nobody(_partitions: frozenset[int]) -> None:
    return
