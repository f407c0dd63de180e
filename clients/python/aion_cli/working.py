"""The command `worker`: execute the activities of a Python module until it is told to stop."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from aion_cli.outcome import failed, misused
from aion_cli.session import Session
from aion_common.limits import GROUP_SESSION_MS

if TYPE_CHECKING:
    from aion_worker import Activity, Worker

DEFAULT_BOOTSTRAP = "127.0.0.1:9092"
METRICS = "Metrics"
PORT_MAX = 65_535


def worker(  # noqa: PLR0913 - one parameter for each option of the command line
    session: Session,
    module: Annotated[str, typer.Argument(metavar="MODULE[:OBJECT]", help="Where the activities are, as Python imports it.")],
    *,
    queue: Annotated[str, typer.Option("--queue", "-q", help="The task queue to work for.")] = "default",
    bootstrap: Annotated[
        str, typer.Option(metavar="HOST:PORT,...", envvar="AION_BOOTSTRAP", help="Kafka brokers.")
    ] = DEFAULT_BOOTSTRAP,
    max_concurrent: Annotated[int, typer.Option(min=1, help="Activities under way at once.")] = 100,
    prefix: Annotated[str, typer.Option(envvar="AION_TOPIC_PREFIX", help="Before every topic name.")] = "aion.",
    grace: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="How long activities may take to end when the worker is stopped.")
    ] = 30,
    session_s: Annotated[
        float,
        typer.Option("--session", min=0.1, metavar="SECONDS", help="Silent for so long, a worker loses its tasks to others."),
    ] = GROUP_SESSION_MS / 1000,
    metrics_port: Annotated[
        int | None,
        typer.Option(
            min=0, max=PORT_MAX, rich_help_panel=METRICS, help="Serve GET /metrics here, for Prometheus; 0: any free port."
        ),
    ] = None,
    metrics_host: Annotated[
        str, typer.Option(rich_help_panel=METRICS, help="The address to serve them on. Whoever reaches it reads them.")
    ] = "127.0.0.1",
) -> None:
    """Execute activities written in Python.

    MODULE is imported from the current folder or from what is installed, and every function in it that has @activity above
    it is executed. OBJECT names one of them, or a list of them.

    SIGTERM or Ctrl-C: no further task is begun, those that run may end, then the program does; a second one ends it at once.
    It is killed when the process that AION_PARENT_PID names, its parent, is gone (Linux only).
    Logs are JSON lines on stderr. The gateway is not needed: --url and --namespace mean nothing here.

    Examples:

      aion worker activities

      aion worker shop.payments --queue payments --max-concurrent 20

      aion worker shop.payments:charge --bootstrap kafka-1:9092,kafka-2:9092
    """
    from aion_common.logs import configure_logs  # noqa: PLC0415 - the client of Kafka is slow to load, as in `verify`
    from aion_common.service import collect_rarely, end_with_parent, run_in_batches  # noqa: PLC0415
    from aion_worker import Worker, WrongActivity  # noqa: PLC0415

    end_with_parent()
    activities = activities_of(module)
    try:
        made = Worker(
            bootstrap,
            queue,
            activities=activities,
            max_concurrent=max_concurrent,
            prefix=prefix,
            grace_s=grace,
            session_s=session_s,
        )
    except (ValueError, WrongActivity) as error:
        raise misused(str(error)) from error
    configure_logs("info", service="worker")
    collect_rarely()
    run_in_batches()
    if metrics_port is not None:
        session.output.note(f"metrics at {serve_metrics(metrics_host, metrics_port)}")
    session.output.note(f"executing {', '.join(sorted(one.name for one in activities))} for queue {queue}")
    _run(made)


def serve_metrics(host: str, port: int) -> str:
    """Serve the process's metrics in a thread of their own until it ends; their address. Raises Misused if that cannot be."""
    from prometheus_client import start_http_server  # noqa: PLC0415

    try:
        server, _ = start_http_server(port, addr=host)
    except OSError as error:
        raise misused(f"metrics cannot be served at {host}:{port}: {error.strerror or error}", "choose another port") from error
    return f"http://{host}:{server.server_port}/metrics"


def activities_of(named: str) -> "tuple[Activity[..., Any], ...]":
    """The activities that MODULE[:OBJECT] names. Raises Misused, saying what is wrong and where."""
    import importlib  # noqa: PLC0415
    import sys  # noqa: PLC0415
    import traceback  # noqa: PLC0415

    from aion_worker import Activity  # noqa: PLC0415

    name, _, wanted = named.partition(":")
    if name.endswith(".py") or "/" in name:
        as_module = name.removesuffix(".py").strip("./").replace("/", ".")
        raise misused(f"{name} is a file: name the module", f"aion worker {as_module}")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        module = importlib.import_module(name)
    except Exception as error:
        where = [line.strip() for line in traceback.format_exception_only(error)]
        place = traceback.extract_tb(error.__traceback__)[-1]
        missing = isinstance(error, ModuleNotFoundError) and error.name in (name, name.partition(".")[0])
        at = () if missing else (f"raised in {place.filename}, line {place.lineno}",)
        hint = ("call it from the folder in which the module lies, or install it",) if missing else ()
        raise misused(f"{name} cannot be imported: {where[-1]}", *at, *hint) from error
    found: object = vars(module).values()
    if wanted:
        found = getattr(module, wanted, None)
        if found is None:
            raise misused(f"module {name} has no {wanted}")
    several = (found,) if isinstance(found, Activity) or not hasattr(found, "__iter__") else tuple(found)
    activities = tuple({id(one): one for one in several if isinstance(one, Activity)}.values())
    if not activities or (wanted and len(activities) < len(several)):
        what = f"{wanted} in module {name}" if wanted else f"module {name}"
        raise misused(
            f"{what} holds no activities" if not activities else f"{what} holds something that is no activity",
            "put `@activity` (from aion_worker import activity) above a function",
        )
    return activities


def _run(worker: "Worker") -> None:
    from aion_common.errors import AionError, Unavailable, WrongCluster  # noqa: PLC0415
    from aion_worker import NoSuchQueue  # noqa: PLC0415

    try:
        worker.run()
    except AionError as error:
        steps: tuple[str, ...] = ()
        match error:
            case NoSuchQueue():
                steps = (f"`aion create-queue {worker.queue}` makes it, `aion queues` names those that are there.",)
            case WrongCluster():
                steps = ("Is --prefix the cluster's? Is --session what its brokers permit?",)
            case Unavailable():
                steps = ("Do --bootstrap's brokers run? `aion-server dev` tells the address of its own.",)
            case _:
                pass
        raise failed("worker_failed", str(error), *steps) from error
