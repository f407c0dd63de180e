"""The program `aion-server`: one command per service, and `dev` for all of them on one machine.

Every flag overrides the setting of its name, `AION_<NAME>` in the environment. Exit codes: 0 stopped as asked, 1 an
operating error, 2 wrong usage or settings.
"""

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, NoReturn, cast

import typer
from rich.console import Console

from aion_common.errors import AionError
from aion_common.service import Serve, log_failure, run
from aion_common.settings import Settings, WrongSettings, load_settings
from aion_server.check import check_and_tell
from aion_server.init import create_cluster_and_tell

Bootstrap = Annotated[str | None, typer.Option(metavar="HOST:PORT,...", show_default="127.0.0.1:9092", help="Kafka brokers.")]
TopicPrefix = Annotated[str | None, typer.Option(show_default="aion.", help="Before every topic name.")]
DataDir = Annotated[
    Path | None, typer.Option(show_default=".aion", help="Caches of this process; may be deleted while it is stopped.")
]
SessionTimeout = Annotated[
    int | None, typer.Option(min=100, show_default="6000", help="Without a heartbeat for so long the work goes to others.")
]
LogLevel = Annotated[
    str | None, typer.Option(metavar="debug|info|warning|error", show_default="info", help="Of the JSON lines.")
]
Partitions = Annotated[
    int | None, typer.Option(min=1, show_default="16", help="Of commands and history; fixed for the life of the cluster.")
]
QueueNames = Annotated[
    list[str] | None,
    typer.Option("--queue", metavar="NAME[:PARTITIONS]", help="A task queue to create; may be repeated. `default` always is."),
]
Host = Annotated[str | None, typer.Option(show_default="127.0.0.1", help="Address to listen on.")]

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Runs the services of Aion. `aion-server dev` is all one needs to try it; in production, run `init` once and then "
    "any number of `catalog`, `executor` and `gateway` processes against one Kafka cluster.",
    epilog="Settings come from AION_* environment variables too (AION_BOOTSTRAP, AION_HTTP_PORT, ...); flags win.",
)


@app.command()
def init(
    bootstrap: Bootstrap = None,
    topic_prefix: TopicPrefix = None,
    partitions: Partitions = None,
    replication: Annotated[
        int | None, typer.Option(min=1, show_default="1", help="Copies of every topic; production: 3.")
    ] = None,
    queue: QueueNames = None,
) -> None:
    """Create the topics and task queues of a cluster, or verify them if they exist. Harmless to repeat."""
    flags = {
        "bootstrap": bootstrap,
        "topic_prefix": topic_prefix,
        "partitions": partitions,
        "replication": replication,
        "queues": queue or None,
        "log_level": "warning",
    }
    _end(run(create_cluster_and_tell(Console()), _settings(flags), service="init", tell=_say))


@app.command()
def check(bootstrap: Bootstrap = None, topic_prefix: TopicPrefix = None) -> None:
    """Read every history and check it: chains, order, owners, versions. May run beside a working system."""
    flags = {"bootstrap": bootstrap, "topic_prefix": topic_prefix, "log_level": "warning"}
    _end(run(check_and_tell(Console()), _settings(flags), service="check", tell=_say))


@app.command()
def catalog(  # noqa: PLR0913, PLR0917 - one parameter for each flag
    bootstrap: Bootstrap = None,
    topic_prefix: TopicPrefix = None,
    catalog_id: Annotated[
        str | None, typer.Option(show_default="host name", help="Unique in the cluster, the same after a restart.")
    ] = None,
    http_host: Host = None,
    http_port: Annotated[
        int | None, typer.Option(min=0, max=65535, show_default="0", help="For health checks and metrics; 0 is any free port.")
    ] = None,
    session_timeout_ms: SessionTimeout = None,
    log_level: LogLevel = None,
) -> None:
    """Load packages, route workflow types, unload versions. One process works, others stand by."""
    flags = {"bootstrap": bootstrap, "topic_prefix": topic_prefix, "log_level": log_level}
    address = {"catalog_id": catalog_id, "catalog_http_host": http_host, "catalog_http_port": http_port}
    _serve("catalog", {**flags, **address, "session_timeout_ms": session_timeout_ms})


