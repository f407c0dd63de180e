"""What is written to `aion.owners`: who owns a partition, and where to ask."""

from msgspec import Struct


class Owner(Struct, frozen=True, kw_only=True, gc=False):
    """Key: the partition in decimal. The newest owner epoch wins, whatever the order of arrival. `address`: host:port."""

    partition: int
    owner_epoch: int
    member: str
    address: str
