"""How runs and histories look as JSON: the bodies a gateway passes on unread.

JSON payloads are put in as the text they are, so that no number changes on its way through.
"""

import base64
from collections.abc import Sequence
from enum import Enum
from itertools import accumulate

import msgspec

from aion_common.limits import HISTORY_PAGE_BYTES_MAX, PENDING_SHOWN_MAX
from aion_common.records.common import JSON, Payload
from aion_common.records.events import (
    HistoryRecord,
    RunCancelled,
    RunCompleted,
    RunFailed,
    RunTerminated,
    RunTimedOut,
)
from aion_common.wire import decode
from aion_executor.core.activities import Activity
from aion_executor.core.run import Run
from aion_executor.shell.lists import Page

Json = dict[str, object]

_check_json = msgspec.json.Decoder().decode


def json_bytes(body: Json) -> bytes:
    """The body as it goes out."""
    return msgspec.json.encode(body)


def description_of(run: Run, terminal: HistoryRecord | None, *, resident: bool) -> Json:
    """`terminal`: the record of a closed run's terminal event."""
    body = _summary(run) | {
        "pending": _pending(run),
        "history_length": run.seq,
        "resident": resident,
    }
    if run.wait_name is not None:
        body["waits_for"] = run.wait_name
    if run.cancel is not None and run.closed_at is None:
        request: Json = {"deadline": run.cancel.deadline_ms}
        body["cancel_requested"] = request if run.cancel.reason is None else {"reason": run.cancel.reason, **request}
    if run.blocked is not None:
        body["blocked"] = {"expected": run.blocked.expected, "found": run.blocked.found}
    return body | _end_of(terminal)


def _pending(run: Run) -> Json:
    """The activities that were called first and the timers that fire next; how many there are, if not all are shown."""
    activities = sorted(run.activities.items())
    timers = sorted(run.timers.items(), key=lambda timer: (timer[1], timer[0]))
    body: Json = {
        "activities": [_activity(number, activity) for number, activity in activities[:PENDING_SHOWN_MAX]],
        "timers": [{"timer": number, "fires_at": fires_at} for number, fires_at in timers[:PENDING_SHOWN_MAX]],
        "children": 0,
        "signals": len(run.signals),
    }
    totals = {"activities_total": len(activities), "timers_total": len(timers)}
    return body | {name: total for name, total in totals.items() if total > PENDING_SHOWN_MAX}


def _activity(number: int, activity: Activity) -> Json:
    """`started` by what a worker told: with neither time-outs nor heartbeats none does, and its task seems to wait."""
    is_begun = activity.started_at is not None or activity.beat_at is not None
    body: Json = {
        "activity": number,
        "type": activity.activity_type,
        "queue": activity.queue,
        "attempt": activity.attempt,
        "state": "waiting" if activity.task_at is None else "started" if is_begun else "scheduled",
        "scheduled_at": activity.scheduled_at,
    }
    if activity.retry_at is not None:
        body["retry_at"] = activity.retry_at
    if activity.beat_at is not None:
        body["last_heartbeat_at"] = activity.beat_at
    return body


def result_of(run: Run, terminal: HistoryRecord | None) -> Json:
    """How the run ended; of an open run, that it has not."""
    return {"workflow_id": run.workflow_id, "run_id": run.run_id, "status": run.status.value} | _end_of(terminal)


def _end_of(terminal: HistoryRecord | None) -> Json:
    match terminal:
        case HistoryRecord(event=RunCompleted(result=result)):
            return {"result": _plain(result)}
        case HistoryRecord(event=RunFailed(failure=failure)):
            shown: Json = {"kind": failure.kind, "message": failure.message}
            if failure.details is not None:
                shown["details"] = _plain(failure.details)
            return {"failure": shown}
        case HistoryRecord(event=RunCancelled(reason=reason)):
            return {"failure": {"kind": "cancelled", "message": reason or "cancelled"}}
        case HistoryRecord(event=RunTerminated(reason=reason)):
            return {"failure": {"kind": "terminated", "message": reason or "terminated"}}
        case HistoryRecord(event=RunTimedOut(timeout_ms=timeout_ms)):
            return {"failure": {"kind": "timed_out", "message": f"the run was open for more than {timeout_ms} ms"}}
        case _:
            return {}


def listed(page: Page) -> Json:
    """A page of a list; `position` is None when there are no more."""
    position = None if page.position is None else f"{page.position.started_at}/{page.position.run_id}"
    return {"workflows": [_summary(run) for run in page.runs], "position": position}


def _summary(run: Run) -> Json:
    body: Json = {
        "namespace": run.namespace,
        "workflow_id": run.workflow_id,
        "run_id": run.run_id,
        "workflow_type": run.workflow_type,
        "version": run.version,
        "status": run.status.value,
        "started_at": run.started_at,
    }
    return body if run.closed_at is None else body | {"closed_at": run.closed_at}


def history_of(values: Sequence[bytes], from_seq: int, last_seq: int) -> Json:
    """A page of events from the values of their records; `next_seq` is None when there are no more."""
    page = _page(values)
    return {"events": [_event(decode(value)) for value in page], "next_seq": _next_seq(page, from_seq, last_seq)}


def records_of(values: Sequence[bytes], from_seq: int, last_seq: int) -> Json:
    """The same page as the records stand in the log: base64 of Avro single-object values."""
    page = _page(values)
    encoded = [base64.b64encode(value).decode() for value in page]
    return {"records": encoded, "next_seq": _next_seq(page, from_seq, last_seq)}


def _page(values: Sequence[bytes]) -> Sequence[bytes]:
    """As many as fit into an answer, at least one."""
    sizes = accumulate(len(value) for value in values)
    return values[: max(1, sum(size <= HISTORY_PAGE_BYTES_MAX for size in sizes))]


def _next_seq(page: Sequence[bytes], from_seq: int, last_seq: int) -> int | None:
    following = from_seq + len(page)
    return following if page and following <= last_seq else None


def _event(record: HistoryRecord) -> Json:
    return {
        "seq": record.seq,
        "type": type(record.event).__name__,
        "recorded_at": record.recorded_at,
        "chain": record.chain.hex(),
        "data": _shown(record.event),
    }


def _shown(value: object) -> object:
    """Records as objects, whatever they hold; None members are left out."""
    if isinstance(value, Payload):
        return _payload(value)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, tuple):
        return [_shown(item) for item in value]
    if isinstance(value, msgspec.Struct):
        members = ((name, getattr(value, name)) for name in value.__struct_fields__)
        return {name: _shown(member) for name, member in members if member is not None}
    return value


def _plain(payload: Payload) -> object:
    """What a run's own VM has written as JSON stands as it is."""
    return msgspec.Raw(payload.data) if payload.content_type == JSON else _payload(payload)


def _payload(payload: Payload) -> Json:
    if payload.content_type == JSON:
        try:
            _check_json(payload.data)
        except (msgspec.DecodeError, UnicodeDecodeError):
            pass
        else:
            return {"content_type": payload.content_type, "json": msgspec.Raw(payload.data)}
    return {"content_type": payload.content_type, "base64": base64.b64encode(payload.data).decode()}
