"""Starts: which version, and whether the workflow id is free."""

from aion_common.ids import Namespace, Version
from aion_common.records.commands import IdConflict, StartRun
from aion_common.records.common import Payload
from aion_common.records.events import RunStarted, RunTerminated
from aion_common.records.replies import RejectionCode, StartAccepted
from aion_executor.core.decision import Answered, Decision, Park, Rejection
from aion_executor.core.facts import Facts
from aion_executor.core.partition import (
    Partition,
    is_closing,
    loaded_versions,
    route_key,
    run_timeout_of,
    version_key,
)
from aion_executor.core.run import Run, is_open

REPLACED = "replaced by a start with terminate_existing"


def start_run(
    partition: Partition, newest: Run | None, namespace: Namespace, start: StartRun, facts: Facts
) -> Decision | Answered | Park | Rejection:
    """Start on the version named, else on the one routed here and now; an open run of the id decides by `id_conflict`. A start
    that names a version which is closing waits for the verdict."""
    if too_large := refuse_payload(start.input, "input", facts):
        return too_large
    open_run = newest if newest is not None and is_open(newest) else None
    if open_run is not None and start.id_conflict is not IdConflict.TERMINATE_EXISTING:
        return _conflict(open_run, start.id_conflict)
    if start.version is not None and is_closing(partition, namespace, start.version):
        return _park(partition, facts)
    version = _version_of(partition, namespace, start)
    if isinstance(version, Rejection):
        return version
    loaded = partition.versions[version_key(namespace, version)]
    timeout_ms = start.run_timeout_ms or run_timeout_of(loaded, start.workflow_type)
    started = RunStarted(workflow_type=start.workflow_type, version=version, input=start.input, run_timeout_ms=timeout_ms)
    replaced = () if open_run is None else (RunTerminated(reason=REPLACED),)
    return Decision(events=(started,), replaced=replaced)


def _park(partition: Partition, facts: Facts) -> Park | Rejection:
    if len(partition.parked) < facts.parked_starts_max:
        return Park()
    reason = f"{len(partition.parked)} starts wait for the verdict on a version that somebody unloads"
    return Rejection(code=RejectionCode.OVERLOADED, reason=reason)


def _conflict(open_run: Run, id_conflict: IdConflict) -> Answered | Rejection:
    if id_conflict is IdConflict.USE_EXISTING:
        return Answered(answer=StartAccepted(run_id=open_run.run_id, version=open_run.version, created=False))
    return Rejection(
        code=RejectionCode.ALREADY_STARTED,
        reason=f"workflow id {open_run.workflow_id!r} has an open run",
        run_id=open_run.run_id,
    )


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
