"""What is written to `aion.owners`: who owns a partition, and where to ask."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """Key: the partition in decimal. The newest owner epoch wins, whatever the order of arrival. `address`: host:port."""

    partition: int
    owner_epoch: int
    member: str
    address: str
