"""How runs and histories look as JSON: the bodies a gateway passes on unread.

JSON payloads are put in as the text they are, so that no number changes on its way through.
"""

import base64
import dataclasses
from collections.abc import Sequence
from enum import Enum

import msgspec

from aion_common.limits import HISTORY_PAGE_BYTES_MAX
from aion_common.records.common import JSON, Payload
from aion_common.records.events import HistoryRecord, RunCompleted, RunFailed
from aion_executor.core.run import Run

Json = dict[str, object]

_check_json = msgspec.json.Decoder().decode


def json_bytes(body: Json) -> bytes:
    """The body as it goes out."""
    return msgspec.json.encode(body)


def description_of(run: Run, terminal: HistoryRecord | None, *, resident: bool) -> Json:
    """`terminal`: the record of a closed run's terminal event."""
    body: Json = {
        "namespace": run.namespace,
        "workflow_id": run.workflow_id,
        "run_id": run.run_id,
        "workflow_type": run.workflow_type,
        "version": run.version,
        "status": run.status.value,
        "started_at": run.started_at,
        "pending": {"activities": 0, "timers": 0, "children": 0, "signals": sum(1 for seq in run.unobserved if seq > 1)},
        "history_length": run.seq,
        "resident": resident,
    }
    if run.closed_at is not None:
        body["closed_at"] = run.closed_at
    if run.wait_name is not None:
        body["waits_for"] = run.wait_name
    if run.blocked is not None:
        body["blocked"] = {"expected": run.blocked.expected, "found": run.blocked.found}
    return body | _end_of(terminal)


def result_of(run: Run, terminal: HistoryRecord | None) -> Json:
    """How the run ended; of an open run, that it has not."""
    return {"workflow_id": run.workflow_id, "run_id": run.run_id, "status": run.status.value} | _end_of(terminal)


def _end_of(terminal: HistoryRecord | None) -> Json:
    match terminal:
        case HistoryRecord(event=RunCompleted(result=result)):
            return {"result": msgspec.Raw(result.data) if result.content_type == JSON else _payload(result)}
        case HistoryRecord(event=RunFailed(failure=failure)):
            shown: Json = {"kind": failure.kind, "message": failure.message}
            if failure.details is not None:
                shown["details"] = _payload(failure.details)
            return {"failure": shown}
        case _:
            return {}


def history_of(records: Sequence[HistoryRecord], values: Sequence[bytes], last_seq: int) -> Json:
    """Events in order, as many as fit into a page; `next_seq` is None when there are no more. `values`: the records' bytes."""
    events: list[Json] = []
    page_bytes = 0
    for record, value in zip(records, values, strict=True):
        page_bytes += len(value)
        if events and page_bytes > HISTORY_PAGE_BYTES_MAX:
            return {"events": events, "next_seq": record.seq}
        events.append(
            {
                "seq": record.seq,
                "type": type(record.event).__name__,
                "recorded_at": record.recorded_at,
                "chain": record.chain.hex(),
                "data": _shown(record.event),
            }
        )
    shown_through = records[-1].seq if records else last_seq
    return {"events": events, "next_seq": shown_through + 1 if shown_through < last_seq else None}


def _shown(value: object) -> object:
    """Records as objects, whatever they hold; None members are left out."""
    if isinstance(value, Payload):
        return _payload(value)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, tuple):
        return [_shown(item) for item in value]
    if dataclasses.is_dataclass(value):
        members = ((field.name, getattr(value, field.name)) for field in dataclasses.fields(value))
        return {name: _shown(member) for name, member in members if member is not None}
    return value


def _payload(payload: Payload) -> Json:
    if payload.content_type == JSON:
        try:
            _check_json(payload.data)
        except (msgspec.DecodeError, UnicodeDecodeError):
            pass
        else:
            return {"content_type": payload.content_type, "json": msgspec.Raw(payload.data)}
    return {"content_type": payload.content_type, "base64": base64.b64encode(payload.data).decode()}
