"""Activities: functions under a name, whose input is checked against their type hints before they are called.

One parameter takes the whole input. Several take an object's members of their names, and no others may be there. A
parameter annotated with `Context` takes no part in that. A function without parameters is called whatever the input is.
"""

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, NotRequired, ParamSpec, TypeVar, get_type_hints, overload

import msgspec
from pydantic import ConfigDict, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from aion_common import limits
from aion_common.records.common import JSON, Payload
from aion_worker.context import Context
from aion_worker.errors import TerminalError, WrongActivity
from aion_worker.json_values import json_of

P = ParamSpec("P")
R = TypeVar("R")

_KINDS = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
_ERRORS_NAMED_MAX = 20


class Activity(Generic[P, R]):
    """A function that workflows can call. Called directly, it is the function itself."""

    def __init__(self, function: Callable[P, R], name: str) -> None:
        if not 0 < len(name.encode()) <= limits.NAME_BYTES_MAX:
            raise WrongActivity(f"the name of an activity has 1 to {limits.NAME_BYTES_MAX} bytes, got {name!r}")
        self.name = name
        self.function = function
        self.is_async = inspect.iscoroutinefunction(function)
        self._signature = _signature_of(function, name)
        self.takes_context = self._signature.context is not None
        functools.update_wrapper(self, function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """The function itself, without any check."""
        return self.function(*args, **kwargs)

    def arguments(self, payload: Payload | None, context: Context) -> dict[str, Any]:
        """Keyword arguments for the function. Raises TerminalError (`bad_input`) that names the first field in fault, with
        all of them in its details."""
        signature = self._signature
        arguments = {} if signature.context is None else {signature.context: context}
        if signature.adapter is None:
            return arguments
        if payload is None and signature.is_optional:
            return arguments
        if payload is not None and payload.content_type != JSON:
            raise TerminalError("bad_input", f"the input is {payload.content_type}, not {JSON}")
        try:
            value = signature.adapter.validate_json(b"null" if payload is None else payload.data)
        except ValidationError as error:
            raise _bad_input(error, signature.only, payload) from error
        return arguments | (value if signature.only is None else {signature.only: value})

    def result(self, value: object) -> bytes:
        """The result as JSON. Raises TerminalError: `bad_result` for what cannot be JSON, `limit` for what is too large."""
        text = json_of(value, self._signature.result)
        if len(text) > limits.PAYLOAD_BYTES_MAX:
            raise TerminalError("limit", f"a result of {len(text)} bytes, at most {limits.PAYLOAD_BYTES_MAX}")
        return text


@overload
def activity(function: Callable[P, R], /) -> Activity[P, R]: ...
@overload
def activity(function: str | None = None, /) -> Callable[[Callable[P, R]], Activity[P, R]]: ...
def activity(function: Any = None, /) -> Any:
    """Make a function an activity: `@activity` under its own name, `@activity("name")` under another one.

    The function may be `async`, or plain: then it runs in a thread. A bound method will do: `activity("charge")(shop.charge)`.
    Raises WrongActivity for a function whose parameters cannot be filled from an input."""
    if callable(function):
        return Activity(function, function.__name__)
    return lambda actual: Activity(actual, actual.__name__ if function is None else function)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Signature:
    """`context`: the parameter that takes it. `only`: the parameter that takes the whole input; None: the adapter gives all of
    them. `is_optional`: nothing must be given."""

    context: str | None
    only: str | None
    adapter: TypeAdapter[Any] | None
    is_optional: bool
    result: TypeAdapter[Any]


def _signature_of(function: Callable[..., Any], name: str) -> _Signature:
    try:
        hints = get_type_hints(function, include_extras=True)
    except (NameError, TypeError) as error:
        raise WrongActivity(f"activity {name}: its type hints cannot be read: {error}") from error
    context: str | None = None
    inputs: dict[str, inspect.Parameter] = {}
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind not in _KINDS:
            raise WrongActivity(f"activity {name}: *, ** and positional-only parameters cannot be filled, {parameter} is one")
        if hints.get(parameter.name) is not Context:
            inputs[parameter.name] = parameter
        elif context is not None:
            raise WrongActivity(f"activity {name}: one parameter takes the Context, {context} and {parameter.name} would")
        else:
            context = parameter.name
    try:
        return _Signature(
            context=context,
            only=next(iter(inputs)) if len(inputs) == 1 else None,
            adapter=_adapter(inputs, hints),
            is_optional=all(parameter.default is not inspect.Parameter.empty for parameter in inputs.values()),
            result=TypeAdapter(hints.get("return", Any)),
        )
    except Exception as error:  # pydantic has several, none of them common to all it cannot make a schema of
        raise WrongActivity(f"activity {name}: its type hints cannot be checked: {error}") from error


def _adapter(inputs: Mapping[str, inspect.Parameter], hints: Mapping[str, Any]) -> TypeAdapter[Any] | None:
    if not inputs:
        return None
    if len(inputs) == 1:
        return TypeAdapter(hints.get(next(iter(inputs)), Any))
    members = {
        name: hints.get(name, Any) if parameter.default is inspect.Parameter.empty else NotRequired[hints.get(name, Any)]
        for name, parameter in inputs.items()
    }
    return TypeAdapter(_members_type("Input", members))


def _members_type(name: str, members: Mapping[str, Any]) -> Any:
    """A TypedDict that takes no other members. Made as this, since a type checker wants a display of them."""
    make: Any = TypedDict
    made = make(name, members)
    made.__pydantic_config__ = ConfigDict(extra="forbid")
    return made


def _bad_input(error: ValidationError, only: str | None, payload: Payload | None) -> TerminalError:
    before = () if only is None else (only,)
    faults = [
        {"field": ".".join(str(part) for part in (*before, *fault["loc"])) or "input", "message": fault["msg"]}
        for fault in error.errors(include_url=False, include_input=False, include_context=False)
    ]
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    message = f"{faults[0]['field']}: {faults[0]['message']}{more}"
    if only is not None and payload is not None and _has_member(payload.data, only):
        message += f"; the one parameter {only} takes the whole input, not its member {only!r}"
    return TerminalError("bad_input", message[: limits.REASON_BYTES_MAX], faults[:_ERRORS_NAMED_MAX])


def _has_member(text: bytes, name: str) -> bool:
    try:
        value = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return False
    return isinstance(value, dict) and name in value
