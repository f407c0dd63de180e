"""Commands that find runs, ask them, and end them: list, query, cancel, terminate."""

import enum
from itertools import islice
from typing import Annotated

import typer

from aion_cli.inputs import full_version, json_argument, moment_ms
from aion_cli.output import Output, json_line, moment, short
from aion_cli.runs import JSON_FORMS, Key, RunId, WorkflowIdArgument
from aion_cli.session import Session
from aion_client import ABSENT, Ended, Listed, ListOptions
from aion_common.clock import SystemClock
from aion_common.limits import LIST_PAGE_MAX

LISTED_BY_DEFAULT = 50
Reason = Annotated[str | None, typer.Option("--reason", help="Why; kept in the run's history.")]


class Status(enum.StrEnum):
    """Where a run stands."""

    RUNNING = "running"
    BLOCKED = "blocked"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TERMINATED = "terminated"
    TIMED_OUT = "timed_out"


def list_(  # noqa: PLR0913 - one parameter for each option of the command line
    session: Session,
    *,
    workflow_type: Annotated[str | None, typer.Option("--type", help="Only runs of this workflow type.")] = None,
    status: Annotated[Status | None, typer.Option(help="Only runs with this status.")] = None,
    version: Annotated[str | None, typer.Option(metavar="VERSION", help="Only runs on this version.")] = None,
    started_after: Annotated[
        str | None,
        typer.Option(metavar="MOMENT", help="Only runs started later: 2h (ago), 2026-11-24T10:00, or ms since 1970."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Show at most so many.")] = LISTED_BY_DEFAULT,
    all_: Annotated[bool, typer.Option("--all", help="Show all of them.")] = False,
) -> None:
    """List runs, the newest first.

    Examples:

      aion list --status running --type order

      aion list --started-after 2h --version 3f2a91bc

      aion list --all --json
    """
    options: ListOptions = {
        "workflow_type": workflow_type,
        "status": None if status is None else status.value,
        "started_after": None if started_after is None else moment_ms(started_after, SystemClock()),
    }
    with session.connect() as client:
        if version is not None:
            options["version"] = full_version(client, version)
        # One more than is shown, to know whether there are more.
        page_runs = LIST_PAGE_MAX if all_ else min(limit + 1, LIST_PAGE_MAX)
        found = client.every_workflow(page_runs=page_runs, **options)
        runs = list(found) if all_ else list(islice(found, limit + 1))
    shown = runs if all_ else runs[:limit]

    def show(out: Output) -> None:
        if not shown:
            out.say("There is no such run.")
            return
        out.table(("WORKFLOW", "RUN", "TYPE", "VERSION", "STATUS", "STARTED", "CLOSED"), [_row(run) for run in shown])
        if len(runs) > len(shown):
            out.note(f"There are more than {limit}: --limit or --all shows them.")

    session.output.answer({"workflows": shown, "is_complete": len(runs) == len(shown)}, show)


def query(
    session: Session,
    workflow_id: WorkflowIdArgument,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The query's name.")],
    arguments: Annotated[str | None, typer.Argument(metavar=f"[{JSON_FORMS}]", help="Its arguments. Default: null.")] = None,
    *,
    run_id: RunId = None,
    wait_ms: Annotated[int | None, typer.Option(min=1, help="How long it may take. Default: as long as queries may.")] = None,
) -> None:
    """Ask the code of an open run about its state. Changes nothing.

    The workflow's module answers, by handle_query/3, from what the run last gave to aion_flow:publish/1.

    Example:

      aion query order-17 stage
    """
    given = ABSENT if arguments is None else json_argument(arguments, "the query's argument")
    with session.connect() as client:
        answer = client.query(workflow_id, name, given, run_id=run_id, wait_ms=wait_ms)
    session.output.answer(answer, lambda out: out.say(json_line(answer)))


def cancel(
    session: Session,
    workflow_id: WorkflowIdArgument,
    *,
    reason: Reason = None,
    run_id: RunId = None,
    idempotency_key: Key = None,
) -> None:
    """Ask a run to end. It may clean up for a minute; then it is ended.

    Example:

      aion cancel order-17 --reason "out of stock"
    """
    with session.connect() as client:
        ended = client.cancel(workflow_id, reason, run_id=run_id, idempotency_key=idempotency_key)
    _tell(session, ended, f"{workflow_id} was asked to cancel")


def terminate(
    session: Session,
    workflow_id: WorkflowIdArgument,
    *,
    reason: Reason = None,
    run_id: RunId = None,
    idempotency_key: Key = None,
) -> None:
    """End a run at once, whatever it is doing. It cannot clean up: `aion cancel` lets it.

    Example:

      aion terminate order-17 --reason "wrong customer"
    """
    with session.connect() as client:
        ended = client.terminate(workflow_id, reason, run_id=run_id, idempotency_key=idempotency_key)
    _tell(session, ended, f"{workflow_id} is terminated")


def _tell(session: Session, ended: Ended, what: str) -> None:
    session.output.answer(ended, lambda out: out.say(f"{what}: event {ended['seq']} of run {ended['run_id']}."))


def _row(run: Listed) -> tuple[str, ...]:
    return (
        run["workflow_id"],
        run["run_id"],
        run["workflow_type"],
        short(run["version"]),
        run["status"],
        moment(run["started_at"]),
        moment(run.get("closed_at")),
    )
