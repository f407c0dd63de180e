"""Refusals as HTTP sees them: one table from stable code to status, title and the fields of its own (RFC 9457).

The gateway and the owners' internal HTTP answer with these bodies, so that a gateway can pass an owner's answer on
unread. Codes are for ever: clients match on them. The run's status in a `closed` problem is called `run_status`, because
`status` is the HTTP status in every problem body.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from aion_common.records.replies import Pin, Rejection, RejectionCode

PROBLEM_JSON = "application/problem+json"
TYPE_PREFIX = "urn:aion:problem:"

WRONG_OWNER = "wrong_owner"
METHOD_NOT_ALLOWED = "method_not_allowed"
INTERNAL = "internal"
QUEUE_EXISTS = "queue_exists"
LIMIT_EXCEEDED = "limit_exceeded"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProblemKind:
    """What all problems of one code share. `fields`: members beside those of the RFC, present when their value is known."""

    status: int
    title: str
    fields: frozenset[str] = frozenset()


def _kind(status: int, title: str, *fields: str) -> ProblemKind:
    return ProblemKind(status=status, title=title, fields=frozenset(fields))


PROBLEM_KINDS: Mapping[str, ProblemKind] = MappingProxyType(
    {
        RejectionCode.INVALID_ARGUMENT: _kind(400, "Invalid argument", "field"),
        RejectionCode.INVALID_PACKAGE: _kind(422, "The package was refused", "reason"),
        RejectionCode.PAYLOAD_TOO_LARGE: _kind(413, "Too large", "limit_bytes"),
        RejectionCode.NOT_FOUND: _kind(404, "Not found"),
        RejectionCode.UNKNOWN_WORKFLOW_TYPE: _kind(404, "Unknown workflow type"),
        RejectionCode.UNKNOWN_VERSION: _kind(404, "Unknown version", "loaded"),
        RejectionCode.ALREADY_STARTED: _kind(409, "A run of this workflow id is open", "run_id"),
        RejectionCode.CLOSED: _kind(409, "The run is closed", "run_status"),
        RejectionCode.MANIFEST_MISMATCH: _kind(409, "The version is loaded with another manifest", "workflow_type", "version"),
        RejectionCode.ROUTE_ACTIVE: _kind(409, "New starts are routed to the version", "workflow_type", "version"),
        RejectionCode.VERSION_PINNED: _kind(
            409, "Something still needs the version", "workflow_type", "version", "pins_total", "pins"
        ),
        RejectionCode.QUERY_FAILED: _kind(422, "The query failed"),
        RejectionCode.QUERY_TIMEOUT: _kind(504, "The query was not answered in time"),
        RejectionCode.SHUTTING_DOWN: _kind(503, "No new work is taken here, repeat it elsewhere or later"),
        RejectionCode.OVERLOADED: _kind(429, "Too much at once"),
        RejectionCode.UNAVAILABLE: _kind(503, "Unavailable, safe to repeat", "idempotency_key", "reasons"),
        WRONG_OWNER: _kind(421, "Another executor owns the partition"),
        METHOD_NOT_ALLOWED: _kind(405, "Method not allowed"),
        QUEUE_EXISTS: _kind(409, "The task queue is there, and not as asked for", "partitions"),
        LIMIT_EXCEEDED: _kind(409, "The cluster has as many as it may", "limit"),
        INTERNAL: _kind(500, "A defect in the service", "idempotency_key"),
    }
)


def problem_of(rejection: Rejection) -> tuple[int, dict[str, object]]:
    """HTTP status and problem body of a refusal, with those of its fields that its code defines."""
    fields = {
        "field": rejection.field,
        "reason": rejection.reason,
        "run_id": rejection.run_id,
        "run_status": rejection.status,
        "loaded": None if rejection.loaded is None else list(rejection.loaded),
        "limit_bytes": rejection.limit_bytes,
        "workflow_type": rejection.workflow_type,
        "version": rejection.version,
        "pins_total": rejection.pins_total,
        "pins": None if rejection.pins is None else [_pin(pin) for pin in rejection.pins],
    }
    defined = PROBLEM_KINDS[rejection.code].fields
    known = {name: value for name, value in fields.items() if name in defined and value is not None}
    return problem(rejection.code, rejection.reason, **known)


def _pin(pin: Pin) -> dict[str, str]:
    return {"kind": str(pin.kind), "workflow_id": pin.workflow_id, "run_id": pin.run_id}


def problem(code: str, detail: str, **fields: object) -> tuple[int, dict[str, object]]:
    """HTTP status and problem body of a code of the table. `detail` is a sentence for people; fields are for programs."""
    kind = PROBLEM_KINDS[code]
    assert fields.keys() <= kind.fields, f"{code} does not define {sorted(fields.keys() - kind.fields)}"
    body: dict[str, object] = {
        "type": TYPE_PREFIX + code,
        "title": kind.title,
        "status": kind.status,
        "detail": detail,
        "code": str(code),
        **fields,
    }
    return kind.status, body
