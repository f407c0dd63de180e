"""`aion`: the commands put together, and the entry point.

Exit codes: 0 done; 1 refused or failed, also a run that failed while it was waited for; 2 called wrongly, nothing was sent;
130 stopped with Ctrl-C.
"""

import importlib.metadata
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Annotated, NoReturn

import typer

from aion_cli import completing, control, packages, queues, runs, verifying, working
from aion_cli.session import AsJson, Common, Namespace, Url, command

app = typer.Typer(
    name="aion",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _panel, _commands in {
    "Code": (packages.pack, packages.deploy, packages.versions, packages.route, packages.unload),
    "Runs": (
        runs.start,
        runs.signal,
        control.query,
        runs.describe,
        runs.history,
        runs.result,
        control.list_,
        control.cancel,
        control.terminate,
    ),
    "Activities": (working.worker, queues.queues, queues.create_queue),
    "Operation": (verifying.verify, packages.drain, completing.completion),
}.items():
    for _command in _commands:
        app.command(_command.__name__.rstrip("_").replace("_", "-"), rich_help_panel=_panel)(command(_command))


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"aion {_version()}")
        raise typer.Exit


def _version() -> str:
    try:
        return importlib.metadata.version("aion")
    except importlib.metadata.PackageNotFoundError:
        return "(not installed)"


@app.callback()
def common(
    ctx: typer.Context,
    url: Url = None,
    namespace: Namespace = None,
    as_json: AsJson = False,
    _wanted: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version of this program.")
    ] = False,
) -> None:
    """Deploy workflow code and run it, durably.

    A first walk, with a server started by `aion-server dev`:

      aion deploy order.erl

      aion start order --workflow-id order-1 --input '{"item": 7}'

      aion signal order-1 release

      aion result order-1
    """
    given = ctx.obj
    assert isinstance(given, Common), "the command line is entered through `run`"
    ctx.obj = replace(
        given,
        url=url or os.environ.get("AION_URL") or None,
        namespace=namespace or os.environ.get("AION_NAMESPACE") or None,
        as_json=as_json,
    )


def run(arguments: Sequence[str], pause: Callable[[float], None] = time.sleep) -> NoReturn:
    """One call of the command line; ends with SystemExit. `pause` waits between tries, in seconds."""
    app(list(arguments), prog_name="aion", obj=Common(pause=pause))
    raise SystemExit(0)


def main() -> None:
    """The program `aion`."""
    run(sys.argv[1:])
