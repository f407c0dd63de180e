"""Commands about task queues: queues, create-queue. Queues belong to the cluster, whatever the namespace."""

from typing import Annotated

import typer

from aion_cli.output import Output
from aion_cli.session import Session


def queues(session: Session) -> None:
    """List the task queues: from them workers take tasks, to them activities are sent."""
    with session.connect() as client:
        found = client.queues()

    def show(out: Output) -> None:
        if not found:
            out.say("There is no task queue. `aion create-queue` creates one.")
            return
        out.table(("QUEUE", "PARTITIONS"), [(queue["name"], str(queue["partitions"])) for queue in found])

    session.output.answer({"queues": found}, show)


def create_queue(
    session: Session,
    name: Annotated[str, typer.Argument(metavar="NAME", help="a to z, 0 to 9, - and _; at most 63.")],
    partitions: Annotated[
        int | None,
        typer.Option(min=1, help="So many workers share it at most; fixed for its life. Default: as many as the cluster has."),
    ] = None,
) -> None:
    """Create a task queue, unless it is there. The queue `default` always is.

    Examples:

      aion create-queue mail

      aion create-queue reports --partitions 4
    """
    with session.connect() as client:
        queue = client.create_queue(name, partitions)
    became = "is created" if queue["created"] else "was there already"
    of = "1 partition" if queue["partitions"] == 1 else f"{queue['partitions']} partitions"
    session.output.answer(queue, lambda out: out.say(f"The queue {queue['name']} {became}, with {of}."))
