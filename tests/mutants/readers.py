"""Of `table`, the rows about the polls of readers."""

from mutants.mutant import Mutant

_READER = "libs/aion_common/aion_common/kafka/reader.py"
_LINE = "libs/aion_common/aion_common/kafka/line.py"

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
    Mutant(
        name="reader: a poll that finds nothing waits at its broker",
        file=_READER,
        before="wait_ms=limits.FETCH_WAIT_MS",
        after="wait_ms=0",
        tests=("kafka/test_reader_polls.py::test_an_idle_reader_asks_once",),
    ),
    Mutant(
        name="reader: a poll in which something is missing is given up",
        file=_READER,
        before="self._give_up_if_missing(leader, offsets)",
        after="pass",
        tests=("kafka/test_reader_polls.py",),
    ),
    Mutant(
        name="reader: its connection, too, on which the next would wait behind it",
        file=_READER,
        before="        self._client.hang_up(leader)\n",
        after="",
        tests=("kafka/test_reader_polls.py",),
    ),
    Mutant(
        name="reader: a poll in which nothing is missing is not given up",
        file=_READER,
        before="offsets.items() <= asked.offsets.items()",
        after="offsets.items() == asked.offsets.items()",
        tests=("kafka/test_reader_polls.py::test_taking_a_partition_away_gives_up_nothing",),
    ),
    Mutant(
        name="reader: a poll that has just begun is not given up",
        file=_READER,
        before="if events.time() < due:",
        after="if False:",
        tests=("kafka/test_reader_polls.py::test_a_poll_that_has_just_begun_is_waited_for",),
    ),
    Mutant(
        name="reader: a poll asks for what is wanted when it leaves",
        file=_READER,
        before="else self._fetch(leader)\n",
        after="else self._fetch(leader)\n        asked = self._wanted()\n        self._wanted = lambda: asked\n",
        tests=("kafka/test_reader_polls.py::test_a_poll_asks_for_what_is_wanted_when_it_leaves",),
    ),
    Mutant(
        name="line: an answer that nobody waits for any more keeps its place",
        file=_LINE,
        before="        self._asked.popleft()\n",
        after="        if not asked.answer.cancelled():\n            self._asked.popleft()\n",
        tests=("kafka/test_line.py::test_an_answer_nobody_waits_for_any_more_keeps_its_place",),
    ),
    Mutant(
        name="line: an answer is that of the request it names",
        file=_LINE,
        before="if asked is None or number_of(content) != asked.number:",
        after="if asked is None:",
        tests=("kafka/test_line.py::test_a_line_that_says_nonsense_or_ends_is_lost_and_everybody_hears_of_it",),
    ),
    Mutant(
        name="line: numbers of requests begin anew before they end",
        file=_LINE,
        before="self._number = (self._number + 1) & _NUMBER_MAX",
        after="self._number += 1",
        tests=("kafka/test_line.py::test_numbers_of_requests_begin_anew_before_they_end",),
    ),
)
