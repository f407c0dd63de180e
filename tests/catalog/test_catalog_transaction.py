"""What one transaction writes: each partition's share fits into one batch, whatever a package brings."""

from collections import Counter

from msgspec.structs import replace

from aion_catalog.core.decide import decide
from aion_catalog.core.state import CatalogState
from aion_catalog.shell.transaction import writes_of
from aion_common import limits
from aion_common.ids import Namespace, Version, WorkflowType
from aion_common.kafka.topics import Topics
from aion_common.records.common import RunTimeout
from catalog.given import ORDER, V1, after_loads, checked, decided, facts, load, route

TOPICS = Topics("test.")
LONGEST = Namespace("n" * 63)
RECORD_OVERHEAD_BYTES = 32


def test_the_largest_package_that_is_accepted_fits_into_one_batch_per_partition() -> None:
    types = [WorkflowType(f"{number:0{limits.NAME_BYTES_MAX}}") for number in range(limits.PACKAGE_TYPES_MAX)]
    warnings = ["w" * limits.PACKAGE_WARNING_BYTES_MAX] * limits.PACKAGE_WARNINGS_MAX
    timeouts = [RunTimeout(workflow_type=name, timeout_ms=limits.RUN_TIMEOUT_MS_MAX) for name in types]
    package = replace(
        checked(digest="d" * 64, types=types, warnings=warnings, timeouts=timeouts),
        manifest_json=b"m" * limits.PACKAGE_MANIFEST_BYTES_MAX,
    )
    state = CatalogState()
    decision = decide(state, load("c" * 400, LONGEST), facts(state, package))

    share: Counter[tuple[str, int]] = Counter()
    for write in writes_of(TOPICS, 2, state, decision, now_ms=1):
        share[write.topic, write.partition] += len(write.key or b"") + len(write.value or b"") + RECORD_OVERHEAD_BYTES
    assert set(share) == {
        (TOPICS.catalog, 0),
        (TOPICS.packages, 0),
        (TOPICS.routes, 0),
        (TOPICS.commands, 0),
        (TOPICS.commands, 1),
    }
    assert max(share.values()) <= limits.BATCH_BYTES_MAX


def test_the_longest_list_of_loaded_versions_fits_into_one_batch() -> None:
    state = CatalogState()
    for number in range(limits.LOADED_VERSIONS_NAMED_MAX):
        _, state = decided(state, load(f"load-{number}"), checked(Version(f"{number:064}")))
    decision = decide(state, route("lost", ORDER, Version("f" * 64)), facts(state))

    (answered,) = writes_of(TOPICS, 2, state, decision, now_ms=1)
    assert len(answered.value or b"") <= limits.BATCH_BYTES_MAX


def test_a_command_without_effect_writes_its_answer_only() -> None:
    state = after_loads(checked(V1))
    decision = decide(state, route("same", ORDER, V1), facts(state))

    (answered,) = writes_of(TOPICS, 64, state, decision, now_ms=1)
    assert (answered.topic, answered.partition) == (TOPICS.catalog, 0)


def test_every_command_partition_gets_the_same_marker() -> None:
    state = after_loads(checked(V1))
    decision = decide(state, load("c"), facts(state, checked(Version("9" * 64))))

    markers = [write for write in writes_of(TOPICS, 64, state, decision, now_ms=1) if write.topic == TOPICS.commands]
    assert [write.partition for write in markers] == list(range(64))
    assert {write.value for write in markers} == {markers[0].value}
