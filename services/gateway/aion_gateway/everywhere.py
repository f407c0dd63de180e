"""Questions that the owners of all partitions answer together: lists of runs, and what pins versions."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, NonNegativeInt, ValidationError

from aion_common import limits
from aion_common.errors import Unavailable
from aion_common.ids import Namespace
from aion_gateway.listing import ListedRun, Merge, OwnersPage, Position
from aion_gateway.owners import Owners

Model = TypeVar("Model", bound=BaseModel)


class PinCounts(BaseModel):
    """How many runs, open ones and children that were not started yet, need a version."""

    model_config = ConfigDict(frozen=True)
    live_run: NonNegativeInt = 0
    recoverable_run: NonNegativeInt = 0
    recorded_child: NonNegativeInt = 0


class _OwnersPins(BaseModel):
    versions: Mapping[str, PinCounts]


async def list_runs(
    owners: Owners, partitions: int, wanted: Mapping[str, str], after: Position | None, limit: int
) -> tuple[Sequence[ListedRun], Position | None]:
    """The runs behind a position, newest first, at most `limit`, and where the list goes on; None: it ends there.

    `wanted`: namespace and filters, as owners take them. A page may be short, or empty, although the list goes on: the owners
    look at a bounded number of runs for each. Raises Unavailable unless all of them answer.
    """
    merge = Merge(range(partitions), after, limit)
    share = 2 * limit // partitions + 10
    for _ in range(limits.LIST_ROUNDS_MAX):
        asked = merge.asked
        if not asked:
            break
        bounded = {**wanted, "limit": str(min(share, limit))}
        queries = {
            partition: bounded if position is None else {**bounded, "after": position.text}
            for partition, position in asked.items()
        }
        answers = await owners.ask_each("runs", queries)
        merge.take({partition: _read(OwnersPage, partition, body) for partition, body in answers.items()})
        share *= 2
    return merge.page()


async def count_pins(owners: Owners, partitions: int, namespace: Namespace) -> Mapping[str, PinCounts]:
    """Version -> what pins it, in all partitions; versions that nothing pins may be missing. The counts are of moments close to
    one another, not of one: an unload counts exactly. Raises Unavailable unless all owners answer."""
    query = {"namespace": namespace}
    answers = await owners.ask_each("pins", dict.fromkeys(range(partitions), query))
    sums: dict[str, Counter[str]] = {}
    for partition, body in answers.items():
        for version, counts in _read(_OwnersPins, partition, body).versions.items():
            sums.setdefault(version, Counter()).update(counts.model_dump())
    return {version: PinCounts(**counts) for version, counts in sums.items()}


def _read(model: type[Model], partition: int, body: bytes) -> Model:
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise Unavailable(f"the owner of partition {partition} gives an answer that cannot be read") from error
