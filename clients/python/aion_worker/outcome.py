"""What became of a call of an activity, as the report that the workflow's owner gets."""

import traceback

from aion_common import limits
from aion_common.records.common import Payload, json_payload
from aion_common.records.events import Failure
from aion_common.records.tasks import TaskCompleted, TaskFailed
from aion_worker import bounds
from aion_worker.errors import RetryableError, TerminalError
from aion_worker.json_values import json_of


def completed(result: bytes) -> TaskCompleted:
    """The work is done; the result is JSON."""
    return TaskCompleted(result=json_payload(result))


def failed(error: BaseException) -> TaskFailed:
    """The work failed: as the error says, or, for any other error, under the name of its class and retryable."""
    if isinstance(error, RetryableError | TerminalError):
        details = None if error.details is None else _bounded(error.details)
        return failure(error.kind, error.message, details, retryable=isinstance(error, RetryableError))
    trace = "".join(traceback.format_exception(error))
    details = _bounded({"traceback": trace[-bounds.TRACEBACK_CHARACTERS_MAX :]})
    return failure(type(error).__name__, str(error), details, retryable=True)


def failure(kind: str, message: str, details: Payload | None = None, *, retryable: bool) -> TaskFailed:
    """A failure whose texts are cut to what is permitted."""
    cut = Failure(kind=_cut(kind, limits.NAME_BYTES_MAX), message=_cut(message, limits.REASON_BYTES_MAX), details=details)
    return TaskFailed(failure=cut, retryable=retryable)


def _bounded(details: object) -> Payload:
    try:
        text = json_of(details)
    except TerminalError as error:
        return json_payload(json_of({"details_dropped": error.message}))
    if len(text) > limits.PAYLOAD_BYTES_MAX:
        return json_payload(json_of({"details_dropped": f"{len(text)} bytes, at most {limits.PAYLOAD_BYTES_MAX}"}))
    return json_payload(text)


def _cut(text: str, size: int) -> str:
    return str(text).encode(errors="replace")[:size].decode(errors="ignore")
