"""Which partition a key belongs to, and how a group divides partitions."""

import pytest
from aiokafka.partitioner import murmur2
from hypothesis import given
from hypothesis import strategies as st

from aion_common.kafka.assignor import balance
from aion_common.kafka.partitioner import partition_of


@pytest.mark.parametrize(
    ("key", "java"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_keys_go_where_java_sends_them(key: bytes, java: int) -> None:
    # The values of Kafka's own UtilsTest.testMurmur2.
    assert partition_of(key, 2**31) == java & 0x7FFFFFFF


@given(st.binary(max_size=300), st.integers(1, 256))
def test_keys_go_where_another_client_sends_them(key: bytes, partitions: int) -> None:
    assert partition_of(key, partitions) == (murmur2(key) & 0x7FFFFFFF) % partitions


@given(st.integers(1, 64), st.lists(st.sets(st.integers(0, 4), min_size=1), min_size=1, max_size=12))
def test_every_division_is_whole_even_and_moves_little(partitions: int, memberships: list[set[int]]) -> None:
    held: dict[str, frozenset[int]] = {}
    for members in memberships:
        before = {f"m{n}": held.get(f"m{n}", frozenset()) for n in members}
        held = balance(partitions, before)
        sizes = [len(its) for its in held.values()]
        assert sorted(partition for its in held.values() for partition in its) == list(range(partitions))
        assert max(sizes) - min(sizes) <= 1
        for member, its in held.items():
            lost = before[member] - its
            assert not lost or its < before[member], "who must give something up gets nothing new"


@given(st.integers(1, 64), st.sets(st.integers(0, 9), min_size=1))
def test_a_division_among_the_same_members_changes_nothing(partitions: int, members: set[int]) -> None:
    once = balance(partitions, {f"m{n}": frozenset() for n in members})
    assert balance(partitions, once) == once
