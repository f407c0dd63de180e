"""The project's own sources, and small questions about their syntax. What the house-rules tests share."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("libs", "services", "clients", "examples", "benchmarks")
_MADE = frozenset({"__pycache__", "node_modules"})
TEXTS = frozenset({".py", ".erl", ".hrl", ".md", ".toml", ".txt", ".avsc", ".yaml", ".yml", ".sh", ""})


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One Python file; `path` is relative to the root, with forward slashes."""

    path: str
    text: str
    tree: ast.Module


@cache
def production() -> tuple[Source, ...]:
    """Everything that is not a test."""
    return tuple(source for room in ROOMS for source in _below(ROOT / room))


@cache
def of_tests() -> tuple[Source, ...]:
    """Tests and what they share."""
    return tuple(_below(ROOT / "tests"))


def erlang() -> list[Path]:
    """Erlang sources, tests included."""
    return sorted(path for folder in ("erlang", "examples", "tests") for path in (ROOT / folder).rglob("*.erl"))


def texts() -> list[Path]:
    """Every file that people read, of the whole project."""
    folders = [ROOT / name for name in (*ROOMS, "tests", "erlang", "schemas", "docs", ".ci", "deploy")]
    nested = (path for folder in folders for path in folder.rglob("*") if not _MADE & set(path.parts))
    return sorted(path for path in (*ROOT.iterdir(), *nested) if path.is_file() and path.suffix in TEXTS)


def calls(source: Source) -> Iterator[tuple[str, int]]:
    """Dotted name and line of every call whose name is one: `asyncio.sleep`, `print`."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call) and (name := dotted(node.func)):
            yield name, node.lineno


def dotted(node: ast.expr) -> str:
    """`a.b.c` of a name or attribute; the base is `?` where it is no name; empty for other expressions."""
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=value, attr=name):
            return f"{dotted(value) or '?'}.{name}"
        case _:
            return ""


def relative(path: Path) -> str:
    """The path as a failing test prints it."""
    return path.relative_to(ROOT).as_posix()


def _below(folder: Path) -> Iterator[Source]:
    for path in sorted(folder.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        yield Source(path=relative(path), text=text, tree=ast.parse(text, filename=str(path)))
