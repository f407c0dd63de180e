"""From what the client raised to words: what happened, and what to do next."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from aion_cli.outcome import Failed, Trouble, misused
from aion_client import InvalidCall, Problem, UnexpectedAnswer, Unreachable, VersionPinned
from aion_common.errors import BadPackage, Unavailable, WrongCluster

_FIXED_STEPS: Final[Mapping[str, Sequence[str]]] = MappingProxyType(
    {
        "unknown_workflow_type": ("`aion versions` lists what is loaded; `aion deploy` loads a package.",),
        "not_found": ("Are the workflow id and the namespace (--namespace) right?",),
        "closed": ("`aion describe` shows how the run ended; only open runs take signals, answer queries and can be ended.",),
        "queue_exists": ("`aion queues` lists the task queues. What a queue was created with stays for its life.",),
        "limit_exceeded": ("`aion queues` lists the task queues.",),
        "query_failed": ("The workflow's module answers queries by handle_query/3, while its run is open and not blocked.",),
        "query_timeout": ("The run may be busy, or its VM is starting: try again in a moment.",),
        "manifest_mismatch": (
            "The same modules are loaded with another manifest, and a version keeps its manifest for ever.",
            "Change the code, if only by a module attribute: a new version may have the new manifest.",
        ),
    }
)


def refusal_of(error: Exception) -> Failed | None:
    """The words for an error that is to be expected; None for a defect, which should show itself."""
    match error:
        case Failed():
            return error
        case Problem():
            trouble = Trouble(code=error.code, what=error.detail, next_steps=_next_steps(error), fields=error.fields)
        case Unreachable():
            trouble = _unreachable(error)
        case UnexpectedAnswer():
            steps = ("Is --url (or AION_URL) the address of Aion's gateway? Is a proxy in between?",)
            trouble = Trouble(code="unexpected_answer", what=str(error), next_steps=steps)
        case WrongCluster():
            trouble = Trouble(code="wrong_cluster", what=str(error), next_steps=("Is --topic-prefix right?",))
        case Unavailable():
            trouble = Trouble(code="unavailable", what=str(error), next_steps=("Do --bootstrap's brokers run?",))
        case BadPackage():
            trouble = Trouble(code="invalid_package", what=str(error))
        case InvalidCall():
            return misused(str(error))
        case OSError():
            trouble = Trouble(code="file", what=str(error))
        case _:
            return None
    return Failed(trouble)


def _unreachable(error: Unreachable) -> Trouble:
    steps = [
        f"Is a server running at {error.url}? `aion-server dev` starts one on this machine.",
        "Another server is named with --url or the environment variable AION_URL.",
    ]
    if error.idempotency_key is not None:
        steps.append(
            f"Whether the call took effect is unknown; repeating it with {_key_option(error.idempotency_key)} is safe."
        )
    fields = {"url": error.url, "tried_s": round(error.tried_s, 1), "idempotency_key": error.idempotency_key}
    return Trouble(code="unreachable", what=str(error), next_steps=steps, fields=fields)


def _next_steps(problem: Problem) -> Sequence[str]:
    fields = problem.fields
    match problem.code:
        case "unknown_version":
            steps = _loaded(fields.get("loaded"))
        case "already_started":
            steps = [
                f"Run {fields.get('run_id', '?')} of this workflow id is open: `aion describe` shows it.",
                "--id-conflict use_existing takes it as the answer; another --workflow-id starts another run.",
            ]
        case "unavailable" | "shutting_down" | "overloaded":
            steps = ["Try again in a moment."]
            if "idempotency_key" in fields:
                steps = [f"Try again in a moment; with {_key_option(str(fields['idempotency_key']))} a repeat is safe."]
        case "version_pinned" if isinstance(problem, VersionPinned):
            steps = _pinned(problem)
        case "route_active":
            which = fields.get("workflow_type", "its types")
            steps = [f"New starts of {which} run on it: route them to another version first (`aion route`), or deploy one."]
        case "payload_too_large" if "limit_bytes" in fields:
            steps = [f"At most {fields['limit_bytes']} bytes are taken."]
        case code:
            steps = list(_FIXED_STEPS.get(code, ()))
    return steps


def _key_option(key: str) -> str:
    return f"--idempotency-key {key}"


def _pinned(problem: VersionPinned) -> list[str]:
    steps = [f"  {pin['kind']}: {pin['workflow_id']}, run {pin['run_id']}" for pin in problem.pins]
    if (rest := problem.pins_total - len(problem.pins)) > 0:
        steps.append(f"  and {rest} more")
    end = "Try again when these have closed; `aion cancel` and `aion terminate` end runs."
    return [f"It is needed by {problem.pins_total}:", *steps, end]


def _loaded(versions: object) -> list[str]:
    if not isinstance(versions, list) or not versions:
        return ["No version is loaded: `aion deploy` loads one."]
    return ["Loaded are:", *(f"  {version}" for version in versions), "`aion versions` says more about them."]
