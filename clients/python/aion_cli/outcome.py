"""How a command ends when it does not end well: as an exception that says which exit code and which words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

OK, REFUSED, USAGE, INTERRUPTED = 0, 1, 2, 130


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """What happened, and what to do next. `code`: stable, for programs; `details`: more lines for people; `fields`: more for
    programs."""

    code: str
    what: str
    details: Sequence[str] = ()
    next_steps: Sequence[str] = ()
    fields: Mapping[str, object] = field(default_factory=dict)


class Failed(Exception):
    """The command could not do what was asked: exit code 1."""

    exit_code = REFUSED

    def __init__(self, trouble: Trouble) -> None:
        super().__init__(trouble.what)
        self.trouble = trouble


class Misused(Failed):
    """The command was called wrongly, and nothing was sent: exit code 2."""

    exit_code = USAGE


def failed(code: str, what: str, *next_steps: str) -> Failed:
    """A `Failed` with these words."""
    return Failed(Trouble(code=code, what=what, next_steps=next_steps))


def misused(what: str, *next_steps: str) -> Misused:
    """A `Misused` with these words."""
    return Misused(Trouble(code="usage", what=what, next_steps=next_steps))
