"""Identifiers: what each means and how the derived ones are computed. Pure.

Ids that must be the same after a crash are functions of what is in the log; none is random here.
"""

import re
from typing import NewType

from blake3 import blake3

Namespace = NewType("Namespace", str)
WorkflowId = NewType("WorkflowId", str)
WorkflowType = NewType("WorkflowType", str)
RunId = NewType("RunId", str)
"""32 lowercase hex digits."""
Version = NewType("Version", str)
"""64 lowercase hex digits: the content hash of a package."""
CommandId = NewType("CommandId", str)

_INGRESS = re.compile(r"ingress/([0-9]{1,10})/([0-9]{1,19})")

NO_NAMESPACE = Namespace("")
NO_WORKFLOW = WorkflowId("")
NO_RUN = RunId("")


def workflow_key(namespace: Namespace, workflow_id: WorkflowId) -> bytes:
    """The record key that decides a workflow's partition in commands, results and history."""
    return f"{namespace}/{workflow_id}".encode()


def run_id_of(namespace: Namespace, workflow_id: WorkflowId, command_id: CommandId) -> RunId:
    """The id of the run that this command starts: the same for every repeat of the command, for ever."""
    text = f"{namespace}\x00{workflow_id}\x00{command_id}".encode()
    return RunId(blake3(text).hexdigest(length=16))


def workflow_id_of(command_id: CommandId) -> WorkflowId:
    """The workflow id of a start that named none: the same for every repeat of the command."""
    return WorkflowId(blake3(command_id.encode()).hexdigest(length=16))


def http_command_id(namespace: Namespace, idempotency_key: str, workflow_id: WorkflowId | None = None) -> CommandId:
    """The command id of an HTTP call. A key counts within the workflow id that the call names: commands of different workflow
    ids live in different partitions, which know nothing of one another (docs/adr/0004)."""
    if workflow_id is None:
        return CommandId(f"http/{namespace}/{idempotency_key}")
    return CommandId(f"http/{namespace}/{idempotency_key}/{blake3(workflow_id.encode()).hexdigest(length=8)}")


def ingress_command_id(partition: int, offset: int) -> CommandId:
    """The command id of a record of `aion.ingress`: its place, so that whoever forwards it again forwards the same command."""
    return CommandId(f"ingress/{partition}/{offset}")


def ingress_place_of(command_id: CommandId) -> tuple[int, int] | None:
    """Partition and offset in `aion.ingress` of the record behind a command; None: it came another way."""
    match = _INGRESS.fullmatch(command_id)
    return None if match is None else (int(match[1]), int(match[2]))