@app.command()
def executor(  # noqa: PLR0913, PLR0917 - one parameter for each flag
    bootstrap: Bootstrap = None,
    topic_prefix: TopicPrefix = None,
    data_dir: DataDir = None,
    executor_id: Annotated[
        str | None, typer.Option(show_default="host name", help="Unique in the cluster, the same after a restart.")
    ] = None,
    http_host: Host = None,
    http_port: Annotated[
        int | None, typer.Option(min=0, max=65535, show_default="0", help="For gateways; 0 is any free port.")
    ] = None,
    session_timeout_ms: SessionTimeout = None,
    log_level: LogLevel = None,
) -> None:
    """Own partitions: decide commands, run workflows in Erlang VMs, record histories. Start as many as you like."""
    flags = {"bootstrap": bootstrap, "topic_prefix": topic_prefix, "log_level": log_level, "data_dir": data_dir}
    address = {"executor_id": executor_id, "executor_http_host": http_host, "executor_http_port": http_port}
    _serve("executor", {**flags, **address, "session_timeout_ms": session_timeout_ms})


@app.command()
def gateway(  # noqa: PLR0913, PLR0917 - one parameter for each flag
    bootstrap: Bootstrap = None,
    topic_prefix: TopicPrefix = None,
    gateway_id: Annotated[str | None, typer.Option(show_default="host name", help="Unique among the gateways.")] = None,
    http_host: Host = None,
    http_port: Annotated[int | None, typer.Option(min=0, max=65535, show_default="7600", help="Port of the HTTP API.")] = None,
    drain_ms: Annotated[
        int | None, typer.Option(min=0, show_default="2000", help="To refuse new work for so long before the end.")
    ] = None,
    log_level: LogLevel = None,
) -> None:
    """Serve the HTTP API."""
    flags = {"bootstrap": bootstrap, "topic_prefix": topic_prefix, "log_level": log_level}
    address = {"http_host": http_host, "http_port": http_port}
    _serve("gateway", {**flags, **address, "gateway_id": gateway_id, "drain_ms": drain_ms})


@app.command()
def dev(  # noqa: PLR0913, PLR0917 - one parameter for each flag
    data_dir: Annotated[Path | None, typer.Option(show_default=".aion", help="Everything is kept here between runs.")] = None,
    http_port: Annotated[
        int | None, typer.Option(min=0, max=65535, show_default="7600", help="Port of the HTTP API; 0 is any free one.")
    ] = None,
    kafka_port: Annotated[
        int, typer.Option(min=0, max=65535, show_default="9092", help="Port of the broker; 0 is any free one.")
    ] = 9092,
    executors: Annotated[int, typer.Option(min=1, max=64, show_default="1", help="Number of executor processes.")] = 1,
    partitions: Partitions = None,
    queue: QueueNames = None,
    bootstrap: Annotated[
        str | None, typer.Option(metavar="HOST:PORT,...", help="Use this cluster instead of an own broker.")
    ] = None,
    topic_prefix: TopicPrefix = None,
    log_level: LogLevel = None,
) -> None:
    """Run the whole system on this machine: broker, catalog, executors, gateway. Ctrl-C stops it, the data stays."""
    from aion_server.stack import StackSpec, stack  # noqa: PLC0415 - only here the broker's libraries are needed

    flags = {"data_dir": data_dir, "http_port": http_port, "partitions": partitions, "bootstrap": bootstrap}
    settings = _settings({**flags, "queues": queue or None, "topic_prefix": topic_prefix, "log_level": log_level})
    own_broker = "bootstrap" not in settings.model_fields_set
    spec = StackSpec(executors=executors, kafka_port=kafka_port, own_broker=own_broker, log_level=settings.log_level)
    quiet = settings.model_copy(update={"log_level": "warning"})
    _end(run(stack(spec, Console(soft_wrap=True)), quiet, service="dev", tell=_say))


def main() -> None:
    """Entry point of the program."""
    app()


def _serve(service: str, flags: Mapping[str, object]) -> NoReturn:
    settings = _settings(flags)
    try:
        serve = cast(Serve, importlib.import_module(f"aion_{service}.app").serve)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("aion_"):
            raise
        _say(AionError(f"{error.name} is not installed: pip install 'aion[{service}]'"))
        _end(1)
    _end(run(serve, settings, service=service, tell=log_failure))


def _settings(flags: Mapping[str, object]) -> Settings:
    try:
        return load_settings(flags)
    except WrongSettings as error:
        _say(error)
        _end(2)


def _say(error: AionError) -> None:
    typer.secho(f"aion-server: {error}", fg="red", err=True)


def _end(code: int) -> NoReturn:
    raise typer.Exit(code)
