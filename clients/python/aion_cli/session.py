"""What every command needs: where the server is, how to print, and how errors end. Options of all commands live here.

They may stand before the command or behind it (`aion --json versions`, `aion versions --json`); behind it wins.
"""

import inspect
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Concatenate, ParamSpec

import typer

from aion_cli.advice import refusal_of
from aion_cli.output import Output, open_output
from aion_client import DEFAULT_NAMESPACE, DEFAULT_URL, Client, Retry

Parameters = ParamSpec("Parameters")

Url = Annotated[str | None, typer.Option("--url", help="The server. Default: AION_URL, else " + DEFAULT_URL + ".")]
Namespace = Annotated[
    str | None, typer.Option("--namespace", "-n", help="Default: AION_NAMESPACE, else " + DEFAULT_NAMESPACE + ".")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Common:
    """Values of the options that stand before the command; None: not given. `pause`: how to wait between tries, in seconds."""

    url: str | None = None
    namespace: str | None = None
    as_json: bool = False
    pause: Callable[[float], None] = time.sleep


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One call of the command line. `program`: the definition of all commands, as typer made it."""

    url: str
    namespace: str
    output: Output
    pause: Callable[[float], None]
    program: Any

    def connect(self) -> Client:
        """A client of the server that was named. Raises InvalidCall for an address that is none."""
        told: set[str] = set()

        def tell_once(retry: Retry) -> None:
            if retry.reason not in told:
                told.add(retry.reason)
                self.output.note(f"{retry.reason}; trying again for up to {retry.left_s:.0f} s")

        return Client(self.url, namespace=self.namespace, on_retry=tell_once, pause=self.pause)


def command(
    function: Callable[Concatenate[Session, Parameters], None],
) -> Callable[..., None]:
    """The function as a command: its Session is made of the common options, and its errors become words and exit codes."""

    def run(ctx: typer.Context, url: str | None, namespace: str | None, as_json: bool, **own: object) -> None:
        common = ctx.find_object(Common) or Common()
        session = Session(
            url=url or common.url or DEFAULT_URL,
            namespace=namespace or common.namespace or DEFAULT_NAMESPACE,
            output=open_output(as_json=as_json or common.as_json),
            pause=common.pause,
            program=ctx.find_root().command,
        )
        try:
            function(session, **own)  # type: ignore[arg-type, call-arg]
        except Exception as error:
            refusal = refusal_of(error)
            if refusal is None:
                raise
            session.output.trouble(refusal.trouble)
            raise typer.Exit(refusal.exit_code) from error

    own = list(inspect.signature(function).parameters.values())[1:]
    keyword = inspect.Parameter.KEYWORD_ONLY
    shared = [
        inspect.Parameter("url", keyword, default=None, annotation=Url),
        inspect.Parameter("namespace", keyword, default=None, annotation=Namespace),
        inspect.Parameter("as_json", keyword, default=False, annotation=AsJson),
    ]
    context = inspect.Parameter("ctx", keyword, annotation=typer.Context)
    parameters = [context, *(parameter.replace(kind=keyword) for parameter in own), *shared]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    run.__name__, run.__doc__ = function.__name__, function.__doc__
    return run
