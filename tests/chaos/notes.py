"""What all clients of the kill loop were told, in numbers and in sentences about what should not be."""

from dataclasses import dataclass, field

from aion_common.ids import CommandId


@dataclass(slots=True)
class Notes:
    """What all clients were told. `acknowledged`: the commands that were accepted. The lists of sentences are of broken
    promises: lost and doubled things, refusals that nobody should get, what was told that is not so any more (`stale`), and
    results that nobody can explain (`wrong`). `errands`: runs with activities that ended."""

    acknowledged: list[CommandId] = field(default_factory=list)
    starts: int = 0
    signals: int = 0
    queries: int = 0
    lists: int = 0
    endings: int = 0
    loads: int = 0
    unloads: int = 0
    pinned: int = 0
    gone: int = 0
    errands: int = 0
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    stale: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
