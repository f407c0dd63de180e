"""Commands about runs: start, signal, describe, history, result."""

import enum
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Annotated

import typer

from aion_cli import failures, pending
from aion_cli.inputs import duration_ms, full_version, json_argument
from aion_cli.outcome import Failed, Trouble, failed, misused
from aion_cli.output import Output, json_line, moment, short
from aion_cli.session import Session
from aion_client import ABSENT, OPEN_STATUSES, Client, Description, Event, Json, Pending, Result, Started, StartOptions
from aion_common.limits import WAIT_MS_MAX

WorkflowIdArgument = Annotated[str, typer.Argument(metavar="WORKFLOW_ID")]
RunId = Annotated[str | None, typer.Option("--run-id", help="Default: the latest run of the workflow id.")]
Key = Annotated[str | None, typer.Option("--idempotency-key", help="A repeat with the same key gets the first answer.")]
JSON_FORMS = "JSON|@FILE|-"
_CELL_CHARACTERS_MAX = 100


class IdConflict(enum.StrEnum):
    """What a start means while another run of its workflow id is open."""

    REJECT = "reject"
    USE_EXISTING = "use_existing"
    TERMINATE_EXISTING = "terminate_existing"


def start(  # noqa: PLR0913 - one parameter for each option of the command line
    session: Session,
    workflow_type: Annotated[str, typer.Argument(metavar="TYPE", help="The workflow to run.")],
    *,
    input_: Annotated[str | None, typer.Option("--input", "-i", metavar=JSON_FORMS, help="Its argument.")] = None,
    workflow_id: Annotated[str | None, typer.Option(help="Your name for it, unique among open runs. Default: made up.")] = None,
    version: Annotated[
        str | None, typer.Option(metavar="VERSION", help="Run on this loaded version. Default: the routed one.")
    ] = None,
    id_conflict: Annotated[
        IdConflict | None,
        typer.Option(
            show_default="reject", help="When a run of the workflow id is open: refuse, answer with that run, or end it first."
        ),
    ] = None,
    terminate_existing: Annotated[
        bool, typer.Option("--terminate-existing", help="The same as --id-conflict terminate_existing.")
    ] = False,
    run_timeout: Annotated[
        str | None,
        typer.Option(
            metavar="DURATION", help="End the run when it is open for longer: 30s, 5m, 2h, 7d. Default: the package's."
        ),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the run has closed, as long as it takes.")] = False,
    wait_ms: Annotated[int | None, typer.Option(min=0, help="Wait at most so long; without a result by then: exit 1.")] = None,
    idempotency_key: Key = None,
) -> None:
    """Start a workflow.

    Exit code 0: started, and with --wait or --wait-ms also completed. 1: refused, failed, or not closed in time.

    Examples:

      aion start order --input '{"item": 7}' --wait

      aion start order --workflow-id order-17 --input @order.json --run-timeout 2h

      echo '"hello"' | aion start greet --input - --wait-ms 5000 --json
    """
    options: StartOptions = {
        "workflow_id": workflow_id,
        "id_conflict": _conflict(id_conflict, terminate_existing).value,
        "idempotency_key": idempotency_key,
    }
    if run_timeout is not None:
        options["run_timeout_ms"] = duration_ms(run_timeout)
    if input_ is not None:
        options["input"] = json_argument(input_, "--input")
    with session.connect() as client:
        if version is not None:
            options["version"] = full_version(client, version)
        started = client.start(workflow_type, **options)
        if wait or wait_ms is not None:
            _await_end(session, client, started, wait_ms)
    session.output.answer(started, lambda out: _show_started(out, started))
    if wait or wait_ms is not None:
        _raise_unless_completed(started["workflow_id"], started)


def _conflict(id_conflict: IdConflict | None, terminate_existing: bool) -> IdConflict:
    if not terminate_existing:
        return id_conflict or IdConflict.REJECT
    if id_conflict not in {None, IdConflict.TERMINATE_EXISTING}:
        raise misused(f"--terminate-existing contradicts --id-conflict {id_conflict}")
    return IdConflict.TERMINATE_EXISTING


def signal(
    session: Session,
    workflow_id: WorkflowIdArgument,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The signal's name.")],
    payload: Annotated[str | None, typer.Argument(metavar=f"[{JSON_FORMS}]", help="Its payload. Default: none.")] = None,
    *,
    run_id: RunId = None,
    idempotency_key: Key = None,
) -> None:
    """Send a signal to a run. It is in the run's history when this returns.

    Examples:

      aion signal order-17 release

      aion signal order-17 approve '{"by": "anna"}'
    """
    content = ABSENT if payload is None else json_argument(payload, "the payload")
    with session.connect() as client:
        signalled = client.signal(workflow_id, name, content, run_id=run_id, idempotency_key=idempotency_key)
    session.output.answer(
        signalled,
        lambda out: out.say(f"Signal {name} is event {signalled['seq']} of run {signalled['run_id']}."),
    )


def describe(session: Session, workflow_id: WorkflowIdArgument, run_id: RunId = None) -> None:
    """Show the state of a run: its version, what it waits for, how it ended."""
    with session.connect() as client:
        description = client.describe(workflow_id, run_id=run_id)
    session.output.answer(description, lambda out: _show_description(out, description))


def history(
    session: Session,
    workflow_id: WorkflowIdArgument,
    run_id: RunId = None,
    from_seq: Annotated[int, typer.Option(min=1, help="The first event to show.")] = 1,
    limit: Annotated[int | None, typer.Option(min=1, help="Show at most so many events. Default: all.")] = None,
) -> None:
    """Show the events of a run, in order. They are the run: all else is computed from them."""
    with session.connect() as client:
        events, next_seq = _events(client, workflow_id, run_id, (from_seq, limit))

    def show(out: Output) -> None:
        rows = [(str(e["seq"]), moment(e["recorded_at"]), e["type"], _cut(_details(e["data"]))) for e in events]
        out.table(("SEQ", "RECORDED", "EVENT", "DATA"), rows)

    session.output.answer({"events": events, "next_seq": next_seq}, show)


def result(
    session: Session,
    workflow_id: WorkflowIdArgument,
    run_id: RunId = None,
    wait_ms: Annotated[int, typer.Option(min=0, help="If the run is open, wait so long for its end.")] = 0,
) -> None:
    """Print the result of a run.

    Exit code 0: completed, the result is printed; or still open, its status is printed. 1: the run did not complete.
    """
    waiting = session.output.waiting(_waiting_for(workflow_id)) if wait_ms else nullcontext()
    with session.connect() as client, waiting:
        ended = _result_within(session, client, (workflow_id, run_id), wait_ms)

    def show(out: Output) -> None:
        if ended["status"] == "completed":
            out.say(json_line(ended.get("result")))
        elif ended["status"] in OPEN_STATUSES:
            out.say(ended["status"])

    session.output.answer(ended, show)
    if ended["status"] not in OPEN_STATUSES:
        _raise_unless_completed(workflow_id, ended)


def _await_end(session: Session, client: Client, started: Started, wait_ms: int | None) -> None:
    """Waits, and puts what became of the run into `started`."""
    run = started["workflow_id"], started["run_id"]
    session.output.note(f"started {run[0]}, run {run[1]}")
    with session.output.waiting(_waiting_for(run[0])):
        if wait_ms is None:
            ended = client.wait(run[0], run_id=run[1], on_open=lambda seen: _note_blocked(session.output, seen, run[0]))
        else:
            ended = _result_within(session, client, run, wait_ms)
    started["status"] = ended["status"]
    if "result" in ended:
        started["result"] = ended["result"]
    if "failure" in ended:
        started["failure"] = ended["failure"]


def _waiting_for(workflow_id: str) -> str:
    return f"waiting for {workflow_id} to close; Ctrl-C stops waiting, not the run"


def _result_within(session: Session, client: Client, run: tuple[str, str | None], wait_ms: int) -> Result:
    """The result after at most `wait_ms`, in as many calls as that needs."""
    left_ms = wait_ms
    while True:
        ended = client.result(run[0], run_id=run[1], wait_ms=min(left_ms, WAIT_MS_MAX))
        left_ms -= WAIT_MS_MAX
        if ended["status"] not in OPEN_STATUSES or left_ms <= 0:
            return ended
        _note_blocked(session.output, ended, run[0])


def _note_blocked(output: Output, seen: Result, workflow_id: str) -> None:
    if seen["status"] == "blocked":
        output.note(f"the run is blocked and will not go on by itself; `aion describe {workflow_id}` says why")


def _raise_unless_completed(workflow_id: str, ended: Result | Started) -> None:
    status = ended["status"]
    if status == "completed":
        return
    if status in OPEN_STATUSES:
        raise failed("not_closed", f"{workflow_id} is still {status}", f"`aion result {workflow_id} --wait-ms 60000` waits on.")
    failure = ended.get("failure")
    step = f"`aion history {workflow_id}` shows what led to it."
    raise Failed(
        Trouble(
            code=f"run_{status}",
            what=f"{workflow_id} is {status}" + ("" if failure is None else f": {failures.sentence(failure)}"),
            details=() if failure is None else failures.details(failure),
            next_steps=[step],
            fields={"status": status, "failure": failure},
        )
    )


def _show_started(out: Output, started: Started) -> None:
    out.fields(
        {
            "workflow": started["workflow_id"],
            "run": started["run_id"],
            "version": started["version"],
            "status": started["status"],
            "result": json_line(started["result"]) if "result" in started else None,
        }
    )


def _show_description(out: Output, described: Description) -> None:
    failure, blocked = described.get("failure"), described.get("blocked")
    waiting = described.get("pending", Pending())
    closed_at = described.get("closed_at")
    out.fields(
        {
            "workflow": described["workflow_id"],
            "run": described["run_id"],
            "type": described["workflow_type"],
            "version": described["version"],
            "namespace": described["namespace"],
            "status": described["status"],
            "started": moment(described["started_at"]),
            "closed": None if closed_at is None else moment(closed_at),
            "result": json_line(described["result"]) if described["status"] == "completed" and "result" in described else None,
            "failure": None if failure is None else "\n".join((failures.sentence(failure), *failures.details(failure))),
            "blocked": None if blocked is None else f"expected {blocked.get('expected')}, found {blocked.get('found')}",
            "hindered by": described.get("hindered_by"),
            "cancel": _cancel_line(described.get("cancel_requested")),
            "waits for": described.get("waits_for"),
            "pending": pending.summary(waiting),
            "events": str(described.get("history_length", "-")),
            "in a VM": {True: "yes", False: "no"}.get(described.get("resident", False)),
        }
    )
    pending.show(out, waiting)


def _cancel_line(request: Mapping[str, Json] | None) -> str | None:
    if request is None:
        return None
    deadline, reason = request.get("deadline"), request.get("reason")
    until = moment(deadline) if isinstance(deadline, int) else "-"
    return f"requested, ends at {until}" + ("" if reason is None else f": {reason}")


def _events(
    client: Client, workflow_id: str, run_id: str | None, part: tuple[int, int | None]
) -> tuple[list[Event], int | None]:
    """The events of all pages up to the limit, and where the next page begins."""
    next_seq, limit = part
    events: list[Event] = []
    while True:
        left = None if limit is None else limit - len(events)
        page = client.history(workflow_id, run_id=run_id, from_seq=next_seq, limit=left)
        events += page["events"]
        following = page["next_seq"]
        if following is None or not page["events"] or (limit is not None and len(events) >= limit):
            return events, following
        next_seq = following


def _details(value: Json) -> str:
    """The data of an event on one line: names and values, payloads as the JSON they hold, hashes cut."""
    if isinstance(value, dict):
        if "content_type" in value:
            return json_line(value["json"]) if "json" in value else str(value["content_type"])
        return " ".join(f"{name}={_details(member)}" for name, member in value.items() if member is not None)
    if isinstance(value, str):
        return short(value) if len(value) == 64 else value
    return json_line(value)


def _cut(text: str) -> str:
    return text if len(text) <= _CELL_CHARACTERS_MAX else text[: _CELL_CHARACTERS_MAX - 1] + "…"
