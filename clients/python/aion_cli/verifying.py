"""The command `verify`: does a history keep its promises? Recomputed here, from the records as they stand in the log.

The records of a run come from the gateway or, trusting nobody, from Kafka itself; those of all runs from Kafka.
"""

from typing import Annotated

import typer

from aion_cli.outcome import misused
from aion_cli.runs import RunId
from aion_cli.session import Session

Bootstrap = Annotated[
    str | None, typer.Option(metavar="HOST:PORT,...", help="Read the history topic from these brokers, not from the gateway.")
]


def verify(
    session: Session,
    workflow_id: Annotated[str | None, typer.Argument(metavar="[WORKFLOW_ID]")] = None,
    *,
    run_id: RunId = None,
    all_: Annotated[bool, typer.Option("--all", help="Check every history of the cluster; needs --bootstrap.")] = False,
    bootstrap: Bootstrap = None,
    topic_prefix: Annotated[str, typer.Option(help="Before every topic name; with --bootstrap.")] = "aion.",
) -> None:
    """Check that a history is what was written: its hash chain, order and end.

    The chain of a run is computed anew over the bytes of its records. With --all every history is read, and also checked
    are owners, the order of commands, versions at their position, and answers.

    Exit code 0: every promise is kept. 1: one is broken, each is named; or it could not be checked.

    Examples:

      aion verify order-17

      aion verify order-17 --bootstrap 127.0.0.1:9092

      aion verify --all --bootstrap 127.0.0.1:9092 --json
    """
    if all_ == (workflow_id is not None):
        raise misused("name a workflow id, or say --all")
    if all_ and bootstrap is None:
        raise misused("--all reads every history from Kafka: name its brokers with --bootstrap HOST:PORT")
    if all_ and run_id is not None:
        raise misused("--run-id is for one workflow id, --all for everything")

    from aion_cli import histories  # noqa: PLC0415 - the client of Kafka is slow to load, and no other command needs it

    if workflow_id is None:
        assert bootstrap is not None, "looked at above"
        histories.verify_all(session, bootstrap, topic_prefix)
    elif bootstrap is None:
        histories.verify_at_gateway(session, workflow_id, run_id)
    else:
        histories.verify_in_kafka(session, (bootstrap, topic_prefix), workflow_id, run_id)
