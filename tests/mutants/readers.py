"""Of `table`, the rows about the polls of readers."""

from mutants.mutant import Mutant

_READER = "libs/aion_common/aion_common/kafka/reader.py"

READERS = (
    Mutant(
        name="reader: polls keep a distance where much comes",
        file=_READER,
        before="            await asyncio.sleep(early_s)\n",
        after="            pass\n",
        tests=("kafka/test_reader_distance.py",),
    ),
    Mutant(
        name="reader: the distance of polls has a most",
        file=_READER,
        before="min(records_max - room, DISTANCE_MS_MAX) / 1000",
        after="(records_max - room) / 1000",
        tests=("kafka/test_reader_distance.py",),
    ),
)
