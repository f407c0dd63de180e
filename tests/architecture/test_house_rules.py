"""House rules that a linter does not know. A broken rule names every place, so that one run is enough to mend them."""

import ast
import re
from collections.abc import Callable, Iterator, Sequence

from architecture.sources import ROOT, Source, calls, dotted, erlang, of_tests, production, relative, texts

FILE_LINES_MAX = 400
TEST_LINES_MAX = 600
WORDS_NOT_USED = re.compile(r"manager|helper|util|handler", re.IGNORECASE)
PRINTING_ROOMS = ("clients/python/aion_cli/", "examples/", "benchmarks/")
# Readers, senders and members live longer than any call, and end their tasks in `close`.
OWNS_ITS_TASKS = "libs/aion_common/aion_common/kafka/"
POLLS = "tests/support.py"
CLOCK = "libs/aion_common/aion_common/clock.py"
WALL_CLOCK = frozenset(
    {
        "time.time",
        "time.time_ns",
        "datetime.now",
        "datetime.utcnow",
        "datetime.today",
        "datetime.datetime.now",
        "datetime.datetime.utcnow",
        "date.today",
    }
)
TASKS_WITHOUT_GROUP = frozenset(
    {"asyncio.create_task", "asyncio.ensure_future", "asyncio.gather", "asyncio.run_coroutine_threadsafe"}
)
MUTABLE_CALLS = frozenset(
    {"dict", "list", "set", "bytearray", "defaultdict", "collections.defaultdict", "deque", "collections.deque"}
)
# Put together from pieces, so that this file does not break its own rule.
MACHINE_PATHS = re.compile("/(?:" + "|".join(("wor" + "k", "roo" + "t", "hom" + "e", "User" + "s")) + ")/")
REGISTRIES = re.compile("|".join((r"pyp" + r"i\.org", r"repo1?\.mave" + "n", r"npmj" + r"s\.(?:org|com)", r"hex\.p" + "m")))


def test_files_have_one_idea_and_end_before_they_have_two() -> None:
    sizes = [(source.path, source.text.count("\n"), FILE_LINES_MAX) for source in production()]
    sizes += [(source.path, source.text.count("\n"), TEST_LINES_MAX) for source in of_tests()]
    for path in erlang():
        limit = TEST_LINES_MAX if "test" in path.parent.name else FILE_LINES_MAX
        sizes.append((relative(path), path.read_text(encoding="utf-8").count("\n"), limit))
    expect_none([f"{path}: {lines} lines, at most {limit}" for path, lines, limit in sizes if lines > limit])


def test_every_module_says_what_it_is() -> None:
    silent = [source.path for source in (*production(), *of_tests()) if source.tree.body and not ast.get_docstring(source.tree)]
    expect_none(silent)


def test_tests_wait_for_conditions_and_never_sleep() -> None:
    """`asyncio.sleep(0)` is no sleep but a turn of the event loop; `support.eventually` is the one place that polls."""
    others = [source for source in of_tests() if source.path != POLLS]
    expect_none(
        [
            f"{source.path}:{node.lineno}"
            for source in others
            for node in ast.walk(source.tree)
            if isinstance(node, ast.Call)
            and dotted(node.func) in {"time.sleep", "asyncio.sleep", "sleep"}
            and [ast.unparse(argument) for argument in node.args] != ["0"]
        ]
    )


def test_tests_are_neither_skipped_nor_mocked() -> None:
    """Only what an operating system does not have may be left out there (`skipif`)."""
    soft = re.compile(r"pytest\.mark\.(skip|xfail)\b|pytest\.(skip|xfail|importorskip)\(|unittest\.mock|import mock|MagicMock")
    found = [
        f"{source.path}:{number}"
        for source in of_tests()
        if source.path != relative(ROOT / "tests/architecture/test_house_rules.py")
        for number, line in enumerate(source.text.splitlines(), start=1)
        if soft.search(line)
    ]
    expect_none(found)


