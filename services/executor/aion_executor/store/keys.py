"""Keys of the tables: what each looks like, in one place."""

import struct

from aion_common.ids import CommandId, RunId

META_KEY = b"meta/3"
CATALOG_KEY = b"catalog/2"
"""The number is that of the rows' form: a store without this key was written by another release and is deleted."""


def run_key(run_id: RunId) -> bytes:
    """RUNS: the 16 bytes of the id."""
    return bytes.fromhex(run_id)


def history_key(run_id: RunId, seq: int) -> bytes:
    """HISTORY: run, then seq as u64 big endian: in order of events."""
    return bytes.fromhex(run_id) + struct.pack(">Q", seq)


def seen_key(command_id: CommandId) -> bytes:
    """SEEN: the command id."""
    return command_id.encode()


def age_key(recorded_at: int, command_id: CommandId) -> bytes:
    """AGES: when the answer was recorded as u64 big endian, then its key in SEEN: in order of age."""
    return struct.pack(">Q", recorded_at) + command_id.encode()


def seen_key_in(key: bytes) -> bytes:
    """The key in SEEN that a key of AGES names."""
    return key[8:]


def recorded_at_in(key: bytes) -> int:
    """The time in a key of AGES."""
    recorded_at: int = struct.unpack(">Q", key[:8])[0]
    return recorded_at


def parked_key(offset: int) -> bytes:
    """PARKED: the offset of the command, u64 big endian."""
    return struct.pack(">Q", offset)


def outbox_key(offset: int) -> bytes:
    """OUTBOX: the history offset whose records owe the replies, u64 big endian: in order of the log."""
    return struct.pack(">Q", offset)


def outbox_offset(key: bytes) -> int:
    """The offset in an outbox key."""
    offset: int = struct.unpack(">Q", key)[0]
    return offset
