"""What reading a stranger's archive may cost, and inflating within it: counted while inflating, never by declared sizes."""

import zlib

from aion_common.errors import BadPackage
from aion_common.limits import ARCHIVE_INFLATED_BYTES_MAX, PACKAGE_TABLE_ENTRIES_MAX

RAW = -zlib.MAX_WBITS
GZIP = zlib.MAX_WBITS + 16


class Budget:
    """What reading one archive may still cost; shared by everything inside it. `take*` raise BadPackage over the limit."""

    def __init__(self, *, bytes_max: int, table_entries_max: int) -> None:
        self._bytes_max = bytes_max
        self._bytes_left = bytes_max
        self._entries_max = table_entries_max
        self._entries_left = table_entries_max

    @property
    def bytes_left(self) -> int:
        """Bytes that its contents may still inflate to."""
        return self._bytes_left

    def take_bytes(self, count: int) -> None:
        """Count inflated bytes."""
        if count > self._bytes_left:
            raise BadPackage(f"the archive inflates to more than {self._bytes_max} bytes, the limit")
        self._bytes_left -= count

    def take_table_entries(self, count: int) -> None:
        """Count atoms, imports or exports of a module, before they are read."""
        if count > self._entries_left:
            raise BadPackage(f"the modules have more than {self._entries_max} atoms, imports and exports, the limit")
        self._entries_left -= count


def archive_budget() -> Budget:
    """The budget of one archive, by the system's limits."""
    return Budget(bytes_max=ARCHIVE_INFLATED_BYTES_MAX, table_entries_max=PACKAGE_TABLE_ENTRIES_MAX)


def inflate(compressed: bytes | memoryview, *, window_bits: int, what: str, budget: Budget) -> bytes:
    """The whole of one compressed stream, counted against the budget. `window_bits`: RAW or GZIP.

    Holds at most one byte more than the budget has left. Raises BadPackage, naming `what`, for a stream that is broken, cut
    off, followed by other bytes, or too large.
    """
    decompressor = zlib.decompressobj(window_bits)
    try:
        inflated = decompressor.decompress(compressed, budget.bytes_left + 1)
    except zlib.error as error:
        raise BadPackage(f"{what} is compressed, and its stream is broken ({error})") from error
    budget.take_bytes(len(inflated))
    if not decompressor.eof:
        raise BadPackage(f"{what} is compressed, and its stream ends too early")
    if decompressor.unused_data:
        raise BadPackage(f"{what} is compressed, and {len(decompressor.unused_data)} bytes follow its stream")
    return inflated