def test_only_programs_for_people_print() -> None:
    quiet = [source for source in production() if not source.path.startswith(PRINTING_ROOMS)]
    expect_none(places(quiet, lambda name: name == "print"))


def test_asyncio_tasks_are_born_in_a_task_group() -> None:
    def outside(name: str) -> bool:
        return name in TASKS_WITHOUT_GROUP or name.endswith(("loop.create_task", "?.create_task"))

    others = [source for source in production() if not source.path.startswith(OWNS_ITS_TASKS)]
    expect_none(places(others, outside))


def test_the_wall_clock_is_read_in_one_module() -> None:
    others = [source for source in production() if source.path != CLOCK]
    expect_none(places(others, lambda name: name in WALL_CLOCK))


def test_broad_catches_raise_again_or_say_why_not() -> None:
    def swallows(source: Source, handler: ast.ExceptHandler) -> bool:
        caught = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
        names = {"" if error is None else dotted(error) for error in caught}
        says_why = "  # " in source.text.splitlines()[handler.lineno - 1]
        return bool(names & {"", "Exception", "BaseException"}) and not says_why and not raises(handler.body)

    expect_none(
        [
            f"{source.path}:{node.lineno}"
            for source in (*production(), *of_tests())
            for node in ast.walk(source.tree)
            if isinstance(node, ast.ExceptHandler) and swallows(source, node)
        ]
    )


def test_names_say_what_a_thing_is() -> None:
    files = [source.path for source in (*production(), *of_tests()) if WORDS_NOT_USED.search(source.path.rpartition("/")[2])]
    files += [relative(path) for path in erlang() if WORDS_NOT_USED.search(path.stem) and path.stem != "error_handler"]
    classes = [
        f"{source.path}:{node.lineno} {node.name}"
        for source in (*production(), *of_tests())
        for node in ast.walk(source.tree)
        if isinstance(node, ast.ClassDef) and WORDS_NOT_USED.search(node.name)
    ]
    expect_none(files + classes)


def test_modules_hold_no_mutable_objects() -> None:
    """A table is annotated as `Mapping` or `Sequence`: then the type checker keeps it as it is."""
    found = [f"{source.path}:{line} {name}" for source in production() for name, line in mutable_globals(source)]
    expect_none(found)


def test_files_name_no_machine_and_no_registry() -> None:
    found = [
        f"{relative(path)}:{number} {match.group()}"
        for path in texts()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        for match in (MACHINE_PATHS.search(line), REGISTRIES.search(line))
        if match
    ]
    expect_none(found)


def expect_none(found: Sequence[str]) -> None:
    """Fail with one line per place that breaks the rule."""
    assert not found, "\n" + "\n".join(found)


def places(sources: Sequence[Source], is_forbidden: Callable[[str], bool]) -> list[str]:
    """path:line and name of every call whose dotted name is forbidden."""
    return [f"{source.path}:{line} {name}" for source in sources for name, line in calls(source) if is_forbidden(name)]


def raises(body: Sequence[ast.stmt]) -> bool:
    """Whether the last statement of a block raises, on every way through it that is easy to see."""
    match body[-1]:
        case ast.Raise():
            return True
        case ast.If(body=then, orelse=[_, *_] as otherwise):
            return raises(then) and raises(otherwise)
        case _:
            return False


def mutable_globals(source: Source) -> Iterator[tuple[str, int]]:
    """Names that a module binds to a list, dict, set or the like; `__all__` is a list by convention."""
    for node in source.tree.body:
        value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
        display = isinstance(value, ast.List | ast.Dict | ast.Set | ast.ListComp | ast.DictComp | ast.SetComp)
        made = isinstance(value, ast.Call) and dotted(value.func) in MUTABLE_CALLS
        if not (display or made):
            continue
        if isinstance(node, ast.AnnAssign) and re.match(r"(Final\[)?(Mapping|Sequence)\[", ast.unparse(node.annotation)):
            continue
        targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        for target in targets:
            if dotted(target) != "__all__":
                yield dotted(target), node.lineno
