"""Record batches whose header names are not UTF-8: brokers take them, and the decoder of aiokafka gives up on the whole batch.

Only foreign producers can write such a thing. The bytes in question are replaced, one for one; all else stays as it is.
"""

import struct

from aiokafka.record.util import calc_crc32c, decode_varint

_LENGTH_AT, _MAGIC_AT, _CRC_AT, _ATTRIBUTES_AT, _COUNT_AT, _RECORDS_AT = 8, 16, 17, 21, 57, 61
_BEFORE_LENGTH_ENDS = 12
_MAGIC = 2
_COMPRESSED = 0b111


def mended(content: bytes) -> bytes:
    """Fetched batches in which every header name is UTF-8. Compressed batches are left alone."""
    out = bytearray(content)
    at = 0
    while at + _RECORDS_AT <= len(out):
        (length,) = struct.unpack_from(">i", out, at + _LENGTH_AT)
        end = at + _BEFORE_LENGTH_ENDS + length
        if end > len(out):
            break
        (attributes,) = struct.unpack_from(">h", out, at + _ATTRIBUTES_AT)
        if out[at + _MAGIC_AT] == _MAGIC and not attributes & _COMPRESSED:
            _mend(out, at, end)
        at = end
    return bytes(out)


def _mend(out: bytearray, first: int, end: int) -> None:
    (count,) = struct.unpack_from(">i", out, first + _COUNT_AT)
    at = first + _RECORDS_AT
    for _ in range(count):
        length, at = decode_varint(out, at)
        _mend_record(out, at)
        at += length
    struct.pack_into(">I", out, first + _CRC_AT, calc_crc32c(bytes(out[first + _ATTRIBUTES_AT : end])))


def _mend_record(out: bytearray, at: int) -> None:
    _timestamp, at = decode_varint(out, at + 1)
    _offset, at = decode_varint(out, at)
    at = _behind(out, at)
    at = _behind(out, at)
    headers, at = decode_varint(out, at)
    for _ in range(headers):
        size, name_at = decode_varint(out, at)
        name = out[name_at : name_at + size]
        try:
            name.decode()
        except UnicodeDecodeError:
            out[name_at : name_at + size] = b"?" * size
        at = _behind(out, name_at + size)


def _behind(out: bytearray, at: int) -> int:
    """The position behind a key or a value, which may be none."""
    size, at = decode_varint(out, at)
    behind: int = at + max(size, 0)
    return behind
