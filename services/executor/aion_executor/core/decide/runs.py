"""Starts: which version, and whether the workflow id is free."""

from typing import assert_never

from aion_common.ids import Namespace, Version
from aion_common.records.commands import IdConflict, StartRun
from aion_common.records.common import Payload
from aion_common.records.events import RunStarted
from aion_common.records.replies import RejectionCode, StartAccepted
from aion_executor.core.decision import Answered, Decision, Rejection
from aion_executor.core.facts import Facts
from aion_executor.core.partition import Partition, loaded_versions, route_key, version_key
from aion_executor.core.run import Run, is_open


def start_run(
    partition: Partition, newest: Run | None, namespace: Namespace, start: StartRun, facts: Facts
) -> Decision | Answered | Rejection:
    """Start on the version named, else on the one routed here and now; an open run of the id decides by `id_conflict`."""
    if too_large := refuse_payload(start.input, "input", facts):
        return too_large
    if newest is not None and is_open(newest):
        return _conflict(newest, start.id_conflict)
    version = _version_of(partition, namespace, start)
    if isinstance(version, Rejection):
        return version
    return Decision(events=(RunStarted(workflow_type=start.workflow_type, version=version, input=start.input),))


def _conflict(newest: Run, id_conflict: IdConflict) -> Answered | Rejection:
    match id_conflict:
        case IdConflict.REJECT:
            return Rejection(
                code=RejectionCode.ALREADY_STARTED,
                reason=f"workflow id {newest.workflow_id!r} has an open run",
                run_id=newest.run_id,
            )
        case IdConflict.USE_EXISTING:
            return Answered(answer=StartAccepted(run_id=newest.run_id, version=newest.version, created=False))
        case _:
            assert_never(id_conflict)


def _version_of(partition: Partition, namespace: Namespace, start: StartRun) -> Version | Rejection:
    if start.version is None:
        routed = partition.routes.get(route_key(namespace, start.workflow_type))
        return routed if routed is not None else _unknown_type(f"no version of {start.workflow_type!r} is routed", start)
    loaded = partition.versions.get(version_key(namespace, start.version))
    if loaded is None:
        return Rejection(
            code=RejectionCode.UNKNOWN_VERSION,
            reason=f"version {start.version} is not loaded",
            loaded=loaded_versions(partition, namespace),
        )
    if start.workflow_type not in loaded.types:
        return _unknown_type(f"version {start.version} does not provide {start.workflow_type!r}", start)
    return start.version


def _unknown_type(reason: str, start: StartRun) -> Rejection:
    return Rejection(code=RejectionCode.UNKNOWN_WORKFLOW_TYPE, reason=reason, workflow_type=start.workflow_type)


def refuse_payload(payload: Payload | None, field: str, facts: Facts) -> Rejection | None:
    """The refusal of a payload over the limit, naming the field that held it."""
    if payload is None or len(payload.data) <= facts.payload_bytes_max:
        return None
    return Rejection(
        code=RejectionCode.PAYLOAD_TOO_LARGE,
        reason=f"{field} has {len(payload.data)} bytes",
        field=field,
        limit_bytes=facts.payload_bytes_max,
    )
