"""What `verify` does: reads records from the gateway or from Kafka, has them judged, and tells.

A room of its own, because what it needs (the client of Kafka, the schemas) takes longer to load than all other commands take.
"""

import asyncio
import base64
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import TypeVar

from aion_cli.outcome import Failed, Trouble, failed
from aion_cli.output import Output
from aion_cli.session import Session
from aion_client import Client, UnexpectedAnswer
from aion_common import ids
from aion_common.checking import Report, RunCheck, RunHistory, check_cluster, check_run
from aion_common.checking.run import CHECKED
from aion_common.kafka.api import Log
from aion_common.kafka.client import connect
from aion_common.kafka.topics import Topics
from aion_common.wire import UnknownSchema, kept_schemas, learn

Answer = TypeVar("Answer")

SENTENCES_SHOWN_MAX = 20


def verify_all(session: Session, bootstrap: str, topic_prefix: str) -> None:
    """Every history of the cluster. Raises Failed when one breaks a promise, Unavailable, WrongCluster."""
    _tell_all(session, _from_kafka(session, bootstrap, lambda log: check_cluster(log, Topics(topic_prefix))))


def verify_at_gateway(session: Session, workflow_id: str, run_id: str | None) -> None:
    """One run, by the records that the gateway gives. Raises Failed, and as the client does."""
    with session.connect() as client:
        check = _from_gateway(client, workflow_id, run_id)
    _tell_one(session, check)


def verify_in_kafka(session: Session, where: tuple[str, str], workflow_id: str, run_id: str | None) -> None:
    """One run, by the records in the topic. `where`: brokers and topic prefix. Raises Failed, Unavailable, WrongCluster."""
    bootstrap, topic_prefix = where
    workflow = ids.Namespace(session.namespace), ids.WorkflowId(workflow_id)
    named = None if run_id is None else ids.RunId(run_id)
    found = _from_kafka(session, bootstrap, lambda log: check_run(log, Topics(topic_prefix), workflow, named))
    if found is None:
        which = f"the history topic has no run of {workflow_id}" + ("" if run_id is None else f" with the id {run_id}")
        raise failed("not_found", which, "Are the workflow id and the namespace (--namespace) right?")
    _tell_one(session, found)


def _from_gateway(client: Client, workflow_id: str, run_id: str | None) -> RunCheck:
    learn(kept_schemas())
    named = run_id or client.describe(workflow_id)["run_id"]
    check = RunCheck(RunHistory(ids.RunId(named), (client.namespace, workflow_id)))
    for value in _values(client, workflow_id, named):
        try:
            check.take_value(value)
        except UnknownSchema as error:
            steps = (
                "Another release of Aion wrote it: use the `aion` of that release or a newer one,",
                "or --bootstrap HOST:PORT, which reads the schemas from Kafka.",
            )
            what = f"record {check.events + 1} has a schema that this program does not know: {error.fingerprint}"
            raise failed("unknown_schema", what, *steps) from error
    check.end()
    return check


def _values(client: Client, workflow_id: str, run_id: str) -> Iterator[bytes]:
    next_seq: int | None = 1
    while next_seq is not None:
        page = client.records(workflow_id, run_id=run_id, from_seq=next_seq)
        try:
            yield from [base64.b64decode(text, validate=True) for text in page["records"]]
        except (ValueError, TypeError) as error:
            raise UnexpectedAnswer(f"{client.url} answers with records that are not base64") from error
        following = page["next_seq"]
        if following is not None and (not isinstance(following, int) or following <= next_seq):
            raise UnexpectedAnswer(f"{client.url} answers event {next_seq} with the next one at {following}")
        next_seq = following


def _from_kafka(session: Session, bootstrap: str, work: Callable[[Log], Awaitable[Answer]]) -> Answer:
    # What it has to say of brokers that do not answer is in what `connect` raises.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)

    async def ask() -> Answer:
        log = await connect(bootstrap)
        try:
            return await work(log)
        finally:
            await log.close()

    with session.output.waiting(f"reading histories from {bootstrap}"):
        return asyncio.run(ask())


def _tell_one(session: Session, check: RunCheck) -> None:
    history = check.history
    document: Mapping[str, object] = {
        "workflow_id": history.workflow[1],
        "run_id": history.run_id,
        "status": history.status,
        "events": check.events,
        "chain": history.chain.hex(),
        "checked": CHECKED,
        "broken": check.broken,
    }

    def show(out: Output) -> None:
        out.fields(
            {
                "workflow": history.workflow[1],
                "run": history.run_id,
                "status": history.status,
                "events": str(check.events),
                "chain": history.chain.hex(),
            }
        )
        out.say(f"Checked: {'; '.join(CHECKED)}.")
        if not check.broken:
            out.say("Every promise is kept.")

    _tell(session, document, show, check.broken)


def _tell_all(session: Session, report: Report) -> None:
    counts = {
        "partitions": report.partitions,
        "runs": report.runs,
        "closed": report.closed,
        "events": report.events,
        "void": report.void,
        "parked": report.parked,
        "letters": report.letters,
    }

    def show(out: Output) -> None:
        out.say(f"{counts['partitions']} partitions, {counts['events']} events, {counts['void']} void records")
        out.say(f"{counts['runs']} runs, {counts['closed']} of them closed; {counts['parked']} starts wait for an unload")
        out.say(f"{counts['letters']} records of commands could not be used")
        if not report.broken:
            out.say("Every promise is kept.")

    _tell(session, {**counts, "broken": report.broken}, show, report.broken)


def _tell(session: Session, document: object, show: Callable[[Output], None], broken: Sequence[str]) -> None:
    session.output.answer(document, show)
    if broken:
        steps = list(broken[:SENTENCES_SHOWN_MAX])
        if len(broken) > len(steps):
            steps.append(f"and {len(broken) - len(steps)} more; --json shows all")
        what = "a promise is broken:" if len(broken) == 1 else f"{len(broken)} promises are broken:"
        raise Failed(Trouble(code="broken_promises", what=what, next_steps=steps, fields={"count": len(broken)}))
