"""A mechanism, and how it is switched off."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """`before` stands once in `file`. `tests`: below `tests/`; at least one must fail."""

    name: str
    file: str
    before: str
    after: str
    tests: tuple[str, ...]
