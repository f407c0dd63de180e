"""Leaving a group as a static member (LeaveGroup, version 3, KIP-345): aiokafka knows only the leave of dynamic ones.

Without it the group keeps the place of a member that stopped for good until its session ends, and its partitions have no
owner for so long.
"""

from aiokafka.client import ConnectionGroup
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Int16, Int32, Schema, String

from aion_common.kafka.brokers import Brokers

_LEAVE_GROUP = 13


class _LeaveResponse(Response):  # type: ignore[misc]
    API_KEY = _LEAVE_GROUP
    API_VERSION = 3
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("error_code", Int16),
        (
            "members",
            Array(("member_id", String("utf-8")), ("group_instance_id", String("utf-8")), ("error_code", Int16)),
        ),
    )


class _LeaveRequest(RequestStruct):  # type: ignore[misc]
    API_KEY = _LEAVE_GROUP
    API_VERSION = 3
    RESPONSE_TYPE = _LeaveResponse
    SCHEMA = Schema(
        ("group", String("utf-8")),
        ("members", Array(("member_id", String("utf-8")), ("group_instance_id", String("utf-8")))),
    )


class _Leave(Request[_LeaveRequest]):  # type: ignore[misc]
    API_KEY = _LEAVE_GROUP

    def __init__(self, group: str, broker_member_id: str, member_id: str) -> None:
        self._group = group
        self._member = (broker_member_id, member_id)

    def build(self, request_struct_class: type[_LeaveRequest]) -> _LeaveRequest:
        return request_struct_class(self._group, [self._member])


async def leave(client: Brokers, coordinator: int, group: str, broker_member_id: str, member_id: str) -> None:
    """Give the place up. Whatever the group says, the member is not in it any more: another process may hold the place
    since. Raises Retry."""
    await client.send(coordinator, _Leave(group, broker_member_id, member_id), ConnectionGroup.COORDINATION)
