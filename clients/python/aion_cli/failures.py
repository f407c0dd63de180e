"""Why a run failed, for people: a sentence, and what the failure knows beside it."""

from collections.abc import Mapping, Sequence

from aion_cli.output import json_line
from aion_client import Failure, Json
from aion_client.json_text import render


def sentence(failure: Failure) -> str:
    """The message and the kind. A message that only says again what the details say is left out."""
    kind, message = failure["kind"], failure["message"]
    return kind if _says_details(failure) else f"{message} ({kind})"


def details(failure: Failure) -> Sequence[str]:
    """Its details: what an object holds name by name, texts as they are. Nothing if the sentence has said them."""
    known = failure.get("details")
    if known is None or known == failure["message"]:
        return ()
    if not isinstance(known, Mapping) or not known:
        return _text(known).splitlines()
    return [line for name, member in known.items() for line in f"{name}: {_text(member)}".splitlines()]


def _says_details(failure: Failure) -> bool:
    """A workflow that returns an error which is no text has its JSON for a message, cut where messages are."""
    known = failure.get("details")
    is_shown = known is not None and not isinstance(known, str)
    return is_shown and render(known).startswith(failure["message"])


def _text(value: Json) -> str:
    return value if isinstance(value, str) else json_line(value)
