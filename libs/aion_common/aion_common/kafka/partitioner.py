"""Which partition a key belongs to: murmur2 as Java's default partitioner computes it. Pure.

The whole system and foreign producers agree on this function; it is part of the recorded identity of a cluster.
"""

import struct
from functools import lru_cache

KEYS_CACHED = 8_192
"""A run's key comes with each of its records."""

_SEED = 0x9747B28C
_M = 0x5BD1E995
_MASK = 0xFFFFFFFF


@lru_cache(maxsize=KEYS_CACHED)
def partition_of(key: bytes, partitions: int) -> int:
    """The partition of this key in a topic of so many partitions."""
    return (_murmur2(key) & 0x7FFFFFFF) % partitions


def _murmur2(key: bytes) -> int:
    """`org.apache.kafka.common.utils.Utils.murmur2`, as an unsigned 32-bit number."""
    length = len(key)
    mixed = _SEED ^ length
    whole = length & ~3
    for (word,) in struct.iter_unpack("<I", key[:whole]):
        product = word * _M & _MASK
        product ^= product >> 24
        mixed = (mixed * _M & _MASK) ^ (product * _M & _MASK)
    if whole < length:
        mixed ^= int.from_bytes(key[whole:], "little")
        mixed = mixed * _M & _MASK
    mixed ^= mixed >> 13
    mixed = mixed * _M & _MASK
    return mixed ^ mixed >> 15
